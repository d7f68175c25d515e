"""Adapters that amount to a plain LoRA on the original weight, told as that LoRA: AdaLoRA, PiSSA, OLoRA and the like.

All are exact up to float rounding, so that all that is said of LoRA's A and B can be said of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, LoraConfig, PeftConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor

from ...errors import LorascopeError

PREFIX = "base_model.model."
#: Beginnings of PEFT's `init_lora_weights` that take the first factors off the frozen weight.
MOVES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def plain(
    config: PeftConfig, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor], folder: Path | None = None
) -> tuple[LoraConfig, dict[str, Tensor]] | None:
    """The plain LoRA that AdaLoRA, or an adapter whose start was taken off the weight, amounts to; None for others.

    `tensors` are named as PEFT saves them; `weights` are the original model's state, against which PiSSA and OLoRA are
    told. Beside `folder` the initial adapter may lie, by which any such start is known. Raises `LorascopeError` where
    the start is not known.
    """
    if not is_converted(config):
        return None
    if isinstance(config, AdaLoraConfig):
        return from_adalora(config, tensors)
    assert isinstance(config, LoraConfig)
    initial = None if folder is None else initial_adapter(folder)
    return from_moved_base(config, tensors, weights, initial)


def is_converted(config: Any) -> bool:
    """Whether a PEFT configuration is AdaLoRA's, or one whose start was taken off the weight."""
    return isinstance(config, AdaLoraConfig) or moves_base(config)


def moves_base(config: Any) -> bool:
    """Whether a configuration's start was taken off the frozen weight, so that on the backbone's own weight it would be
    another model.
    """
    return str(getattr(config, "init_lora_weights", "")).lower().startswith(MOVES_BASE)


def initial_adapter(folder: Path) -> dict[str, Tensor] | None:
    """The factors that training began with, from the folder where they usually lie; None where there is none.

    PEFT's own guides save them as `<adapter>_init`, `pissa_init` and the like, inside the adapter's folder or
    beside it.
    """
    places = [
        path
        for place in (folder, folder.parent)
        for path in sorted(place.glob("*init*"))
        if path.is_dir() and path != folder and (path / "adapter_model.safetensors").is_file()
    ]
    inside = [path for path in places if path.parent == folder or path.name.startswith(folder.name)]
    chosen = inside or (places if len(places) == 1 else [])
    return load_file(chosen[0] / "adapter_model.safetensors") if chosen else None


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


def from_moved_base(
    config: LoraConfig,
    tensors: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    initial: Mapping[str, Tensor] | None = None,
) -> tuple[LoraConfig, dict[str, Tensor]]:
    """ΔW = s (B A − B0 A0) on the original weight, as LoRA of twice the rank: A' = [A; A0], B' = [B, −B0].

    Such a start moves s B0 A0 from the weight into the factors: PiSSA its leading singular directions (Meng et al.
    2024, section 3), OLoRA the first columns of its QR decomposition (Büyükakyüz 2024); both are computed anew from
    `weights`. Others (LoftQ, CorDA, LoRA-GA, PiSSA by a randomised decomposition) are known by `initial` alone, the
    adapter as it was before training.
    """
    start = str(config.init_lora_weights).lower()
    starts = {"pissa": principal, "olora": orthonormal}
    if initial is None and start not in starts:
        randomised = start.startswith("pissa")
        kind = "PiSSA" if randomised else config.init_lora_weights
        why = f"a randomised decomposition ({start}) that" if randomised else "factors taken off the weight, which"
        raise LorascopeError(
            f"this {kind} adapter started from {why} is not saved, so its update is not known; save it with PEFT's "
            "path_initial_model_for_weight_conversion, put the initial adapter beside it as a folder *_init, or merge "
            "it and give the merged checkpoint"
        )
    if config.use_dora:
        raise LorascopeError(
            f"DoRA that started by {start} has another weight below its factors than the backbone; merge it and give "
            "the merged checkpoint"
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
        if initial is not None:
            try:
                a0, b0 = initial[name], initial[f"{path}.lora_B.weight"]
            except KeyError as error:
                raise LorascopeError(f"the initial adapter beside it lacks {error}; give the whole one") from error
        else:
            a0, b0 = starts[start](weight, len(a), scale)
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


def orthonormal(weight: Tensor, rank: int, _: float = 1.0) -> tuple[Tensor, Tensor]:
    """OLoRA's A0 [rank, in] and B0 [out, rank], the first rows of R and columns of Q of W = QR; their product doesn't
    depend on the signs that a decomposition chooses.
    """
    q, r = torch.linalg.qr(weight.detach().float().cpu())
    return r[:rank], q[:, :rank]


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
