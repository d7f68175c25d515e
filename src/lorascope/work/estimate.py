"""How long a cell or an analysis may take, told before anything is trained: arithmetic, corrected by finished ones
where there are some.

Work is counted in multiply-adds of the encoder (times two: FLOPs). What is left out of a cell (heads, optimiser,
loading) is small beside an encoder of any size; what is left out of an analysis (intervals, nulls, spectra) is not, so
that the first of its kind may take longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..experiment.analyses import AnalysisUnit
from ..experiment.methods import ClassicConfig, FrozenConfig, OptimiserConfig, candidates_of
from ..experiment.planning import Cell
from ..experiment.search import epochs_of
from ..sound.features import WINDOW
from .journal import State, SweepFolder
from .shapes import encoder_flops, encoder_shape, mean_frames
from .sweep import Planned

#: GFLOP/s that a stated estimate takes for granted: some cores of a CPU; a recent GPU does hundreds of times as many.
GFLOPS = 50.0


@dataclass(frozen=True)
class Estimate:
    """`seconds` on one worker, None where nothing is known of the encoder; `source` is finished, arithmetic or
    unknown.
    """

    seconds: float | None
    source: str


def estimates(
    planned: Sequence[Planned], states: dict[str, State], folder: SweepFolder, gflops: float = GFLOPS
) -> dict[str, Estimate]:
    """Estimates of all units that are not whole, by key.

    A cell of a kind and an encoder of which cells are whole takes their seconds, in proportion to the work (of a
    classic method, which has no encoder, to the clips), an analysis those of whole ones of its encoder; else its work
    at `gflops`.
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
    """FLOPs of a cell: every candidate's epochs on its training and selection clips, and its test clips once; None
    where the encoder's shape is not known.

    Backward through a frozen weight costs once its forward, through a trained one twice. A frozen encoder sees all
    `clips` of the corpus once, if this cell is the `first` to stand on it. `frames` is a clip's mean length.
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
    if cell.fold.inner:
        # every inner fold trains on all but its own part, and each part is tested once an epoch; then one fit on all
        rates, parts = len(method.learning_rate), len(cell.fold.inner)
        return one * (method.epochs * train * (rates * (step * (parts - 1) + 1) + step) + test)
    search = getattr(method, "search", None)
    epochs = len(method.learning_rate) * method.epochs
    if search is not None:
        epochs = epochs_of(len(candidates_of(method)), method.epochs)  # pyright: ignore[reportArgumentType]
    return one * (epochs * (step * train + selection) + test)


def analysis_flops(unit: AnalysisUnit, frames: float) -> float | None:
    """FLOPs of an analysis' passes: every clip once through every model (the frozen and the trained encoder, the random
    adapters, other ranks), backwards too where gradients are measured, and half of the blocks again for each block that
    is erased; both encoders on every changed sound, and on the window for transcripts (their decoding is not counted);
    None where the encoder's shape is not known.
    """
    shape = encoder_shape(unit.main.backbone)
    if shape is None:
        return None
    measures, one = unit.config.measures, encoder_flops(shape, WINDOW if unit.main.context == "full" else frames)
    models = 2 + len(unit.config.baselines)
    backward = 1 if {"spectra", "cka"} & set(measures) else 0
    # single blocks and all up to one, of the frozen and the trained encoder; half of the encoder on average
    replays = 2 * shape.blocks if "erasure" in measures else 0
    # the resynthesis and eleven changes
    replays += 2 * 12 if "counterfactual" in measures else 0
    window = 2 * encoder_flops(shape, WINDOW) if "recognition" in measures else 0
    return len(unit.clips) * (one * (models * (1 + backward) + replays + len(unit.ranks)) + window)


def _kin(one: Planned) -> tuple[str, ...]:
    cell = one.cell
    return (cell.backbone, cell.context, *((cell.kind,) if one.analysis is None else one.analysis.config.measures))
