"""What a family of encoders tells of itself: a file of this folder with a `FAMILY`, named after the
`model_type` of its configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...sound.features import FeatureSettings
from ..classifier import SpeechClassifier
from ..parts import EncoderParts


@dataclass(frozen=True)
class Family:
    """One architecture family: its name in words, its classifier, its parts, and what of a clip a model of it takes.

    `features(model, normalise)`: `normalise` brings each waveform to zero mean and unit variance;
    log-mels have their own way.
    """

    title: str
    classifier: type[SpeechClassifier]
    parts: type[EncoderParts]
    features: Callable[[SpeechClassifier, bool], FeatureSettings]
