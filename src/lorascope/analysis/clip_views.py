"""What measures that compare clips keep of a part: every clip's mean over its valid frames, and of some models all
frames.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor

from .kept_frames import KeptFrames
from .measure import Part, Study
from .per_clip import PerClip

#: Model, layer, module, and name of the part.
Place = tuple[str, int, str, str]


class ClipViews:
    """Means of all models' parts, and frames of those in `flattened`, which go to the study's `space`."""

    def __init__(self, study: Study, flattened: Collection[str]) -> None:
        self._study = study
        self._flattened = frozenset(flattened)
        self._means: dict[Place, PerClip] = {}
        self._frames: dict[Place, KeptFrames] = {}

    def __iter__(self) -> Iterator[Place]:
        """Every place of which something is kept, in the order of their coming."""
        return iter(self._means)

    def put(self, part: Part) -> None:
        """Keep one batch of a part at a module."""
        assert part.module is not None
        place = (part.model, part.layer, part.module, part.name)
        self._means.setdefault(place, PerClip(self._study)).put(part.batch, part.batch.mean(part.tensor, valid=True))
        if part.model in self._flattened:
            frames = self._frames.setdefault(place, KeptFrames(len(self._study.clips), self._study.space))
            frames.add(part.batch, part.raw)

    def means(self, place: Place) -> Tensor:
        """[clips, width] float64, on the device where they were made. Raises LorascopeError where a clip's is not
        finite.
        """
        model, layer, module, name = place
        return self._means[place].gathered(f"{name} of model {model}, layer {layer}, {module}").double()

    def frames(self, place: Place) -> KeptFrames | None:
        """All frames, None where they are not kept."""
        return self._frames.get(place)
