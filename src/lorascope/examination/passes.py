"""What a model gives for a batch: answers, and its residual stream pooled and measured. Shared by all checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models.classifier import masked_mean
from ..models.families.known import parts_of
from ..models.parts import EncoderParts
from ..sound.context import context_frames
from ..sound.features import Features, LogMel


@dataclass(frozen=True)
class Heard:
    """Of a batch: `pooled` stream [clips, depths, width], `lengths` of its vectors, the mean over frames [clips,
    depths], and `logits` [clips, classes] of the adapter's own head, on whatever encoder was heard.
    """

    pooled: np.ndarray
    lengths: np.ndarray
    logits: np.ndarray

    @property
    def answers(self) -> np.ndarray:
        """The class of every clip, [clips]."""
        return self.logits.argmax(axis=1)


#: Clips that are heard at once: more take more memory than the model itself, and no less time.
AT_ONCE = 2


@torch.no_grad()
def hear(parts: EncoderParts, features: Tensor, on: bool = True) -> Heard:
    """Hear a batch without padding, with the adapter on or off; the head is the adapter's in both."""
    heard = [_hear(parts, few, on) for few in features.split(AT_ONCE)]
    return Heard(*(np.concatenate([getattr(each, name) for each in heard]) for name in ("pooled", "lengths", "logits")))


def _hear(parts: EncoderParts, features: Tensor, on: bool) -> Heard:
    pooled: list[Tensor] = []
    lengths: list[Tensor] = []

    def note(hidden: Tensor) -> None:
        pooled.append(hidden.mean(dim=1))
        lengths.append(hidden.norm(dim=-1).mean(dim=1))

    def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        note(inputs[0] if inputs else named["hidden_states"])

    with parts.adapter(on):
        handles = [block.register_forward_pre_hook(hook, with_kwargs=True) for block in parts.blocks]
        try:
            note(parts.classifier.encode(features))
        finally:
            for handle in handles:
                handle.remove()
    logits = parts.apply_head(pooled[-1])
    return Heard(torch.stack(pooled, 1).numpy(), torch.stack(lengths, 1).numpy(), logits.numpy())


def batch_of(clips: Sequence[Features], stretch: int = 1) -> Tensor:
    """Clips of one length as a batch: at their own length, or padded to `stretch` times it, within the encoder's
    window.
    """
    first = clips[0]
    frames = context_frames(first.valid, "trim", first.longest) if isinstance(first, LogMel) else first.valid
    return torch.as_tensor(np.stack([clip.window(min(frames * stretch, first.longest)) for clip in clips]))


class WithOwnHead(nn.Module):
    """The adapter's own head on the encoder with the adapter on or off, as `predict_clips` calls a model."""

    def __init__(self, model: Any, on: bool) -> None:
        super().__init__()
        self.model = model
        self.on = on

    def forward(self, features: Tensor, valid: Tensor | None = None) -> Any:
        """Logits [clips, classes] of a batch of features."""
        parts = parts_of(self.model)
        with parts.adapter(self.on):
            pooled = masked_mean(parts.classifier.encode(features, valid), valid)
        return SimpleNamespace(logits=parts.apply_head(pooled))
