"""wav2vec 2.0's encoder."""

from __future__ import annotations

from transformers import Wav2Vec2ForSequenceClassification

from .family import Family
from .waveform import WaveformClassifier, WaveformParts, waveforms


class Wav2Vec2Classifier(WaveformClassifier, Wav2Vec2ForSequenceClassification):
    """`Wav2Vec2ForSequenceClassification` for batches of clips of any length."""

    trunk = "wav2vec2"
    stock = Wav2Vec2ForSequenceClassification


FAMILY = Family("wav2vec 2.0", Wav2Vec2Classifier, WaveformParts, waveforms)
