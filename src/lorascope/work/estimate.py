"""How long a cell or an analysis may take, told before anything is trained: arithmetic, corrected by finished ones where
there are some.

Work is counted in multiply-adds of the encoder (times two: FLOPs). What is left out of a cell (heads, optimiser,
loading) is small beside an encoder of any size; what is left out of an analysis (intervals, nulls, spectra) is not, so
that the first of its kind may take longer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..corpora import Corpus
from ..experiment.analyses import AnalysisUnit
from ..experiment.methods import ClassicConfig, FrozenConfig, OptimiserConfig
from ..experiment.planning import Cell
from ..sound.features import FRAMES_PER_SECOND, WINDOW
from .journal import State, SweepFolder
from .sweep import Planned

#: (width, blocks) of published encoders, by the end of their name; their feed-forward layers are four times as wide.
SHAPES = {
    "whisper-tiny": (384, 4),
    "whisper-base": (512, 6),
    "whisper-small": (768, 12),
    "whisper-medium": (1024, 24),
    "whisper-large": (1280, 32),
    "wav2vec2-base": (768, 12),
    "wav2vec2-large": (1024, 24),
    "hubert-base": (768, 12),
    "hubert-large": (1024, 24),
    "wavlm-base": (768, 12),
    "wavlm-large": (1024, 24),
}
#: GFLOP/s that a stated estimate takes for granted: some cores of a CPU; a recent GPU does hundreds of times as many.
GFLOPS = 50.0
#: Of how many clips the headers are read, and what a clip is taken for where they can't be, in seconds.
HEADERS, SECONDS = 100, 4.0
#: The convolutions that make frames of a waveform, FLOPs a frame (the seven layers of 512 channels of wav2vec 2.0, 20 ms a frame).
WAVEFORM = 1.0e8


@dataclass(frozen=True)
class Shape:
    """An encoder's width, its number of blocks, the width of their feed-forward layers, whether it takes the waveform, and
    the most frames that it takes."""

    width: int
    blocks: int
    inner: int
    waveform: bool = False
    window: int = WINDOW


@dataclass(frozen=True)
class Estimate:
    """`seconds` on one worker, None where nothing is known of the encoder; `source` is finished, arithmetic or unknown."""

    seconds: float | None
    source: str


def estimates(
    planned: Sequence[Planned], states: dict[str, State], folder: SweepFolder, gflops: float = GFLOPS
) -> dict[str, Estimate]:
    """Estimates of all units that are not whole, by key.

    A cell of a kind and an encoder of which cells are whole takes their seconds, in proportion to the work (of a classic
    method, which has no encoder, to the clips), an analysis those of whole ones of its encoder; else its work at
    `gflops`.
    """
    lengths: dict[int, float] = {}
    encoded: set[tuple[str, str, str]] = set()
    flops: dict[str, float | None] = {}
    amounts: dict[str, float | None] = {}
    for one in planned:
        corpus = one.corpus
        frames = lengths.setdefault(id(corpus), mean_frames(corpus))
        # the frozen stream is computed once for all cells that stand on it
        stream = (
            str((one.variant.experiment.corpus, one.variant.experiment.test_corpus)),
            one.cell.backbone,
            one.cell.context,
        )
        if one.analysis is not None:
            flops[one.key] = amounts[one.key] = analysis_flops(one.analysis, frames)
            continue
        fixed = isinstance(one.cell.method, FrozenConfig)
        flops[one.key] = cell_flops(one.cell, frames, len(corpus.clips), first=not fixed or stream not in encoded)
        encoded |= {stream} if fixed else set()
        amounts[one.key] = len(corpus.clips) if isinstance(one.cell.method, ClassicConfig) else flops[one.key]
    done: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for one in planned:
        known, state = amounts[one.key], states[one.key]
        if state.kind == "whole" and known is not None:
            seconds = folder.units(one.kind).read(state.about["hash"])["seconds"]
            done.setdefault(_kin(one), []).append((seconds, known))
    found = {}
    for one in planned:
        if states[one.key].kind == "whole":
            continue
        amount, work, kin = amounts[one.key], flops[one.key], done.get(_kin(one))
        if amount is not None and kin and sum(of_one for _, of_one in kin):
            found[one.key] = Estimate(amount * sum(s for s, _ in kin) / sum(of_one for _, of_one in kin), "finished")
        elif work is not None:
            found[one.key] = Estimate(work / (gflops * 1e9), "arithmetic")
        else:
            found[one.key] = Estimate(None, "unknown")
    return found


def cell_flops(cell: Cell, frames: float, clips: int, first: bool = True) -> float | None:
    """FLOPs of a cell: every candidate's epochs on its training and selection clips, and its test clips once; None where the encoder's shape is not known.

    Backward through a frozen weight costs once its forward, through a trained one twice. A frozen encoder sees all `clips` of the corpus once, if this cell is the `first` to
    stand on it. `frames` is a clip's mean length.
    """
    method = cell.method
    if isinstance(method, ClassicConfig):
        return None
    shape = encoder_shape(cell.backbone)
    if shape is None:
        return None
    one = encoder_flops(shape, shape.window if cell.context == "full" else min(frames, shape.window))
    if isinstance(method, FrozenConfig):
        return one * clips * first
    assert isinstance(method, OptimiserConfig)
    train, selection, test = len(cell.fold.train), len(cell.fold.validation or cell.fold.test), len(cell.fold.test)
    step = 3 if cell.kind == "full" else 2
    return one * (len(method.learning_rate) * method.epochs * (step * train + selection) + test)


def analysis_flops(unit: AnalysisUnit, frames: float) -> float | None:
    """FLOPs of an analysis' passes: every clip once through every model (the frozen and the trained encoder, the random
    adapters, other ranks), backwards too where gradients are measured, and half of the blocks again for each block that
    is erased; None where the encoder's shape is not known.
    """
    shape = encoder_shape(unit.main.backbone)
    if shape is None:
        return None
    measures, one = unit.config.measures, encoder_flops(shape, WINDOW if unit.main.context == "full" else frames)
    models = 2 + len(unit.config.baselines)
    backward = 1 if {"spectra", "cka"} & set(measures) else 0
    # single blocks and all up to one, of the frozen and the trained encoder; half of the encoder on average
    replays = 2 * shape.blocks if "erasure" in measures else 0
    return one * len(unit.clips) * (models * (1 + backward) + replays + len(unit.ranks))


def encoder_flops(shape: Shape, frames: float) -> float:
    """FLOPs of one clip through an encoder: four projections, the attention between all pairs of frames and two feed-forward layers a block; and its convolutions."""
    width = shape.width
    block = frames * (8 * width**2 + 4 * width * shape.inner) + 4 * frames**2 * width
    # Whisper's second convolution has a kernel of 3; the first is small beside it
    convolutions = frames * (WAVEFORM if shape.waveform else 6 * width**2)
    return shape.blocks * block + convolutions


def encoder_shape(backbone: str) -> Shape | None:
    """The shape of an encoder by its folder's config.json or its published name; None where neither tells."""
    config = Path(backbone).expanduser() / "config.json"
    if config.is_file():
        try:
            told = json.loads(config.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            return None
        whisper, others = (
            ("d_model", "encoder_layers", "encoder_ffn_dim"),
            ("hidden_size", "num_hidden_layers", "intermediate_size"),
        )
        for keys in (whisper, others):
            if all(isinstance(told.get(key), int) for key in keys):
                window = told.get("max_source_positions", WINDOW) if keys is whisper else WINDOW
                return Shape(*(told[key] for key in keys), waveform=keys is others, window=window)
        return None
    name = Path(backbone).name.lower()
    for known, (width, blocks) in SHAPES.items():
        if name.startswith(known):
            return Shape(width, blocks, 4 * width, waveform=not name.startswith("whisper"))
    return None


def mean_frames(corpus: Corpus) -> float:
    """Mean length of a corpus' clips in encoder frames, from the headers of some of them; clips of 4 s where those can't be read."""
    import soundfile

    table = corpus.clips
    lengths = []
    for row in table.iloc[:: max(1, len(table) // HEADERS)].to_dict(orient="records"):
        start, end = row.get("start"), row.get("end")
        if end is None or end != end:
            try:
                end = soundfile.info(row["path"]).duration
            except (soundfile.SoundFileError, RuntimeError, OSError):
                end = SECONDS + (start if start == start and start is not None else 0.0)
        lengths.append(end - (start if start is not None and start == start else 0.0))
    mean = sum(lengths) / len(lengths) if lengths else SECONDS
    return min(max(1.0, mean * FRAMES_PER_SECOND), WINDOW)


def _kin(one: Planned) -> tuple[str, ...]:
    cell = one.cell
    return (cell.backbone, cell.context, *((cell.kind,) if one.analysis is None else one.analysis.config.measures))
