"""Adapters that amount to a plain LoRA on the original weight, told as that LoRA: PiSSA and AdaLoRA.

Both are exact up to float rounding, so that all that is said of LoRA's A and B can be said of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from peft import AdaLoraConfig, LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from torch import Tensor

from ...errors import LorascopeError

PREFIX = "base_model.model."


def plain(
    config: PeftConfig, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> tuple[LoraConfig, dict[str, Tensor]] | None:
    """The plain LoRA that an AdaLoRA or PiSSA adapter amounts to, None where the adapter is neither.

    `tensors` are named as PEFT saves them; `weights` are the original model's state, against which PiSSA is told.
    Raises `LorascopeError` for PiSSA from a randomised decomposition.
    """
    if not is_converted(config):
        return None
    if isinstance(config, AdaLoraConfig):
        return from_adalora(config, tensors)
    assert isinstance(config, LoraConfig)
    return from_pissa(config, tensors, weights)


def is_converted(config: Any) -> bool:
    """Whether a PEFT configuration is AdaLoRA's or PiSSA's."""
    return isinstance(config, AdaLoraConfig) or str(getattr(config, "init_lora_weights", "")).lower().startswith(
        "pissa"
    )


def from_adalora(config: AdaLoraConfig, tensors: Mapping[str, Tensor]) -> tuple[LoraConfig, dict[str, Tensor]]:
    """AdaLoRA's ΔW = s B diag(E) A, with s = alpha / (initial rank + 1e-5), as LoRA with A' = diag(E) A and the same B.

    Directions whose E is zero are dropped, so each layer has its own rank; a layer that has none left is not adapted
    any more (but if none had any left, each keeps one, which is zero). Zhang et al. 2023, equation 3; the scale is
    that of PEFT's `SVDLinear`.
    """
    scale = float(config.lora_alpha) / (config.init_r + 1e-5)
    paths = [name.removesuffix(".lora_E") for name in tensors if name.endswith(".lora_E")]
    kept = {path: (tensors[f"{path}.lora_E"] != 0).flatten() for path in paths}
    empty = not any(bool(kept[path].any()) for path in paths)
    result = {name: tensor for name, tensor in tensors.items() if ".lora_" not in name}
    ranks = {}
    for path in paths:
        a, b, e = (tensors[f"{path}.lora_{factor}"] for factor in "ABE")
        keep = kept[path]
        if empty and len(keep):
            keep = torch.arange(len(keep)) == 0
        if keep.any():
            result[f"{path}.lora_A.weight"] = (a * e)[keep].contiguous()
            result[f"{path}.lora_B.weight"] = b[:, keep].contiguous()
            ranks[path.removeprefix(PREFIX)] = int(keep.sum())
    if not ranks:
        raise LorascopeError("this AdaLoRA adapter has rank 0 in every layer, so it changes nothing; train it again")
    most = max(ranks.values())
    changes = {
        "r": most,
        "lora_alpha": scale * most,
        "target_modules": list(ranks),
        "layers_to_transform": None,
        "layers_pattern": None,
        "rank_pattern": ranks,
        "alpha_pattern": {path: scale * rank for path, rank in ranks.items()},
    }
    return _plain_config(config, changes), result


def from_pissa(
    config: LoraConfig, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> tuple[LoraConfig, dict[str, Tensor]]:
    """PiSSA's ΔW = s (B A − B0 A0) on the original weight, as LoRA of twice the rank: A' = [A; A0], B' = [B, −B0].

    PiSSA moves s B0 A0, the weight's leading singular directions, into the factors; they are computed anew from
    `weights`. Meng et al. 2024, section 3 and appendix on the conversion to LoRA.
    """
    if str(config.init_lora_weights).lower() != "pissa":
        raise LorascopeError(
            f"this PiSSA adapter started from a randomised decomposition ({config.init_lora_weights}) that is "
            "not saved, so its update is not known; "
            "save it with PEFT's path_initial_model_for_weight_conversion"
        )
    result = dict(tensors)
    alphas, ranks = config.alpha_pattern or {}, config.rank_pattern or {}
    for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
        path = name.removesuffix(".lora_A.weight")
        inner = path.removeprefix(PREFIX)
        weight = weights.get(f"{inner}.weight")
        a, b = tensors[name], tensors[f"{path}.lora_B.weight"]
        if weight is None or tuple(weight.shape) != (b.shape[0], a.shape[1]):
            # the caller tells what doesn't fit
            return _plain_config(config, {}), dict(tensors)
        alpha = alphas.get(get_pattern_key(list(alphas), inner), config.lora_alpha)
        scale = alpha / (math.sqrt(len(a)) if config.use_rslora else len(a))
        a0, b0 = principal(weight, len(a), scale)
        result[name] = torch.cat([a, a0.to(a.dtype)])
        result[f"{path}.lora_B.weight"] = torch.cat([b, -b0.to(b.dtype)], dim=1)
    # twice the rank at the same scale
    more = math.sqrt(2) if config.use_rslora else 2
    changes = {
        "r": 2 * config.r,
        "lora_alpha": more * config.lora_alpha,
        "rank_pattern": {key: 2 * rank for key, rank in ranks.items()},
        "alpha_pattern": {key: more * alpha for key, alpha in alphas.items()},
    }
    return _plain_config(config, changes), result


def principal(weight: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """PiSSA's A0 [rank, in] and B0 [out, rank]: scale · B0 A0 is the best approximation of the weight at that rank."""
    left, values, right = torch.linalg.svd(weight.detach().float().cpu(), full_matrices=False)
    roots = torch.sqrt(values[:rank] / scale)
    return roots[:, None] * right[:rank], left[:, :rank] * roots


def _plain_config(config: LoraConfig, changes: Mapping[str, Any]) -> LoraConfig:
    kept = ("r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "modules_to_save", "bias")
    kept += ("layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "use_rslora", "fan_in_fan_out")
    kept += ("base_model_name_or_path", "inference_mode")
    settings: dict[str, Any] = {name: getattr(config, name) for name in kept} | dict(changes)
    if isinstance(config, AdaLoraConfig):
        settings["use_rslora"] = False
    return LoraConfig(**settings)
