"""Clips as Trainer's datasets, in batches of one context length.

Whisper attends to its padding, so a clip's output depends on the length of its window. Under `trim` that length is a function of the clip alone: the next of a
few fixed lengths. A batch holds clips of one length, so no clip's result depends on what it was batched with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ..audio import Clip
from ..features import WINDOW

#: Context lengths under `trim`, in frames of 20 ms: few, since every new length makes CPU kernels plan again.
BUCKETS = (50, 100, 150, 200, 250, 300, 350, 400, 500, 600, 750, 1000, 1250, WINDOW)


def context_frames(valid: int, context: str) -> int:
    """Frames of encoder input for a clip with `valid` frames of speech: the window (`full`) or the next bucket (`trim`)."""
    return WINDOW if context == "full" else next(bucket for bucket in BUCKETS if bucket >= valid)


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips by id with their labels: `input_features` (the clip's features, cut or padded to its length), `labels`, and `valid` frames under `trim`."""

    def __init__(self, ids: Sequence[str], labels: Mapping[str, int], clips: Mapping[str, Clip], context: str) -> None:
        self.ids = list(ids)
        self.labels = [labels[clip] for clip in ids]
        self.clips = clips
        self.context = context
        self.lengths = [context_frames(clips[clip].features.valid, context) for clip in ids]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        features = self.clips[self.ids[index]].features
        item = {"input_features": features.window(self.lengths[index]), "labels": self.labels[index]}
        return item | ({"valid": features.valid} if self.context == "trim" else {})


class PooledDataset(Dataset[dict[str, Any]]):
    """Pooled encoder outputs [clips, width] with labels, for a head on a frozen encoder: `pooled`, `labels`."""

    def __init__(self, pooled: np.ndarray, labels: Sequence[int]) -> None:
        self.pooled = pooled
        self.labels = list(labels)
        self.lengths = [0] * len(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pooled": self.pooled[index], "labels": self.labels[index]}


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Stack items of one length into a batch of tensors."""
    return {key: torch.as_tensor(np.stack([item[key] for item in items])) for key in items[0]}


class LengthBatches(Sampler[list[int]]):
    """Batches of indices whose items have one length, in a new order every epoch (`seed` + epoch), or in a fixed one.

    The last batch of a length may be smaller; no item is left out or repeated.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int | None) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of that epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(math.ceil(int(count) / self.batch_size) for count in np.unique(self.lengths, return_counts=True)[1])

    def __iter__(self) -> Iterator[list[int]]:
        random = None if self.seed is None else np.random.default_rng([self.seed, self.epoch])
        batches = []
        for length in np.unique(self.lengths):
            indices = np.flatnonzero(self.lengths == length)
            if random is not None:
                random.shuffle(indices)
            batches += [
                indices[first : first + self.batch_size].tolist() for first in range(0, len(indices), self.batch_size)
            ]
        if random is not None:
            random.shuffle(batches)
        return iter(batches)
