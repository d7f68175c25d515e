"""An adapter merged into the weights and taken out again, bit for bit: how far each weight moves, and what is heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from .passes import Heard, hear


@dataclass(frozen=True)
class Merged:
    """By module: `moved` is ‖ΔW‖, `weight` ‖W‖ (Frobenius). `heard` after merging in float32, `stored` after
    rounding the merged weights to the dtype that the adapter is stored in (None where that is float32).
    """

    moved: dict[str, float]
    weight: dict[str, float]
    heard: Heard
    stored: Heard | None
    dtype: str


@torch.no_grad()
def merged(parts: Any, batch: Tensor, dtype: torch.dtype | None) -> Merged:
    """Merge, hear, and restore the weights as they were."""
    peft = parts.peft
    assert isinstance(peft, PeftModel)
    layers = {
        name: layer
        for name, layer in parts.classifier.named_modules()
        if name.startswith(f"{parts.classifier.trunk}.")
        and isinstance(layer, BaseTunerLayer)
        and hasattr(layer.get_base_layer(), "weight")
    }
    kept: list[tuple[Any, Tensor]] = []
    for layer in layers.values():
        for parameter in layer.get_base_layer().parameters(recurse=False):
            kept.append((parameter, parameter.data))
            parameter.data = parameter.data.clone()
    before = {id(parameter): data for parameter, data in kept}
    try:
        peft.merge_adapter()  # pyright: ignore[reportCallIssue]
        weights: dict[str, Any] = {name: layer.get_base_layer().weight for name, layer in layers.items()}
        moved = {name: float((weight - before[id(weight)]).norm()) for name, weight in weights.items()}
        norms = {name: float(before[id(weight)].norm()) for name, weight in weights.items()}
        heard, stored = hear(parts, batch), None
        if dtype is not None:
            for parameter, _ in kept:
                parameter.data = parameter.data.to(dtype).float()
            stored = hear(parts, batch)
    finally:
        for parameter, data in kept:
            parameter.data = data
        for layer in layers.values():
            layer.merged_adapters = []
    return Merged(moved, norms, heard, stored, str(dtype or torch.float32).removeprefix("torch."))
