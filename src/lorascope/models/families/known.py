"""The families of encoders that lorascope knows, by the `model_type` of their Hugging Face configuration.

To add a family: a classifier class with the stock parameter names, a class of parts, and a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...sound.features import FeatureSettings, LogMelSettings, WaveformSettings
from ..classifier import SpeechClassifier, WhisperClassifier
from ..parts import EncoderParts, WhisperParts
from .waveform_classifier import HubertClassifier, Wav2Vec2Classifier, WavLMClassifier, samples_of
from .waveform_parts import WaveformParts, WavLMParts


@dataclass(frozen=True)
class Family:
    """One architecture family: its name in words, its classifier and its parts."""

    title: str
    classifier: type[SpeechClassifier]
    parts: type[EncoderParts]


FAMILIES = {
    "whisper": Family("Whisper", WhisperClassifier, WhisperParts),
    "wav2vec2": Family("wav2vec 2.0", Wav2Vec2Classifier, WaveformParts),
    "hubert": Family("HuBERT", HubertClassifier, WaveformParts),
    "wavlm": Family("WavLM", WavLMClassifier, WavLMParts),
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
    """What the encoder takes: Whisper's log-mels, or the waveform; `normalise` brings each clip to zero mean and unit variance."""
    if isinstance(model, WhisperClassifier):
        return LogMelSettings(model.config.num_mel_bins, model.config.max_source_positions)
    return WaveformSettings(
        normalise, samples_of(1, model.config), samples_of(2, model.config) - samples_of(1, model.config)
    )
