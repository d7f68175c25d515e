"""An adapter's weights however they were saved: a raw `state_dict()` under PEFT's own names, and saves that lost a
part told as what they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ...errors import LorascopeError

PREFIX = "base_model.model."
#: What wrappers put into names: FSDP, activation checkpointing, torch.compile, DDP.
_WRAPPERS = re.compile(r"(_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.|^module\.")
#: A factor in memory, with the adapter's name: `lora_A.default.weight`, `lora_E.default`, `ia3_l.default`.
_FACTOR = re.compile(r"\.(lora_\w+|ia3_l)\.(?!weight$|bias$)([^.]+)(\.weight|\.bias)?$")
_SAVED = re.compile(r"\.modules_to_save\.(?!weight$|bias$)([^.]+)\.")
GATHER = (
    "it is a save of ZeRO-3's or FSDP's parts of one process; gather the weights first (accelerator.get_state_dict, "
    "FSDP's FULL_STATE_DICT, DeepSpeed's zero_to_fp32.py) and save again"
)


def as_peft_saves(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Tensors under the names that PEFT's `save_pretrained` gives them, and whether they had others.

    A raw state dict, or the trainable parameters of it, names the adapter (`.lora_A.default.`,
    `.modules_to_save.default.`) and may hold the frozen weights (`.base_layer.`, `.original_module.`), which the
    backbone has. Raises `LorascopeError` where it holds several adapters.
    """
    names = {name: _WRAPPERS.sub("", name) for name in tensors}
    adapters = {found.group(1) for name in names.values() if (found := _SAVED.search(name))}
    adapters |= {found.group(2) for name in names.values() if (found := _FACTOR.search(name))}
    whole = not any(".modules_to_save." in name for name in tensors)
    if not adapters and whole and names == dict(zip(tensors, tensors, strict=True)):
        # some programs save from the wrapped model, without what PEFT puts before its names
        bare = not any(name.startswith("base_model.") for name in tensors)
        return {PREFIX + name if bare else name: tensor for name, tensor in tensors.items()}, False
    if not adapters:
        # the names that PEFT saves, with what a wrapper put into them
        clean = {own.replace(".modules_to_save.", "."): tensors[name] for name, own in names.items()}
        return {own if own.startswith("base_model.") else PREFIX + own: tensor for own, tensor in clean.items()}, True
    if len(adapters) > 1:
        raise LorascopeError(f"holds several adapters ({', '.join(sorted(adapters))}); save one of them alone")
    result = {}
    for name, tensor in tensors.items():
        own = _own_name(names[name])
        if own is not None:
            result[own if own.startswith(PREFIX) else PREFIX + own] = tensor
    return result, True


def _own_name(name: str) -> str | None:
    """The name that PEFT saves a tensor under, None where it is the frozen model's."""
    if factor := _FACTOR.search(name):
        kind, ending = factor.group(1), factor.group(3) or ""
        return f"{name[: factor.start()]}.{kind}{'' if kind == 'lora_magnitude_vector' else ending}"
    if _SAVED.search(name):
        return _SAVED.sub(".", name)
    if re.search(r"\.(lora_\w+|ia3_l)(\.|$)", name):
        return name
    return None


def check_whole(tensors: Mapping[str, Tensor]) -> None:
    """Raise `LorascopeError` with names and shapes where a tensor is empty, or two that belong together don't fit.

    AdaLoRA's factors may well be empty, of rank 0, on both sides.
    """
    for name, tensor in tensors.items():
        other = _partner(name)
        pair = (tensor, tensors[other]) if other is not None and other in tensors else None
        fits = pair is not None and _fit(*(pair if _has_rank_first(name) else pair[::-1]))
        if not tensor.numel() and not fits and ".lora_E" not in name:
            beside = f", and {other} {list(pair[1].shape)}" if pair else ""
            raise LorascopeError(f"{name} is empty ({list(tensor.shape)}{beside}); {GATHER}")
    for name, tensor in tensors.items():
        other = _partner(name)
        if other is None or not _has_rank_first(name):
            continue
        if other in tensors and not _fit(tensor, tensors[other]):
            raise LorascopeError(
                f"{name} is {list(tensor.shape)} and {other} {list(tensors[other].shape)}, "
                f"which don't belong together; {GATHER}"
            )
        if other not in tensors and ".lora_" in name:
            raise LorascopeError(f"{name} {list(tensor.shape)} is there, but not {other}; save the adapter again")


def _fit(one: Tensor, other: Tensor) -> bool:
    """Whether one's rows are the other's columns."""
    return min(one.dim(), other.dim()) >= 2 and one.shape[0] == other.shape[1]


def _has_rank_first(name: str) -> bool:
    return any(f".{this}" in name for this in ("lora_A", "lora_embedding_A")) or name.endswith(".projector.weight")


def _partner(name: str) -> str | None:
    """The tensor whose columns are this one's rows, or the reverse: B of A, the classifier's
    weight of the projector's.
    """
    for one, two in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
        for this, that in ((one, two), (two, one)):
            if f".{this}" in name and not name.endswith(".bias"):
                return name.replace(f".{this}", f".{that}")
    for this, that in (("projector", "classifier"), ("classifier", "projector")):
        if name.endswith(f".{this}.weight"):
            return name.replace(f".{this}.weight", f".{that}.weight")
    return None
