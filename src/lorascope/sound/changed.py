"""Features of clips that were changed in one cue, cached by the clip's content and the change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import numpy as np

from ..machine.progress import bar
from ..store.cache import FORM, cache_folder, keep, keep_array, kept, read_array
from .features import Features, FeatureSettings
from .resynthesis import Change, check_parselmouth, median_f0, resynthesised


@dataclass(frozen=True)
class ChangedClips:
    """What an encoder takes of clips that are changed in one cue.

    `hashes` name the clips' content, `samples(clip)` gives 16 kHz mono samples and is called only for what is not in
    the cache, `settings` make the features. Raises `LorascopeError` where praat-parselmouth is not installed.
    """

    hashes: Mapping[str, str]
    samples: Callable[[str], np.ndarray]
    settings: FeatureSettings

    def __post_init__(self) -> None:
        check_parselmouth()

    def medians(self, clips: Iterable[str]) -> dict[str, float]:
        """Each clip's median F0 by id, hertz; NaN for one without voicing."""
        found = {}
        for clip in bar(list(clips), "F0 of clips"):
            stored = _place("f0", [self.hashes[clip]], ".npy")
            median = read_array(stored)
            if median is None:
                median = np.array(median_f0(self.samples(clip)))
                keep_array(stored, median)
            found[clip] = float(median)
        return found

    def features(self, clip: str, change: Change) -> Features:
        """Features of one clip with a change."""
        stored = _place("changed", [self.hashes[clip], *self.settings.key, change.key], ".npz")
        found = kept(stored)
        if found is not None:
            with np.load(found) as arrays:
                return self.settings.restore(arrays)
        features = self.settings.extract(resynthesised(self.samples(clip), change))
        keep(stored, lambda file: np.savez(file, **self.settings.arrays(features)))
        return features


def _place(kind: str, told: list, suffix: str):
    key = hashlib.sha256(json.dumps([*told, *_versions(), FORM]).encode()).hexdigest()
    return cache_folder() / kind / key[:2] / f"{key}{suffix}"


@cache
def _versions() -> tuple[str, ...]:
    packages = ("praat-parselmouth", "transformers", "soxr", "soundfile")
    return tuple(version(package) for package in packages)
