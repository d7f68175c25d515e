"""How far training moved each adapted module from where its kind of adapter starts; 0: not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .names import is_factor, module_of

#: A magnitude counts as moved beyond this share of itself: float16 rounds to a half of it.
ROUNDING = 1e-3


def movements(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, float]:
    """Largest value that training must have made, by module; modules of kinds of which it isn't known are left out.

    LoRA: B, or A where B is not (both start a product that is zero); DoRA: B, and the magnitude against the norm of
    the weight; AdaLoRA: E; IA3: the factor's distance from 1; VeRA: b. A LoRA that was drawn with B not at zero
    (`init_lora_weights` false, or one that moves the base) tells nothing.
    """
    by_module: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        if is_factor(name):
            kind = name.removeprefix("base_model.model.").removeprefix(module_of(name)).lstrip(".").split(".")[0]
            by_module[module_of(name)][kind] = tensor
    start = config.get("init_lora_weights", True)
    tells = start is True or str(start).lower() in ("true", "gaussian", "eva", "orthogonal", "none")
    found = {}
    for module, parts in by_module.items():
        moved = _moved(parts, weights.get(f"{module}.weight"), tells)
        if moved is not None:
            found[module] = moved
    return found


def _moved(parts: Mapping[str, Tensor], weight: Tensor | None, tells: bool) -> float | None:
    if "ia3_l" in parts:
        return _largest(parts["ia3_l"] - 1)
    if "lora_E" in parts:
        # a module of rank 0 was pruned, not forgotten
        return _largest(parts["lora_E"]) if parts["lora_E"].numel() else None
    if "vera_lambda_b" in parts:
        return _largest(parts["vera_lambda_b"])
    one, two = parts.get("lora_A", parts.get("lora_embedding_A")), parts.get("lora_B", parts.get("lora_embedding_B"))
    if two is None or not tells:
        return None
    moved = min(_largest(two), _largest(one)) if one is not None else _largest(two)
    magnitude = parts.get("lora_magnitude_vector")
    if magnitude is not None and weight is not None and weight.dim() == 2:
        norms = torch.linalg.norm(weight.float(), dim=1)
        change = (
            _largest((magnitude.flatten() - norms) / norms.clamp_min(1e-12)) if len(norms) == magnitude.numel() else 0.0
        )
        moved = max(moved, change if change > ROUNDING else 0.0)
    return moved


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
