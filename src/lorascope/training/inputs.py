"""What the cells of a run share, each thing computed once: clips, labels, the frozen encoder's pooled stream, acoustic
features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..experiment.methods import ClassicConfig, FrozenConfig, Method
from ..models.weights.backbone import Backbone
from ..sound.decoding import Clip
from ..sound.functionals import functionals
from .passes import pooled_stream


@dataclass
class Inputs:
    """What the cells of a run share: the clips' features and labels, and the backbone, loaded anew for every model that
    changes it.

    `load(classes...)` gives a fresh backbone. `device` is where models run. `samples(clip)` gives a clip's 16 kHz mono
    samples, for classic methods.
    """

    clips: Mapping[str, Clip]
    labels: Mapping[str, int]
    speakers: Mapping[str, str]
    load: Callable[[], Backbone]
    device: str
    samples: Callable[[str], np.ndarray] | None = None

    def __post_init__(self) -> None:
        self._pooled: dict[str, dict[str, np.ndarray]] = {}
        self._functionals: dict[str, dict[str, np.ndarray]] = {}

    def pooled(self, context: str, batch_size: int) -> dict[str, np.ndarray]:
        """Every clip's frozen stream at every depth, pooled, [layers + 1, width] by id: each clip passes through the
        encoder once for all folds and heads.
        """
        if context not in self._pooled:
            self._pooled[context] = pooled_stream(self.load, self.clips, context, batch_size, self.device)
        return self._pooled[context]

    @cached_property
    def backbone(self) -> tuple[str, str]:
        """The backbone's name and its fingerprint."""
        backbone = self.load()
        return backbone.name, backbone.fingerprint

    def functionals(self, features: str) -> dict[str, np.ndarray]:
        """A feature set of openSMILE for every clip, [features] by id."""
        if features not in self._functionals:
            assert self.samples is not None, "classic methods need the clips' samples"
            hashes = {name: clip.hash for name, clip in self.clips.items()}
            self._functionals[features] = functionals(features, list(self.clips), hashes, self.samples)
        return self._functionals[features]

    def fixed(self, method: Method, context: str) -> dict[str, np.ndarray]:
        """What a method that leaves the encoder alone stands on, by id: acoustic features [features], else the pooled
        stream [layers + 1, width].
        """
        if isinstance(method, ClassicConfig):
            return self.functionals(method.features)
        assert isinstance(method, FrozenConfig)
        return self.pooled(context, method.batch_size)
