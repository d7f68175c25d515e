"""Attention heads one by one: what each adds to the stream, and what that adds to the logits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .classifier import masked_mean
from .parts import EncoderParts


def head_count(parts: EncoderParts) -> int:
    """Attention heads of a block."""
    return int(getattr(parts.blocks[0], parts.attention).num_heads)


def head_outputs(parts: EncoderParts, layer: int, hidden: Tensor, valid: Tensor | None) -> Iterator[Tensor]:
    """What each head of a block adds to attn_out, [clips, frames, width] one after the other, of its resid_pre
    [clips, frames, width]; last, what no head adds, the output projection's bias [1, 1, width].

    Their sum is attn_out. The projection is linear with whatever adapter lies on it, so a head's part is the projection
    of its slice alone, less that of nothing.
    """
    seen: list[Tensor] = []
    linear = parts.linear(layer, "out_proj")
    handle = linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        parts.run_block(layer, hidden, valid)
    finally:
        handle.remove()
    (mixed,) = seen
    size = mixed.shape[-1] // head_count(parts)
    bias = linear(torch.zeros_like(mixed[:1, :1]))
    for start in range(0, mixed.shape[-1], size):
        alone = torch.zeros_like(mixed)
        alone[..., start : start + size] = mixed[..., start : start + size]
        yield linear(alone) - bias
    yield bias


def direct_logits(parts: EncoderParts, added: Tensor, final: Tensor, valid: Tensor | None) -> Tensor:
    """What a part `added` [clips, frames, width] of the last stream `final` adds to the logits, [clips, classes].

    The final LayerNorm's statistics are held at the stream's own, frame by frame: γ (a - mean a) / σ(final); then
    pooling and head, without biases. Over all parts of the stream this sums to the logits, but for what β and the
    head's biases give. Only for encoders with a final LayerNorm.
    """
    norm = parts.stack(parts.classifier).layer_norm
    spread = torch.sqrt(final.var(dim=-1, unbiased=False, keepdim=True) + norm.eps)
    normed = norm.weight * (added - added.mean(dim=-1, keepdim=True)) / spread
    projector, classifier = parts.head()
    pooled = masked_mean(normed, valid)
    return nn.functional.linear(nn.functional.linear(pooled, projector.weight), classifier.weight)
