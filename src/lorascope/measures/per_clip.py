"""Values for every clip, filled batch by batch, in whatever order the batches come."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..errors import LorascopeError
from .measure import Batch, Study


class PerClip:
    """An array [...] for every clip, on the device where it was made."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._values: Tensor | None = None

    def put(self, batch: Batch, values: Tensor) -> None:
        """Take [clips of the batch, ...]."""
        if self._values is None:
            self._values = values.new_full((len(self._study.clips), *values.shape[1:]), float("nan"))
        self._values[batch.rows] = values

    def get(self, batch: Batch) -> Tensor:
        """What was put for the clips of a batch, [clips of the batch, ...]."""
        assert self._values is not None, "nothing was put yet"
        return self._values[batch.rows]

    def compute(self, what: str) -> np.ndarray:
        """All of them, [clips, ...] float64.

        Raises LorascopeError, which calls them `what`, where a clip has none or one that isn't finite: numbers made of the other
        clips would look as if nothing were wrong.
        """
        assert self._values is not None, what
        values = self._values.cpu().double().numpy()
        broken = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if broken.any():
            clip = self._study.clips["clip"].iloc[int(broken.argmax())]
            raise LorascopeError(
                f"{what}: not finite for clip '{clip}' ({broken.sum()} of {len(values)} clips); "
                "leave the clip out, or look for NaN in the adapter's weights and analyse in float32"
            )
        return values
