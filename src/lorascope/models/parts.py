"""The parts of an encoder under one set of names, whatever the architecture, proved on a real batch.

One small class per architecture family maps names to modules (`families`). `prove` checks the map: what it calls
resid_pre, attn_out, mlp_out and resid_post must add up, or the model is refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, NamedTuple

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ..errors import LorascopeError
from .adapters.tuned import TunedModel
from .classifier import SpeechClassifier, masked_mean

#: Adaptable linear layers of a block in the order in which the block runs them.
MODULES = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class Block(NamedTuple):
    """The parts of one block on one batch, [clips, frames, width] each.

    Before LayerNorms on the stream (Whisper) resid_mid = resid_pre + attn_out and resid_post = resid_mid + mlp_out;
    where LayerNorms lie on the stream (base wav2vec 2.0, HuBERT, WavLM) resid_mid = LN1(resid_pre + attn_out) and
    resid_post = LN2(resid_mid + mlp_out).
    """

    resid_pre: Tensor
    attn_out: Tensor
    resid_mid: Tensor
    mlp_out: Tensor
    resid_post: Tensor


class EncoderParts(ABC):
    """The parts of an encoder with an adapter on it; a family's class says where they lie.

    `attention`, `mlp` are the submodules of a block whose outputs are attn_out and mlp_out, `middle_norm` the one whose
    output is resid_mid with `post_norm`; `post_norm` says that the LayerNorms lie on the residual stream, after
    attention and MLP, and not before them.
    """

    attention: ClassVar[str]
    mlp: ClassVar[str]
    middle_norm: ClassVar[str]
    post_norm: bool = False

    def __init__(self, peft: PeftModel | TunedModel) -> None:
        self.peft = peft
        classifier: Any = peft.get_base_model()
        assert isinstance(classifier, SpeechClassifier)
        self.classifier = classifier
        self.blocks: list[Any] = list(self.stack(classifier).layers)

    # Where things lie ----------------------------------------------------------------------------------------------

    @abstractmethod
    def stack(self, classifier: Any) -> Any:
        """The module that holds the blocks (`layers`), of the classifier or of its traced envoy."""
        ...

    @abstractmethod
    def final_norm(self, hidden: Tensor) -> Tensor:
        """The encoder's last LayerNorm on [..., width] (nothing where it has none), without calling the module."""
        ...

    @abstractmethod
    def run_block(self, layer: int, hidden: Tensor, valid: Tensor | None) -> Block:
        """One block's parts on resid_pre [clips, frames, width]."""
        ...

    @abstractmethod
    def stem(self) -> list[tuple[Any, bool]]:
        """The costly modules before the blocks, in order, each with whether anything but the next of
        them reads what it gives.
        """
        ...

    def attention_output(self, block: Any) -> Any:
        """attn_out of a traced block."""
        return getattr(block, self.attention).output[0]

    def mlp_output(self, block: Any) -> Any:
        """mlp_out of a traced block."""
        return getattr(block, self.mlp).output

    def resid_mid(self, block: Any) -> Any:
        """resid_mid of a traced block with `post_norm`; elsewhere it is resid_pre + attn_out."""
        return getattr(block, self.middle_norm).output

    def block_output(self, output: Any) -> Any:
        """resid_post, given what a block returns: with it, in WavLM, the position bias; in early versions of
        transformers 5, attention's weights.
        """
        return output[0] if isinstance(output, tuple) else output

    # What follows from them ----------------------------------------------------------------------------------------

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return self.classifier.config.hidden_size

    def root(self, traced: Any) -> Any:
        """The classifier within the envoy of the adapted model."""
        if isinstance(self.peft, TunedModel):
            traced = traced.inner
            if not isinstance(self.peft.inner, PeftModel):
                return traced
        return traced.base_model.model

    def linear(self, layer: int, module: str) -> Any:
        """The (possibly adapted) linear layer of a block by its name."""
        return self.linear_of(self.blocks[layer], module)

    def linear_of(self, block: Any, module: str) -> Any:
        """The same of a block or of its traced envoy."""
        for name in self.classifier.linears[module].split("."):
            block = getattr(block, name)
        return block

    def adapted(self) -> list[tuple[int, str]]:
        """(layer, module) of every linear layer whose update is a plain low-rank pair, in forward order; empty for
        DoRA, IA3 and changed weights.
        """
        return [(layer, name) for layer in range(self.layers) for name in MODULES if self.is_pair(layer, name)]

    def is_pair(self, layer: int, module: str) -> bool:
        """Whether the update of a linear layer is a plain low-rank pair."""
        return _is_pair(self.linear(layer, module), str(self.peft.active_adapter))

    def factors(self, layer: int, module: str) -> tuple[nn.Parameter, nn.Parameter, float]:
        """A [rank, width_in], B [width_out, rank] and the scale of one adapted layer."""
        linear = self.linear(layer, module)
        name = self.peft.active_adapter
        return linear.lora_A[name].weight, linear.lora_B[name].weight, float(linear.scaling[name])

    def head(self) -> tuple[Any, Any]:
        """Projector and classifier in use: the adapter's own, or the backbone's where the adapter is off."""
        return tuple(active_module(part) for part in (self.classifier.projector, self.classifier.classifier))  # pyright: ignore[reportReturnType]

    def apply_head(self, pooled: Tensor) -> Tensor:
        """Logits [clips, classes] of pooled encoder outputs [clips, width], without calling a module (so that a
        trace is not disturbed).
        """
        projector, classifier = self.head()
        projected = nn.functional.linear(pooled, projector.weight, projector.bias)
        return nn.functional.linear(projected, classifier.weight, classifier.bias)

    @property
    def depth_weights(self) -> Tensor | None:
        """What each depth weighs in the head's sum, [layers + 1]; None where the head reads the last depth alone."""
        return self.classifier.depth_weights

    @property
    def reads_depths(self) -> bool:
        """Whether the head reads all depths, as a sum or side by side."""
        return self.classifier.concatenates or self.depth_weights is not None

    def answer_of(self, hidden: Tensor, valid: Tensor | None, depths: Sequence[Tensor]) -> Tensor:
        """Logits [clips, classes] of the last stream [clips, frames, width]: final LayerNorm, pooling and head. A head
        that reads all depths also needs `depths`, the pooled streams [clips, width] before it.
        """
        if self.classifier.concatenates:
            return self.apply_head(torch.cat([*depths, masked_mean(self.final_norm(hidden), valid)], dim=-1))
        if self.depth_weights is None:
            return self.apply_head(masked_mean(self.final_norm(hidden), valid))
        last = masked_mean(self.final_norm(hidden) if self.classifier.sums_normed else hidden, valid)
        return self.apply_head((self.depth_weights[:, None, None] * torch.stack([*depths, last])).sum(dim=0))

    @contextmanager
    def adapter(self, on: bool) -> Iterator[None]:
        """Run with the adapter and its head on, or both off."""
        with nullcontext() if on else self.peft.disable_adapter():
            yield

    def prove(self, features: Tensor, valid: Tensor | None = None, backbone_output: Tensor | None = None) -> None:
        """Check the map of names on a real batch of features, in the adapter's present state and eval mode.

        Every block's parts, run one by one, give its output; before LayerNorms on the stream, resid_pre + attn_out +
        mlp_out = resid_post; final_norm(resid_post[L-1]) = the encoder's output; and, where the bare backbone's output
        [clips, frames, width] is given, the encoder with its adapter off equals it. Raises `LorascopeError` on failure.
        """
        seen: list[dict[str, Tensor]] = [{} for _ in self.blocks]
        handles = [
            block.register_forward_hook(self._note(found), with_kwargs=True)
            for block, found in zip(self.blocks, seen, strict=True)
        ]
        try:
            with torch.no_grad():
                output = self.classifier.encode(features, valid)
        finally:
            for handle in handles:
                handle.remove()
        with torch.no_grad():
            for layer, found in enumerate(seen):
                block = self.run_block(layer, found["pre"], valid)
                if not self.post_norm:
                    _close(
                        found["pre"] + block.attn_out + block.mlp_out,
                        found["post"],
                        f"resid_pre + attn_out + mlp_out is not resid_post in block {layer}",
                    )
                _close(block.resid_post, found["post"], f"the parts of block {layer} don't make up its output")
            _close(
                self.final_norm(seen[-1]["post"]), output, "final_norm of the last block is not the encoder's output"
            )
            if backbone_output is not None:
                with self.adapter(on=False):
                    off = self.classifier.encode(features, valid)
                _close(off, backbone_output, "with the adapter off the encoder is not the bare backbone")

    def _note(self, found: dict[str, Tensor]) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Any) -> None:
            found["pre"] = inputs[0] if inputs else named["hidden_states"]
            found["post"] = self.block_output(output)

        return hook


def _is_pair(linear: Any, adapter: str) -> bool:
    if not isinstance(linear, LoraLayer) or adapter not in linear.lora_A:
        return False
    # DoRA and the like rescale the result; a bias on B is a part of the update that no product of factors is
    return adapter not in linear.lora_variant and linear.lora_B[adapter].bias is None


def active_module(part: Any) -> nn.Module:
    """The module that a `modules_to_save` wrapper uses now (its adapter's copy, or the original
    one), or the module itself.
    """
    copies: Mapping[str, nn.Module] | None = getattr(part, "modules_to_save", None)
    if copies is None:
        return part
    if part.disable_adapters:
        return part.original_module
    return copies[part.active_adapter if isinstance(part.active_adapter, str) else part.active_adapter[0]]


def _close(left: Tensor, right: Tensor, claim: str) -> None:
    scale = right.abs().max().clamp_min(1e-12)
    error = float((left - right).abs().max() / scale)
    if not error < 1e-4:
        raise LorascopeError(f"this encoder cannot be analysed: {claim} (relative difference {error:.1e})")
