"""Whisper's audio classifier at any context length.

`SpeechClassifier` is the stock `WhisperForAudioClassification` with two freedoms: the encoder takes inputs shorter than 30 s, and the
mean over frames may skip the padding. Parameter names are the stock ones, so what is saved here loads there and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperForAudioClassification
from transformers.modeling_outputs import SequenceClassifierOutput


@contextmanager
def context_length(encoder: Any, frames: int) -> Iterator[None]:
    """Let a Whisper encoder take exactly `frames` frames (2 * frames mel columns); the old length is restored on leaving.

    The encoder adds the first `frames` rows of its position table; nothing is copied and no weight changes.
    """
    before = (encoder.config.max_source_positions, encoder.embed_positions.num_embeddings)
    if frames > encoder.embed_positions.weight.shape[0]:
        raise ValueError(f"{frames} frames, but the encoder knows {encoder.embed_positions.weight.shape[0]} positions")
    encoder.config.max_source_positions = encoder.embed_positions.num_embeddings = frames
    try:
        yield
    finally:
        encoder.config.max_source_positions, encoder.embed_positions.num_embeddings = before


def masked_mean(hidden: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of [clips, frames, width] over each clip's first `valid` frames ([clips]; None: over all), [clips, width]."""
    if valid is None:
        return hidden.mean(dim=1)
    frames = torch.arange(hidden.shape[1], device=hidden.device)
    mask = (frames[None, :] < valid[:, None]).to(hidden.dtype)[..., None]
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


class SpeechClassifier(WhisperForAudioClassification):
    """`WhisperForAudioClassification` for any context length, pooling over the valid frames when told how many there are."""

    def encode(self, input_features: Tensor) -> Tensor:
        """Encoder output after the final LayerNorm, [clips, frames, width], of log-mels [clips, mels, 2 * frames]."""
        with context_length(self.encoder, input_features.shape[-1] // 2):
            return self.encoder(input_features).last_hidden_state

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_features: Tensor,
        valid: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Logits [clips, classes] of log-mels [clips, mels, 2 * frames]; with `labels` [clips] also the mean cross-entropy.

        `valid` [clips] restricts the mean over frames to each clip's speech; without it the result is the stock model's.
        """
        hidden = self.projector(self.encode(input_features))
        logits = self.classifier(masked_mean(hidden, valid))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class Head(nn.Module):
    """The classification head alone, on pooled encoder outputs: projector, classifier.

    The projector is linear, so it commutes with the mean over frames: on the pooled encoder output this head gives the logits that
    `SpeechClassifier` gives on the frames.
    """

    def __init__(self, width: int, projection: int, classes: int) -> None:
        super().__init__()
        self.projector = nn.Linear(width, projection)
        self.classifier = nn.Linear(projection, classes)

    def forward(self, pooled: Tensor, labels: Tensor | None = None, **_: Any) -> SequenceClassifierOutput:
        """Logits [clips, classes] of pooled encoder outputs [clips, width]."""
        logits = self.classifier(self.projector(pooled))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def initialise_head(model: nn.Module, seed: int, std: float = 0.02) -> None:
    """Draw projector and classifier anew from N(0, std²) with zero bias (Whisper's own initialisation), from `seed` alone."""
    generator = torch.Generator().manual_seed(seed)
    for layer in (model.projector, model.classifier):
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * std)
            layer.bias.zero_()
