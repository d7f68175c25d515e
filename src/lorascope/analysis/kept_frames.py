"""Frames of clips that a measure can't reduce at once: kept on the GPU and in memory up to a budget each, past that in
a temporary file.

Only the flattened variants need this (a clip as its frames × width values, as the paper has it): their kernels pair
every clip with every other, frame by frame. No measure keeps frames for its `corrected` variant.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LorascopeError

if TYPE_CHECKING:
    from .measure import Batch

#: Bytes of frames that are kept in memory unless told otherwise.
BUDGET = 512 << 20
#: Values that one piece of `KeptFrames.pieces` holds at most, by the device on which they are needed.
PIECE = {"cpu": 1 << 19, "cuda": 1 << 27}


class Spilled:
    """An array in a file. A part of it is read when it is asked for, and nothing of the file stays mapped."""

    def __init__(self, path: Path, offset: int, array: np.ndarray) -> None:
        self.nbytes, self._path, self._offset = array.nbytes, path, offset
        self._dtype, self._shape = array.dtype, array.shape

    def __getitem__(self, index: Any) -> np.ndarray:
        mapped = np.memmap(self._path, dtype=self._dtype, mode="r", offset=self._offset, shape=self._shape)
        return np.array(mapped[index])


class Space:
    """Room for arrays: memory for the first `budget` bytes, then a file in a temporary folder, removed with this
    object.

    What is made on a GPU stays there for the first `on_device` bytes.
    """

    def __init__(self, budget: int = BUDGET, on_device: int = 0) -> None:
        self._left = budget
        self._left_on_device = on_device
        self._folder: Path | None = None

    def leaves(self, tensor: Tensor) -> bool:
        """Whether there is room for a tensor on the GPU where it lies; if so the room is taken."""
        there = tensor.is_cuda and tensor.nbytes <= self._left_on_device
        self._left_on_device -= tensor.nbytes * there
        return there

    def keep(self, array: np.ndarray) -> np.ndarray | Spilled:
        """The same values, wherever they are kept. Raises LorascopeError where the disk is full."""
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            return array
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="lorascope-"))
            # also when the program ends before this object is let go
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / "frames"
        try:
            with path.open("ab") as file:
                offset = file.tell()
                file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise LorascopeError(
                f"{self._folder}: no room left for the frames of the flattened variants; "
                "set TMPDIR to a larger disk, or analyse fewer clips"
            ) from error
        return Spilled(path, offset, array)


class KeptFrames:
    """All frames of all clips at one place of one model, clips of different lengths; as precise as they came, float32
    at most.
    """

    def __init__(self, clips: int, space: Space) -> None:
        self.clips = clips
        self.longest = 0
        self.width = 0
        self._space = space
        self._blocks: list[tuple[Tensor, np.ndarray | Spilled | Tensor]] = []
        self._coming: tuple[Tensor, Tensor, torch.cuda.Event] | None = None
        self._device = torch.device("cpu")

    def add(self, batch: Batch, tensor: Tensor) -> None:
        """Keep [clips, frames, width] of a batch's clips.

        What has no room on a GPU leaves it while the host goes on; the next batch's waits for it.
        """
        self.longest = max(self.longest, tensor.shape[1])
        self.width = tensor.shape[2]
        self._device = tensor.device
        self._arrive()
        if self._space.leaves(tensor):
            # a tensor that is a part of another would keep all of it
            alone = tensor.untyped_storage().nbytes() == tensor.nbytes
            self._blocks.append((batch.rows, tensor if alone else tensor.clone()))
        elif tensor.is_cuda:
            here = torch.empty(tensor.shape, dtype=torch.float32, pin_memory=True)
            here.copy_(tensor, non_blocking=True)
            done = torch.cuda.Event()
            done.record()
            self._coming = batch.rows, here, done
        else:
            self._keep(batch.rows, tensor.float())

    def _arrive(self) -> None:
        if self._coming is not None:
            rows, tensor, done = self._coming
            done.synchronize()
            self._coming = None
            self._keep(rows, tensor)

    def _keep(self, rows: Tensor, tensor: Tensor) -> None:
        # A copy: tracing's own tensor would keep its whole graph's storage alive.
        self._blocks.append((rows, self._space.keep(tensor.numpy().copy())))

    def pieces(self) -> Iterator[Tensor]:
        """Runs of frames of all clips, [clips, some frames, width] float32 on the device where they were made, shorter
        clips padded with 0 to the longest.
        """
        self._arrive()
        step = max(1, PIECE[self._device.type] // (self.clips * self.width))
        for start in range(0, self.longest, step):
            piece = torch.zeros(
                (self.clips, min(step, self.longest - start), self.width), dtype=torch.float32, device=self._device
            )
            for rows, block in self._blocks:
                part = torch.as_tensor(block[:, start : start + step]).to(piece)
                piece[rows, : part.shape[1]] = part
            yield piece
