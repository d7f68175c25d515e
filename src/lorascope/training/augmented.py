"""Training clips that are others in every epoch: augmented, and mixed with each other. What a clip is depends on seed,
clip and epoch alone, whoever makes it and however many do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..experiment.recipe import Recipe
from ..sound.augmentation import ON_FEATURES, ON_SAMPLES
from ..sound.decoding import Clip
from ..sound.features import Features, FeatureSettings
from .data import ClipDataset


@dataclass(frozen=True)
class Drawing:
    """How training clips are changed: by which recipe and seed, and what their features are made of and by.

    `samples(clip)` gives a clip's 16 kHz mono samples; only augmentations of samples ask for them.
    """

    recipe: Recipe
    seed: int
    classes: int
    settings: FeatureSettings
    samples: Callable[[str], np.ndarray] | None = None


class DrawnClips(ClipDataset):
    """Clips as `ClipDataset` has them, changed by a recipe in every epoch.

    `mixup` (Zhang et al. 2018) mixes every clip with another one of its length, drawn for clip and epoch: λ of its
    features and label and 1 - λ of the other's, λ the larger share of a draw from Beta(alpha, alpha); `labels` then
    are shares of classes [classes], and `valid` frames those of the longer one. A clip that another speed has made
    longer than its batch's window is cut to it.
    """

    def __init__(
        self, ids: Sequence[str], labels: Mapping[str, int], clips: Mapping[str, Clip], context: str, drawing: Drawing
    ) -> None:
        super().__init__(ids, labels, clips, context)
        self.drawing = drawing
        self.of_length = {length: np.flatnonzero(np.equal(self.lengths, length)) for length in set(self.lengths)}

    def in_epoch(self, index: int, epoch: int) -> dict[str, Any]:
        """A clip as it is in an epoch."""
        features = self._changed(index, epoch)
        length, label = self.lengths[index], self.labels[index]
        window, valid = features.window(length), min(features.valid, length)
        labels: Any = label
        alpha = self.drawing.recipe.mixup
        if alpha:
            random = self._random(index, epoch, 1)
            other = int(random.choice(self.of_length[length]))
            drawn = random.beta(alpha, alpha)
            share = np.float32(max(drawn, 1 - drawn))
            beside = self._changed(other, epoch)
            window = share * window + (1 - share) * beside.window(length)
            valid = max(valid, min(beside.valid, length))
            labels = np.zeros(self.drawing.classes, np.float32)
            labels[label] += share
            labels[self.labels[other]] += 1 - share
        item = {"input_features": window, "labels": labels}
        return item | ({"valid": valid} if self.context == "trim" else {})

    def _changed(self, index: int, epoch: int) -> Features:
        clip, wanted = self.ids[index], self.drawing.recipe.augment
        features = self.clips[clip].features
        random = self._random(index, epoch, 0)
        if self.drawing.recipe.reads_samples:
            assert self.drawing.samples is not None, "this recipe needs the clips' samples"
            samples = self.drawing.samples(clip)
            for name, change in ON_SAMPLES.items():
                samples = change(samples, random) if name in wanted else samples
            features = self.drawing.settings.extract(samples)
        for name, alter in ON_FEATURES.items():
            features = alter(features, self.drawing.settings, random) if name in wanted else features
        return features

    def _random(self, index: int, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng(
            [self.drawing.seed, epoch, int(self.clips[self.ids[index]].hash[:15], 16), purpose]
        )
