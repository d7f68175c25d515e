"""Clips as Trainer's datasets, in batches of one context length, shared among the processes that train together.

Whisper attends to its padding, so a clip's output depends on the length of its window. Under `trim` that length is a
function of the clip alone: the next of a few fixed lengths. A batch holds clips of one length, so no clip's result
depends on what it was batched with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..sound.context import context_frames
from ..sound.decoding import Clip


class Items(Dataset[dict[str, Any]]):
    """Items that may be others in every epoch."""

    def in_epoch(self, index: int, epoch: int) -> dict[str, Any]:
        """An item as it is in an epoch: the same in all of them."""
        return self[index]


class ClipDataset(Items):
    """Clips by id with their labels: `input_features` (the clip's features, cut or padded to its length), `labels`, and
    `valid` frames under `trim`.
    """

    def __init__(self, ids: Sequence[str], labels: Mapping[str, int], clips: Mapping[str, Clip], context: str) -> None:
        self.ids = list(ids)
        self.labels = [labels[clip] for clip in ids]
        self.clips = clips
        self.context = context
        features = [clips[clip].features for clip in ids]
        self.lengths = [context_frames(each.valid, context, each.longest) for each in features]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        features = self.clips[self.ids[index]].features
        item = {"input_features": features.window(self.lengths[index]), "labels": self.labels[index]}
        return item | ({"valid": features.valid} if self.context == "trim" else {})


class PooledDataset(Items):
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


class ShareOfBatches(Sampler[list[tuple[int, float, int]]]):
    """One process's share of every batch, as (index, weight, epoch): a step of all processes together is a step on the
    whole batch, whatever their number.

    A batch is cut into `processes` times `steps` pieces (steps of gradient accumulation), as even as can be. A piece's
    weight makes the mean of the pieces' mean losses the mean over the batch's clips; a piece that has none holds the
    batch's first clip with weight 0, since every process must take part. With `even` each piece has as many items,
    filled up with such ones, and clips have the weight 1: so they can be gathered, and counted once.
    """

    def __init__(
        self, batches: LengthBatches, processes: int = 1, process: int = 0, steps: int = 1, even: bool = False
    ) -> None:
        self.batches = batches
        self.pieces = processes * steps
        self.mine = range(process, self.pieces, processes)
        self.even = even

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of that epoch."""
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches) * len(self.mine)

    def __iter__(self) -> Iterator[list[tuple[int, float, int]]]:
        epoch = self.batches.epoch
        for batch in self.batches:
            filler = (batch[0], 0.0, epoch)
            longest = math.ceil(len(batch) / self.pieces)
            cut = np.array_split(batch, self.pieces)
            for number in self.mine:
                piece = [int(index) for index in cut[number]]
                if self.even:
                    yield [(index, 1.0, epoch) for index in piece] + [filler] * (longest - len(piece))
                else:
                    weight = len(piece) * self.pieces / len(batch)
                    yield [(index, weight, epoch) for index in piece] or [filler]


class Weighted(Dataset[dict[str, Any]]):
    """A dataset whose items are asked for as (index, weight, epoch); they bear their `weight`.

    The epoch is a part of what is asked for, since those who load batches may be processes that know of none.
    """

    def __init__(self, items: Items) -> None:
        self.items: Any = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, which: tuple[int, float, int]) -> dict[str, Any]:
        index, weight, epoch = which
        return self.items.in_epoch(index, epoch) | {"weight": np.float32(weight)}


class ShareLoader(DataLoader[Any]):
    """Batches of one process's share, in the order of an epoch that Trainer tells."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of that epoch."""
        sampler: Any = self.batch_sampler
        sampler.set_epoch(epoch)
