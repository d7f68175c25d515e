"""Clips in batches of one context length, as large as the device of the model has room for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from ..models.parts import EncoderParts
from ..sound.context import context_frames
from ..sound.features import Features
from .measure import Batch

#: What a batch holds on a CPU: two windows of 30 s, since more take more memory and no less time.
ON_CPU = (8, 3000)
#: What it holds at most on a GPU, where small batches take as long as large ones: 16 windows of 30 s are as fast as
#: more.
ON_GPU = (64, 24_000)
#: The part of a GPU's free memory that a batch may take.
OF_MEMORY = 0.4
#: Bytes that a frame takes a layer and unit of width, while the graph of a batch is held and measures reduce its parts.
BYTES = {"fp32": 64, "bf16": 44}


class BatchLimits(NamedTuple):
    """What a batch holds at most: `clips`, and `frames` of all its clips together (but one clip at least)."""

    clips: int
    frames: int | None = None

    def of(self, frames: int) -> int:
        """How many clips of so many frames each."""
        return self.clips if self.frames is None else max(1, min(self.clips, self.frames // frames))

    def batches(self, clips: int, frames: int) -> int:
        """How many batches so many clips of so many frames make."""
        return math.ceil(clips / self.of(frames))


def batch_limits(
    parts: EncoderParts, precision: str = "fp32", clips: int | None = None, frames: int | None = None
) -> BatchLimits:
    """The limits that were asked for; those that weren't, as the device of the model has room for."""
    device = next(parts.peft.parameters()).device
    most_clips, most_frames = ON_CPU
    if device.type == "cuda":
        most_clips, most_frames = ON_GPU
        free = torch.cuda.mem_get_info(device)[0] * OF_MEMORY
        most_frames = min(most_frames, int(free / (BYTES[precision] * parts.layers * parts.width)))
    return BatchLimits(most_clips if clips is None else clips, most_frames if frames is None else frames)


def batches_of(
    clips: pd.DataFrame,
    window: Callable[[str, int], Any],
    contexts: Mapping[str, int],
    limits: BatchLimits,
    pools_valid: bool,
    device: torch.device | str = "cpu",
    windowed: bool = True,
) -> Iterator[Batch]:
    """Batches of clips of one context length, shortest first, within `limits`; those of one length are as even as may
    be.

    `clips` has columns `clip`, `label`, `frames` (one row a clip); `window(clip, frames)` gives a clip's features cut
    or padded to so many frames; `contexts` the frames that each clip's encoder input has. `windowed` says whether the
    encoder sees padding (`Batch.windowed`).
    """
    lengths = clips["clip"].map(contexts)
    for frames in sorted(lengths.unique()):
        rows = [row for row, length in enumerate(lengths) if length == frames]
        for chosen in np.array_split(rows, limits.batches(len(rows), int(frames))):
            part = clips.iloc[chosen]
            features = torch.stack([torch.as_tensor(window(clip, int(frames))) for clip in part["clip"]])
            yield Batch(
                rows=torch.from_numpy(chosen),
                features=features,
                frames=int(frames),
                valid=torch.tensor(part["frames"].to_numpy()),
                labels=torch.tensor(part["label"].to_numpy()),
                pools_valid=pools_valid,
                windowed=windowed,
            ).to(device)


class Heard:
    """Clips with what the encoder takes of them, in batches within `limits`.

    `clips` are as in `batches_of`; `features(clip)` gives its features, `context` is as in a config.
    """

    def __init__(
        self,
        clips: pd.DataFrame,
        features: Callable[[str], Features],
        context: str,
        limits: BatchLimits,
        device: torch.device | str,
        windowed: bool,
    ) -> None:
        here = {clip: features(clip) for clip in clips["clip"]}
        self._clips = clips.assign(frames=[here[clip].valid for clip in clips["clip"]])
        self._contexts = {clip: context_frames(each.valid, context, each.longest) for clip, each in here.items()}
        self._features, self._limits, self._device, self._windowed = here, limits, device, windowed
        self._pools_valid = context == "trim"

    @property
    def count(self) -> int:
        """Number of batches."""
        return sum(self._limits.batches(count, frames) for frames, count in Counter(self._contexts.values()).items())

    def batches(self) -> Iterator[Batch]:
        """The batches, from the first again."""
        return batches_of(
            self._clips, self._window, self._contexts, self._limits, self._pools_valid, self._device, self._windowed
        )

    def _window(self, clip: str, frames: int) -> Any:
        return self._features[clip].window(frames)
