"""HuBERT's encoder."""

from __future__ import annotations

from transformers import HubertForSequenceClassification

from .family import Family
from .waveform import WaveformClassifier, WaveformParts, waveforms


class HubertClassifier(WaveformClassifier, HubertForSequenceClassification):
    """`HubertForSequenceClassification` for batches of clips of any length."""

    trunk = "hubert"
    stock = HubertForSequenceClassification


FAMILY = Family("HuBERT", HubertClassifier, WaveformParts, waveforms)
