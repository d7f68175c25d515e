"""The head of a frozen baseline, from any of the folders that hold one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftType
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...errors import LorascopeError
from ..weights.backbone import Backbone, load_backbone
from .reading import HEAD, head_tensors, read_adapter
from .record import read_record

OF_HEAD = (*HEAD, "layer_weights")


def load_frozen_head(folder: Path, backbone: Backbone, kind: str = "last") -> dict[str, Tensor]:
    """The trained head of a frozen baseline, from a PEFT folder or one that `save_pretrained` wrote; that of `head:
    layer_sum` from a cell's folder.

    Raises `LorascopeError` where the folder's encoder is not the backbone's, or it adapts anything.
    """
    if not folder.is_dir():
        raise LorascopeError(f"frozen {folder}: no such folder; give a PEFT folder, or one that save_pretrained wrote")
    if kind == "layer_sum":
        return _summing_head(folder)
    if (folder / "head.safetensors").is_file():
        raise LorascopeError(
            f"frozen {folder}: not the paper's head on the last layer, which the lens needs; give the "
            "adapter folder of a cell with `head: last`"
        )
    if (folder / "adapter_config.json").is_file():
        config, tensors, *_ = read_adapter(folder)
        record = read_record(folder)
        if record is not None and record.fingerprint != backbone.fingerprint:
            raise LorascopeError(
                f"frozen {folder}: made for {record.backbone}, not for {backbone.name}; give the baseline of "
                "the same backbone"
            )
        low_rank = config.peft_type == PeftType.LORA and not getattr(config, "use_dora", False)
        if not low_rank or any(".lora_B." in name and bool(tensor.any()) for name, tensor in tensors.items()):
            raise LorascopeError(
                f"frozen {folder}: its {'LoRA' if low_rank else 'adapter'} is not zero, so the encoder "
                "is not frozen; give a folder in which only the head was trained"
            )
        head = head_tensors(tensors)
        if "layer_weights" in backbone.model.state_dict():
            # no module, so PEFT neither trains nor saves them
            head["layer_weights"] = backbone.model.state_dict()["layer_weights"]
    else:
        whole = load_backbone(str(folder))
        if not whole.has_head:
            raise LorascopeError(
                f"frozen {folder}: no trained projector and classifier; give a folder with a trained head"
            )
        if whole.fingerprint != backbone.fingerprint:
            raise LorascopeError(
                f"frozen {folder}: its encoder is not that of {backbone.name}; give the baseline of the same backbone"
            )
        head = {name: tensor for name, tensor in whole.model.state_dict().items() if name.split(".")[0] in OF_HEAD}
    state = backbone.model.state_dict()
    wanted = {name: tensor.shape for name, tensor in state.items() if name.split(".")[0] in OF_HEAD}
    if {name: tensor.shape for name, tensor in head.items()} != wanted:
        raise LorascopeError(
            f"frozen {folder}: its head does not fit: expected {_shapes(wanted)}, found "
            f"{_shapes({k: v.shape for k, v in head.items()})}"
        )
    return head


def _summing_head(folder: Path) -> dict[str, Tensor]:
    """The head of a cell that sums over the frozen encoder's depths, in the stock names."""
    try:
        tensors = load_file(folder / "head.safetensors")
    except (OSError, SafetensorError) as error:
        raise LorascopeError(f"frozen {folder}: cannot be read ({error}); train the cell again") from error
    return {name.removeprefix("head."): tensor for name, tensor in tensors.items()}


def _shapes(shapes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items())) or "no head"
