"""The families of encoders that lorascope knows, by the `model_type` of their Hugging Face configuration.

To add a family: a file beside this one with a classifier class with the stock parameter names, a class of parts and
their `FAMILY`.
"""

from __future__ import annotations

from typing import Any

from ...by_name import modules_in
from ...sound.features import FeatureSettings
from ..classifier import SpeechClassifier
from ..parts import EncoderParts
from .family import Family

#: Every family by the `model_type` of its models, which is its file's name.
FAMILIES: dict[str, Family] = {
    name: module.FAMILY for name, module in modules_in("lorascope.models.families", "FAMILY")
}


def family_of(model: SpeechClassifier) -> Family:
    """The family of a loaded model."""
    return FAMILIES[model.config.model_type]


def parts_of(adapted: Any) -> EncoderParts:
    """The parts of an adapted model (a `PeftModel` around a `SpeechClassifier`), in its family's own class."""
    return family_of(adapted.get_base_model()).parts(adapted)


def blocks_of(model: Any) -> list[Any]:
    """The encoder's blocks of a model that is trained; none of a head alone."""
    return parts_of(model).blocks if hasattr(model, "get_base_model") else []


def feature_settings(model: SpeechClassifier, normalise: bool = True) -> FeatureSettings:
    """What the encoder takes: Whisper's log-mels, or the waveform; `normalise` brings each clip to zero mean and unit
    variance.
    """
    return family_of(model).features(model, normalise)
