"""Encoders that take the waveform (wav2vec 2.0, HuBERT, WavLM) with an emotion head, such that padding changes nothing.

Each class is the stock `...ForSequenceClassification` with the stock parameter names. A clip in a batch gives what it gives alone: padding is never attended to nor pooled over, and where
the first convolution is normalised over time (base models), only a clip's own samples count. The stock classes have that only without padding. Three further differences, in training: no
SpecAugment, no LayerDrop (both would make runs of different methods less alike), and WavLM's attention calls its projections as modules: the stock class reads their weights past any adapter
(`torch.nn.functional.multi_head_attention_forward`), so that LoRA on its q, k, v and output projections has no effect there.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    HubertForSequenceClassification,
    Wav2Vec2ForSequenceClassification,
    WavLMForSequenceClassification,
)
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from ..classifier import SpeechClassifier

LINEARS = {
    "q_proj": "attention.q_proj",
    "k_proj": "attention.k_proj",
    "v_proj": "attention.v_proj",
    "out_proj": "attention.out_proj",
    "fc1": "feed_forward.intermediate_dense",
    "fc2": "feed_forward.output_dense",
}


def samples_of(frames: int, config: Any) -> int:
    """Samples that give exactly so many frames of the convolutions (320 a frame and 80 more, in the published models)."""
    samples = frames
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


class ClipGroupNorm(nn.GroupNorm):
    """The normalisation over time of the first convolution of base models, over each clip's own columns alone.

    `columns` [clips] is set for one forward, and in training for its backward; None normalises over all columns, as the stock module does. One group a channel, as in all published models.
    """

    columns: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """[clips, channels, columns], normalised for each clip and channel."""
        if self.columns is None or bool((self.columns == input.shape[-1]).all()):
            return super().forward(input)
        mask = (torch.arange(input.shape[-1], device=input.device) < self.columns[:, None])[:, None].to(input.dtype)
        count = self.columns[:, None, None].to(input.dtype)
        mean = (input * mask).sum(-1, keepdim=True) / count
        variance = (((input - mean) * mask) ** 2).sum(-1, keepdim=True) / count
        normal = (input - mean) / torch.sqrt(variance + self.eps)
        return normal * self.weight[:, None] + self.bias[:, None]


class ModularWavLMAttention(WavLMAttention):
    """WavLM's attention, the same arithmetic, with its projections called as modules, so that adapters on them count."""

    def torch_multi_head_self_attention(
        self, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor, *_: Any
    ) -> tuple[Tensor, Tensor]:
        """attn_out [clips, frames, width] (no attention weights) of [clips, frames, width]; the mask [clips, frames] is true on speech.

        Early versions of transformers 5 also tell whether attention weights are wanted.
        """
        clips, frames, width = hidden_states.shape

        def heads(projection: nn.Module) -> Tensor:
            return projection(hidden_states).view(clips, frames, self.num_heads, self.head_dim).transpose(1, 2)

        query, key, value = heads(self.q_proj), heads(self.k_proj), heads(self.v_proj)
        bias = gated_position_bias.view(clips, self.num_heads, frames, frames)
        if attention_mask is not None:
            bias = bias.masked_fill(attention_mask.ne(1)[:, None, None, :], -math.inf)
        dropout = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self.out_proj(mixed.transpose(1, 2).reshape(clips, frames, width)), None  # pyright: ignore[reportReturnType]


class WaveformClassifier(SpeechClassifier):
    """What the three families share."""

    has_window = False
    linears: ClassVar = LINEARS

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        # the masks of SpecAugment and the layers that LayerDrop skips would differ from method to method
        config.apply_spec_augment = False
        config.layerdrop = 0.0
        if config.feat_extract_norm == "group":
            self.encoder_module.feature_extractor.conv_layers[0].layer_norm.__class__ = ClipGroupNorm

    @property
    def blocks(self) -> Any:
        """The encoder's blocks, in order."""
        return self.encoder_module.encoder.layers

    def encode(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encoder output [clips, frames, width] of waveforms [clips, samples]; `valid` [clips] counts each clip's own frames (None: all are)."""
        trunk = self.encoder_module
        norm = getattr(trunk.feature_extractor.conv_layers[0], "layer_norm", None)
        if valid is None:
            if isinstance(norm, ClipGroupNorm):
                norm.columns = None
            return trunk(features).last_hidden_state
        samples = torch.arange(features.shape[-1], device=features.device)
        lengths = torch.tensor(
            [samples_of(int(count), self.config) for count in valid.tolist()], device=features.device
        )
        if isinstance(norm, ClipGroupNorm):
            norm.columns = (lengths - self.config.conv_kernel[0]) // self.config.conv_stride[0] + 1
        try:
            return trunk(features, attention_mask=(samples < lengths[:, None]).long()).last_hidden_state
        finally:
            # a backward pass may compute the convolutions again (gradient checkpointing), and then needs the clips' own columns
            if isinstance(norm, ClipGroupNorm) and not (self.training and torch.is_grad_enabled()):
                norm.columns = None


class Wav2Vec2Classifier(WaveformClassifier, Wav2Vec2ForSequenceClassification):
    """`Wav2Vec2ForSequenceClassification` for batches of clips of any length."""

    trunk = "wav2vec2"
    stock = Wav2Vec2ForSequenceClassification


class HubertClassifier(WaveformClassifier, HubertForSequenceClassification):
    """`HubertForSequenceClassification` for batches of clips of any length."""

    trunk = "hubert"
    stock = HubertForSequenceClassification


class WavLMClassifier(WaveformClassifier, WavLMForSequenceClassification):
    """`WavLMForSequenceClassification` for batches of clips of any length, in which adapters on attention projections count."""

    trunk = "wavlm"
    stock = WavLMForSequenceClassification

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.wavlm.encoder.layers:
            layer.attention.__class__ = ModularWavLMAttention  # pyright: ignore[reportAttributeAccessIssue]
