"""Values for every clip, filled batch by batch, in whatever order the batches come."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import LorascopeError
from .measure import Batch, Study


class PerClip:
    """An array [...] for every clip, on the device where it was made."""

    def __init__(self, study: Study) -> None:
        self._study = study
        # as they come: writing each batch's into one array would be an operation more at every place
        self._parts: list[tuple[Tensor, Tensor]] = []

    def put(self, batch: Batch, values: Tensor) -> None:
        """Take [clips of the batch, ...]."""
        self._parts.append((batch.rows, values))

    @property
    def on_gpu(self) -> bool:
        """Whether they were made on a GPU."""
        return any(values.is_cuda for _, values in self._parts)

    def gathered(self, what: str) -> Tensor:
        """All of them, [clips, ...], where and as they were made.

        Raises LorascopeError, which calls them `what`, where a clip has none or one that isn't finite: numbers made of
        the other clips would look as if nothing were wrong.
        """
        assert self._parts, what
        shape = self._parts[0][1].shape[1:]
        values = self._parts[0][1].new_full((len(self._study.clips), *shape), float("nan"))
        for rows, part in self._parts:
            values[rows] = part
        broken = (~torch.isfinite(values)).flatten(1).any(dim=1).cpu().numpy()
        if broken.any():
            clip = self._study.clips["clip"].iloc[int(broken.argmax())]
            raise LorascopeError(
                f"{what}: not finite for clip '{clip}' ({broken.sum()} of {len(values)} clips); "
                "leave the clip out, or look for NaN in the adapter's weights and analyse in float32"
            )
        return values

    def compute(self, what: str) -> np.ndarray:
        """The same on the host, float64. Raises as `gathered` does."""
        return self.gathered(what).cpu().double().numpy()
