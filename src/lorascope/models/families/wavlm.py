"""WavLM's encoder: its blocks share one position bias, and its projections are called as modules, so
that adapters on them count.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from transformers import WavLMForSequenceClassification
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from .family import Family
from .waveform import WaveformClassifier, WaveformParts, speech_mask, waveforms


class ModularWavLMAttention(WavLMAttention):
    """WavLM's attention, the same arithmetic, with its projections called as modules, so
    that adapters on them count.
    """

    def torch_multi_head_self_attention(
        self, hidden_states: Tensor, attention_mask: Tensor | None, gated_position_bias: Tensor, *_: Any
    ) -> tuple[Tensor, Tensor]:
        """attn_out [clips, frames, width] (no attention weights) of [clips, frames, width]; the mask
        [clips, frames] is true on speech.

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


class WavLMClassifier(WaveformClassifier, WavLMForSequenceClassification):
    """`WavLMForSequenceClassification` for batches of clips of any length, in which adapters on
    attention projections count.
    """

    trunk = "wavlm"
    stock = WavLMForSequenceClassification

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for layer in self.wavlm.encoder.layers:
            layer.attention.__class__ = ModularWavLMAttention  # pyright: ignore[reportAttributeAccessIssue]


class WavLMParts(WaveformParts):
    """The parts of a WavLM encoder, whose first block owns the position bias of all."""

    def attend(self, block: Any, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """attn_out of a block on what its attention takes, [clips, frames, width]."""
        clips, frames, _ = hidden.shape
        bias = self.blocks[0].attention.compute_bias(frames, frames).repeat(clips, 1, 1)
        return block.attention(hidden, attention_mask=speech_mask(hidden, valid), position_bias=bias)[0]


FAMILY = Family("WavLM", WavLMClassifier, WavLMParts, waveforms)
