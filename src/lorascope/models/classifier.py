"""Encoders with an emotion head: what every family of them offers (each has a file in `families`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from .objective import Objective


def masked_mean(hidden: Tensor, valid: Tensor | None) -> Tensor:
    """Mean of [clips, frames, width] over each clip's first `valid` frames ([clips]; None:
    over all), [clips, width].
    """
    if valid is None:
        return hidden.mean(dim=1)
    frames = torch.arange(hidden.shape[1], device=hidden.device)
    mask = (frames[None, :] < valid[:, None]).to(hidden.dtype)[..., None]
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


class SpeechClassifier(nn.Module, ABC):
    """An encoder with projector and classifier; each family's class adds its stock
    `...ForSequenceClassification` or the like.

    `trunk` names the attribute that holds the encoder, `stock` the Hugging Face class whose parameter names these are,
    `has_window` says whether the encoder has a fixed window (Whisper's 30 s), `linears` where in a block the adaptable
    linear layers lie, in the order in which the block runs them.
    """

    trunk: ClassVar[str]
    stock: ClassVar[type[nn.Module]]
    has_window: ClassVar[bool]
    linears: ClassVar[dict[str, str]]
    config: Any
    projector: nn.Linear
    classifier: nn.Linear
    layer_weights: nn.Parameter

    #: While it is trained: what is minimised (None: the mean cross-entropy), and the share of what the head reads that
    #: is dropped.
    objective: Objective | None = None
    head_dropout: float = 0.0

    @property
    def encoder_module(self) -> Any:
        """The encoder, all of the model but its head."""
        return getattr(self, self.trunk)

    @property
    @abstractmethod
    def blocks(self) -> Any:
        """The encoder's blocks, in order."""
        ...

    @abstractmethod
    def encode(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encoder output [clips, frames, width] of a batch of features; `valid` [clips] counts the frames that
        hold speech (None: all).
        """
        ...

    #: Whether the last of the depths that a head sums over is the encoder's output, after its final LayerNorm. That of
    #: large waveform encoders is the last block's own output in some versions of transformers.
    sums_normed: bool = True
    #: Whether the head reads all depths side by side: its projector is as wide as all of them.
    concatenates: bool = False

    def last_depth_is_normed(self) -> bool:
        """What `sums_normed` is in the version of transformers that is installed."""
        return True

    def pooled_stream(self, features: Tensor, valid: Tensor | None = None, normed: bool = True) -> Tensor:
        """The residual stream at every depth, pooled as the head pools the output, [clips, layers + 1, width].

        Depth l is resid_pre of block l (0: the embedding), the last depth the encoder's output, after its final
        LayerNorm where it has one; without `normed` before it.
        """
        pooled: list[Tensor] = []

        def note(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            pooled.append(masked_mean(inputs[0] if inputs else named["hidden_states"], valid))

        def note_last(_: nn.Module, __: Any, output: Any) -> None:
            pooled.append(masked_mean(output[0] if isinstance(output, tuple) else output, valid))

        handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in self.blocks]
        if not normed:
            handles.append(self.blocks[-1].register_forward_hook(note_last))
        try:
            output = self.encode(features, valid)
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack([*pooled, masked_mean(output, valid)] if normed else pooled, dim=1)

    @property
    def depth_weights(self) -> Tensor | None:
        """What each depth weighs in the head's sum [layers + 1], softmax of the learned `layer_weights` (SUPERB's head,
        `use_weighted_layer_sum`); None where the head reads the last depth alone.
        """
        return self.layer_weights.softmax(dim=0) if self.config.use_weighted_layer_sum else None

    def forward(
        self, input_features: Tensor, valid: Tensor | None = None, labels: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        """Logits [clips, classes] of a batch of features; with `labels` [clips] also the mean cross-entropy.

        `valid` [clips] restricts the mean over frames to each clip's speech; without it the
        result is the stock model's. A weighted sum of depths is taken of their means, with which it commutes.
        """
        weights = self.depth_weights
        if self.concatenates:
            projected = self.projector(self._dropped(self.pooled_stream(input_features, valid).flatten(1)))
        elif weights is not None:
            streams = self.pooled_stream(input_features, valid, self.sums_normed)
            projected = self.projector(self._dropped((weights[:, None] * streams).sum(dim=1)))
        elif self.training and self.head_dropout:
            projected = self.projector(self._dropped(masked_mean(self.encode(input_features, valid), valid)))
        else:
            projected = masked_mean(self.projector(self.encode(input_features, valid)), valid)
        logits = self.classifier(projected)
        if labels is None:
            return SequenceClassifierOutput(loss=None, logits=logits)  # pyright: ignore[reportArgumentType]
        objective = self.objective if self.training and self.objective else nn.functional.cross_entropy
        return SequenceClassifierOutput(loss=objective(logits, labels), logits=logits)  # pyright: ignore[reportArgumentType]

    def _dropped(self, pooled: Tensor) -> Tensor:
        """What the head reads, with `head_dropout` while the model is trained."""
        return nn.functional.dropout(pooled, self.head_dropout, self.training)


class Head(nn.Module):
    """The classification head alone, on pooled encoder outputs: projector, classifier.

    The projector is linear, so it commutes with the mean over frames: on the pooled encoder output this head gives the
    logits that `SpeechClassifier` gives on the frames.
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
    """Draw projector and classifier anew from N(0, std²) with zero bias (Whisper's own
    initialisation), from `seed` alone.
    """
    generator = torch.Generator().manual_seed(seed)
    for layer in (model.projector, model.classifier):
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * std)
            layer.bias.zero_()
