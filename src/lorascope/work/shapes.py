"""The shape of an encoder, told by its folder's config.json or its published name, and what follows from it:
operations, parameters; and how long a corpus' clips are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..corpora import Corpus
from ..sound.features import FRAMES_PER_SECOND, WINDOW

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
#: Of how many clips the headers are read, and what a clip is taken for where they can't be, in seconds.
HEADERS, SECONDS = 100, 4.0
#: The convolutions that make frames of a waveform, FLOPs a frame (the seven layers of 512 channels of wav2vec 2.0, 20
#: ms a frame).
WAVEFORM = 1.0e8


@dataclass(frozen=True)
class Shape:
    """An encoder's width, its number of blocks, the width of their feed-forward layers, whether it takes the waveform,
    and the most frames that it takes.
    """

    width: int
    blocks: int
    inner: int
    waveform: bool = False
    window: int = WINDOW


def encoder_flops(shape: Shape, frames: float) -> float:
    """FLOPs of one clip through an encoder: four projections, the attention between all pairs of frames and two
    feed-forward layers a block; and its convolutions.
    """
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
    """Mean length of a corpus' clips in encoder frames, from the headers of some of them; clips of 4 s where those
    can't be read.
    """
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


def parameters(shape: Shape) -> float:
    """How many parameters an encoder has, about: its blocks' matrices and its convolutions."""
    convolutions = 4.2e6 if shape.waveform else 3 * shape.width**2
    return shape.blocks * (4 * shape.width**2 + 2 * shape.width * shape.inner) + convolutions
