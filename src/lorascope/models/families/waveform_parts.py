"""The parts of encoders on waveforms: wav2vec 2.0, HuBERT, WavLM; LayerNorms before attention and MLP (large) or on the stream after them (base)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from ..parts import Block, EncoderParts


class WaveformParts(EncoderParts):
    """The parts of a wav2vec 2.0 or HuBERT encoder."""

    attention = "attention"
    mlp = "feed_forward"
    middle_norm = "layer_norm"

    def __init__(self, peft: Any) -> None:
        super().__init__(peft)
        self.post_norm = not self.classifier.config.do_stable_layer_norm

    def stack(self, classifier: Any) -> Any:
        """The Transformer within the encoder."""
        return getattr(classifier, self.classifier.trunk).encoder

    def stem(self) -> list[tuple[Any, bool]]:
        """The convolutions on the waveform, and the one that gives positions."""
        trunk = self.classifier.encoder_module
        return [(trunk.feature_extractor, True), (trunk.encoder.pos_conv_embed, True)]

    def final_norm(self, hidden: Tensor) -> Tensor:
        """The last LayerNorm on [..., width] of models with LayerNorms before attention and MLP; the others have none, and the stream is the output."""
        if self.post_norm:
            return hidden
        norm = self.stack(self.classifier).layer_norm
        return nn.functional.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def run_block(self, layer: int, hidden: Tensor, valid: Tensor | None) -> Block:
        """One block's parts on resid_pre [clips, frames, width]; only the first `valid` [clips] frames are attended to."""
        block = self.blocks[layer]
        if self.post_norm:
            attn_out = self.attend(block, hidden, valid)
            middle = block.layer_norm(hidden + attn_out)
            mlp_out = block.feed_forward(middle)
            return Block(hidden, attn_out, middle, mlp_out, block.final_layer_norm(middle + mlp_out))
        attn_out = self.attend(block, block.layer_norm(hidden), valid)
        middle = hidden + attn_out
        mlp_out = block.feed_forward(block.final_layer_norm(middle))
        return Block(hidden, attn_out, middle, mlp_out, middle + mlp_out)

    def attend(self, block: Any, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """attn_out of a block on what its attention takes, [clips, frames, width]."""
        # by place: the second one's name is not the same in all versions of transformers
        mask = create_bidirectional_mask(self.classifier.config, hidden, _mask(hidden, valid))
        return block.attention(hidden, attention_mask=mask)[0]


class WavLMParts(WaveformParts):
    """The parts of a WavLM encoder, whose first block owns the position bias of all."""

    def attend(self, block: Any, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """attn_out of a block on what its attention takes, [clips, frames, width]."""
        clips, frames, _ = hidden.shape
        bias = self.blocks[0].attention.compute_bias(frames, frames).repeat(clips, 1, 1)
        return block.attention(hidden, attention_mask=_mask(hidden, valid), position_bias=bias)[0]


def _mask(hidden: Tensor, valid: Tensor | None) -> Tensor | None:
    """True on each clip's own frames, [clips, frames]; None where all are."""
    if valid is None:
        return None
    return torch.arange(hidden.shape[1], device=hidden.device)[None, :] < valid[:, None]
