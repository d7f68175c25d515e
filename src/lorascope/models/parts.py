"""The parts of an encoder under one set of names, whatever the architecture, proved on a real batch.

One small class per architecture family maps names to modules; at present there is Whisper's. `prove` checks the map: what it calls
resid_pre, attn_out, mlp_out and resid_post must add up, or the model is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ..errors import LorascopeError
from .classifier import SpeechClassifier, context_length, masked_mean

#: Adaptable linear layers of a block in the order in which the block runs them.
MODULES = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


class WhisperParts:
    """The parts of a Whisper encoder with a LoRA adapter on it."""

    def __init__(self, peft: PeftModel) -> None:
        self.peft = peft
        classifier = peft.get_base_model()
        assert isinstance(classifier, SpeechClassifier)
        self.classifier = classifier
        self.encoder: Any = classifier.encoder
        self.blocks: list[Any] = list(self.encoder.layers)

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    def linear(self, layer: int, module: str) -> nn.Module:
        """The (possibly adapted) linear layer of a block by its name."""
        return getattr(parent_of(self.blocks[layer], module), module)

    def adapted(self) -> list[tuple[int, str]]:
        """(layer, module) of every adapted linear layer, in forward order."""
        return [
            (layer, name)
            for layer in range(self.layers)
            for name in MODULES
            if isinstance(self.linear(layer, name), LoraLayer)
        ]

    def factors(self, layer: int, module: str) -> tuple[nn.Parameter, nn.Parameter, float]:
        """A [rank, width_in], B [width_out, rank] and the scale of one adapted layer."""
        linear: Any = self.linear(layer, module)
        name = self.peft.active_adapter
        return linear.lora_A[name].weight, linear.lora_B[name].weight, float(linear.scaling[name])

    def head(self) -> tuple[Any, Any]:
        """Projector and classifier in use: the adapter's own, or the backbone's where the adapter is off."""
        return tuple(active_module(part) for part in (self.classifier.projector, self.classifier.classifier))  # pyright: ignore[reportReturnType]

    def apply_head(self, pooled: Tensor) -> Tensor:
        """Logits [clips, classes] of pooled encoder outputs [clips, width], without calling a module (so that a trace is not disturbed)."""
        projector, classifier = self.head()
        projected = nn.functional.linear(pooled, projector.weight, projector.bias)
        return nn.functional.linear(projected, classifier.weight, classifier.bias)

    def final_norm(self, hidden: Tensor) -> Tensor:
        """The encoder's last LayerNorm on [..., width], without calling the module."""
        norm = self.encoder.layer_norm
        return nn.functional.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def run_block(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(attn_out, mlp_out) of one block on resid_pre [clips, frames, width]."""
        block = self.blocks[layer]
        attn_out = block.self_attn(hidden_states=block.self_attn_layer_norm(hidden), attention_mask=None)[0]
        middle = block.final_layer_norm(hidden + attn_out)
        return attn_out, block.fc2(block.activation_fn(block.fc1(middle)))

    def run_from(self, layer: int, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Logits [clips, classes] when blocks `layer`.. run on [clips, frames, width]; `layer` = layers: norm and head only."""
        for block in self.blocks[layer:]:
            hidden = block(hidden, None)
        return self.apply_head(masked_mean(self.final_norm(hidden), valid))

    @contextmanager
    def adapter(self, on: bool) -> Iterator[None]:
        """Run with the adapter and its head on, or both off."""
        with nullcontext() if on else self.peft.disable_adapter():
            yield

    def prove(self, features: Tensor, backbone_output: Tensor | None = None) -> None:
        """Check the map of names on a real batch [clips, mels, 2 * frames], in the adapter's present state and eval mode.

        resid_pre + attn_out + mlp_out = resid_post in every block; final_norm(resid_post[L-1]) = the encoder's output; and, where the
        bare backbone's output [clips, frames, width] is given, the encoder with its adapter off equals it. Raises `LorascopeError` on failure.
        """
        seen: list[dict[str, Tensor]] = [{} for _ in self.blocks]
        handles = []
        for layer, block in enumerate(self.blocks):
            handles.append(block.register_forward_hook(_note(seen[layer])))
        try:
            with torch.no_grad(), context_length(self.encoder, features.shape[-1] // 2):
                output = self.encoder(features).last_hidden_state
        finally:
            for handle in handles:
                handle.remove()
        with torch.no_grad():
            for layer, found in enumerate(seen):
                attn_out, mlp_out = self.run_block(layer, found["pre"])
                _close(
                    found["pre"] + attn_out + mlp_out,
                    found["post"],
                    f"resid_pre + attn_out + mlp_out is not resid_post in block {layer}",
                )
            _close(
                self.final_norm(seen[-1]["post"]), output, "final_norm of the last block is not the encoder's output"
            )
            if backbone_output is not None:
                with self.adapter(on=False), context_length(self.encoder, features.shape[-1] // 2):
                    off = self.encoder(features).last_hidden_state
                _close(off, backbone_output, "with the adapter off the encoder is not the bare backbone")


def parent_of(block: Any, module: str) -> Any:
    """The module of a block that holds a linear layer: the attention for projections, the block itself for the MLP."""
    return block if module.startswith("fc") else block.self_attn


def active_module(part: Any) -> nn.Module:
    """The module that a `modules_to_save` wrapper uses now (its adapter's copy, or the original one), or the module itself."""
    copies: Mapping[str, nn.Module] | None = getattr(part, "modules_to_save", None)
    if copies is None:
        return part
    if part.disable_adapters:
        return part.original_module
    return copies[part.active_adapter if isinstance(part.active_adapter, str) else part.active_adapter[0]]


def _note(found: dict[str, Tensor]) -> Any:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found["pre"], found["post"] = inputs[0], output

    return hook


def _close(left: Tensor, right: Tensor, claim: str) -> None:
    scale = right.abs().max().clamp_min(1e-12)
    error = float((left - right).abs().max() / scale)
    if not error < 1e-4:
        raise LorascopeError(f"this encoder cannot be analysed: {claim} (relative difference {error:.1e})")
