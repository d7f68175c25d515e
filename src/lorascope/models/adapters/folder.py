"""Ways of adapting a backbone, and their folders: PEFT adapters with projector and classifier among the saved modules.

A trained cell is saved as PEFT saves, with one small file beside it (`lorascope.json`) that records what PEFT has no room for: the classes, the
context and the backbone's fingerprint. Folders made elsewhere need not have it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from peft import PeftConfig, PeftModel, PeftType, get_peft_model
from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict
from torch import Tensor

from ...errors import LorascopeError
from ...store.modes import as_umask_says
from ..classifier import SpeechClassifier
from ..weights.backbone import Backbone, load_backbone
from .conversion import plain
from .saved_forms import GATHER, as_peft_saves, check_whole

HEAD = ("projector", "classifier")
RECORD = "lorascope.json"
#: The kinds of PEFT adapters that can be read.
KINDS = (PeftType.LORA, PeftType.ADALORA, PeftType.IA3)


@dataclass(frozen=True)
class Record:
    """What lorascope notes beside an adapter: its method, classes in the order of the logits, context, backbone."""

    method: str
    classes: tuple[str, ...]
    context: str
    backbone: str
    fingerprint: str
    lorascope: str


def attach(model: SpeechClassifier, config: PeftConfig, tensors: Mapping[str, Tensor]) -> PeftModel:
    """Put an adapter that is given as PEFT keeps it on disk onto a model, in eval mode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft = get_peft_model(model, config)
        assert isinstance(peft, PeftModel)
        set_peft_model_state_dict(peft, dict(tensors))
    return peft.eval()


def save_adapter(peft: PeftModel, folder: Path, record: Record) -> None:
    """Write a PEFT folder (adapter_config.json, adapter_model.safetensors) and the record beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft.save_pretrained(str(folder))
    # PEFT notes the class that it wrapped; others have the stock one
    config = folder / "adapter_config.json"
    stock = {
        "base_model_class": peft.get_base_model().stock.__name__,
        "parent_library": peft.get_base_model().stock.__module__,
    }
    settings = json.loads(config.read_text(encoding="utf-8")) | {"auto_mapping": stock}
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)
    as_umask_says(folder)
    (folder / RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record | None:
    """The record beside an adapter or backbone, None for folders made elsewhere."""
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return Record(**{**data, "classes": tuple(data["classes"])})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LorascopeError(
            f"{file}: damaged ({error}); delete it and name classes and context with --labels and --context"
        ) from error


class Saved(NamedTuple):
    """Configuration and tensors of a PEFT folder, named as PEFT saves them; `raw` where the file has other names."""

    config: PeftConfig
    tensors: dict[str, Tensor]
    raw: bool


def read_adapter(folder: Path) -> Saved:
    """Read a PEFT folder, whose weights may also be a raw `state_dict()`.

    Raises `LorascopeError` where there is no adapter, no weights, a part of them only, or a kind of adapter that is not
    among `KINDS`.
    """
    if not folder.is_dir():
        raise LorascopeError(f"adapter {folder}: no such folder; give a folder that PEFT's save_pretrained wrote")
    if not (folder / "adapter_config.json").is_file():
        raise LorascopeError(
            f"adapter {folder}: no adapter_config.json; give a folder that PEFT's save_pretrained wrote, or a whole checkpoint with its config.json"
        )
    if not any((folder / name).is_file() for name in ("adapter_model.safetensors", "adapter_model.bin")):
        raise LorascopeError(
            f"adapter {folder}: no adapter_model.safetensors; the weights are missing: save or copy it again"
        )
    try:
        config = PeftConfig.from_pretrained(str(folder))
        tensors = load_peft_weights(str(folder), device="cpu")
    except Exception as error:  # safetensors, JSON and PEFT each have their own
        raise LorascopeError(
            f"adapter {folder}: cannot be read ({_first_line(error)}); save or copy it again"
        ) from error
    if config.peft_type not in KINDS:
        raise LorascopeError(
            f"adapter {folder}: of the kind {PeftType(config.peft_type).value}, but only LoRA, AdaLoRA, DoRA, IA3 and whole checkpoints can be read; "
            "merge it and give the merged checkpoint"
        )
    try:
        tensors, raw = as_peft_saves(tensors)
        check_whole(tensors)
    except LorascopeError as error:
        raise LorascopeError(f"adapter {folder}: {error}") from error
    return Saved(config, tensors, raw)


def head_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Projector and classifier among a folder's tensors, as `projector.weight`, ...; empty where it has none."""
    found = {}
    for name, tensor in tensors.items():
        for part in HEAD:
            if ".lora_" not in name and f".{part}." in f".{name}":
                found[f"{part}.{name.rsplit('.', 1)[1]}"] = tensor
    return found


def load_adapter(backbone: Backbone, folder: Path) -> PeftModel:
    """Put a PEFT adapter with its head onto a backbone, in eval mode; PiSSA and AdaLoRA become the plain LoRA that they amount to.

    Raises `LorascopeError` where the adapter belongs to another backbone, has another number of classes, or no head.
    """
    config, tensors, raw = read_adapter(folder)
    record = read_record(folder)
    if record is not None and record.fingerprint != backbone.fingerprint:
        raise LorascopeError(
            f"adapter {folder}: made for {record.backbone}, not for {backbone.name} (the encoders' weights differ); give its own backbone with --backbone"
        )
    model = backbone.model
    head = head_tensors(tensors)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name.split(".")[0] in HEAD}
    if set(head) != set(wanted):
        raise LorascopeError(
            f"adapter {folder}: no trained projector and classifier; save the adapter with modules_to_save=['projector', 'classifier']"
        )
    if head["classifier.weight"].shape[0] != wanted["classifier.weight"][0]:
        raise LorascopeError(
            f"adapter {folder}: its classifier has {head['classifier.weight'].shape[0]} classes, the backbone {backbone.name} has {wanted['classifier.weight'][0]}; "
            "give the backbone that it was trained on"
        )
    if any(tuple(head[name].shape) != shape for name, shape in wanted.items()):
        raise LorascopeError(
            f"adapter {folder}: its head does not fit the backbone {backbone.name} (width {backbone.width}); give the backbone that it was trained on"
        )
    try:
        converted = plain(config, tensors, model.state_dict())
    except LorascopeError as error:
        raise LorascopeError(f"adapter {folder}: {error}") from error
    if converted is not None:
        config, tensors = converted
    check_factors(config, tensors, backbone, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            own = converted is not None or raw
            peft = attach(model, config, tensors) if own else PeftModel.from_pretrained(model, str(folder))
        except (RuntimeError, ValueError) as error:
            raise LorascopeError(
                f"adapter {folder}: does not fit the backbone {backbone.name} ({_first_line(error)}); give the backbone that it was trained on"
            ) from error
    return peft.eval()


def check_factors(config: PeftConfig, tensors: Mapping[str, Tensor], backbone: Backbone, folder: Path) -> None:
    """Raise `LorascopeError` where a PEFT adapter's factors don't lie on this backbone's modules, or not on all of its layers."""
    state = {name: tensor.shape for name, tensor in backbone.model.state_dict().items()}
    layers = set()
    for name, tensor in tensors.items():
        weight = state.get(name.removeprefix("base_model.model.").split(".lora_B.")[0] + ".weight")
        if ".lora_B." in name and weight and 0 < len(tensor) < weight[0] and _input_fits(name, tensors, weight):
            raise LorascopeError(
                f"adapter {folder}: {name} is {list(tensor.shape)}, but the layer's weight {list(weight)}; {GATHER}"
            )
        kind = next((kind for kind in (".lora_A.", ".ia3_l") if kind in name), None)
        if kind is None:
            continue
        target = name.removeprefix("base_model.model.").split(kind)[0] + ".weight"
        shape = state.get(target)
        # IA3 scales an output [out, 1] or, of feed-forward layers, an input [1, in]
        side = 0 if kind == ".ia3_l" and tensor.shape[-1] == 1 else 1
        if shape is None or shape[side] != tensor.shape[side]:
            width = (
                f"{'output' if side == 0 else 'input'} is {shape[side]} wide, not {tensor.shape[side]}" if shape else ""
            )
            found = f"whose {width}" if shape else "which it has not"
            raise LorascopeError(
                f"adapter {folder}: made for another backbone: it adapts {target.removesuffix('.weight')}, {found} in {backbone.name} ({backbone.layers} layers, "
                f"width {backbone.width}); give the backbone that it was trained on"
            )
        if ".layers." in target:
            layers.add(int(target.split(".layers.")[1].split(".")[0]))
    targets = getattr(config, "target_modules", None) or ()
    # a pattern or a whole path may well mean some layers only
    of_all_layers = not isinstance(targets, str) and not any("." in target for target in targets)
    if (
        layers
        and of_all_layers
        and getattr(config, "layers_to_transform", None) is None
        and len(layers) != backbone.layers
    ):
        raise LorascopeError(
            f"adapter {folder}: made for another backbone: it adapts {len(layers)} layers, {backbone.name} has {backbone.layers}; give the backbone that it was trained on"
        )


def _input_fits(name: str, tensors: Mapping[str, Tensor], weight: Sequence[int]) -> bool:
    """Whether the factor A beside this B is as wide as the layer, so that it is this layer's."""
    a = tensors.get(name.replace(".lora_B.", ".lora_A."))
    return a is not None and a.shape[1] == weight[1]


def load_frozen_head(folder: Path, backbone: Backbone) -> dict[str, Tensor]:
    """The trained head of a frozen baseline, from a PEFT folder or one that `save_pretrained` wrote.

    Raises `LorascopeError` where the folder's encoder is not the backbone's, or it adapts anything.
    """
    if not folder.is_dir():
        raise LorascopeError(f"frozen {folder}: no such folder; give a PEFT folder, or one that save_pretrained wrote")
    if (folder / "head.safetensors").is_file():
        raise LorascopeError(
            f"frozen {folder}: not the paper's head on the last layer, which the lens needs; give the adapter folder of a cell with `head: last`"
        )
    if (folder / "adapter_config.json").is_file():
        config, tensors, _ = read_adapter(folder)
        record = read_record(folder)
        if record is not None and record.fingerprint != backbone.fingerprint:
            raise LorascopeError(
                f"frozen {folder}: made for {record.backbone}, not for {backbone.name}; give the baseline of the same backbone"
            )
        low_rank = config.peft_type == PeftType.LORA and not getattr(config, "use_dora", False)
        if not low_rank or any(".lora_B." in name and bool(tensor.any()) for name, tensor in tensors.items()):
            raise LorascopeError(
                f"frozen {folder}: its {'LoRA' if low_rank else 'adapter'} is not zero, so the encoder is not frozen; give a folder in which only the head was trained"
            )
        head = head_tensors(tensors)
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
        head = {name: tensor for name, tensor in whole.model.state_dict().items() if name.split(".")[0] in HEAD}
    wanted = {name: tensor.shape for name, tensor in backbone.model.state_dict().items() if name.split(".")[0] in HEAD}
    if {name: tensor.shape for name, tensor in head.items()} != wanted:
        raise LorascopeError(
            f"frozen {folder}: its head does not fit: expected {_shapes(wanted)}, found {_shapes({k: v.shape for k, v in head.items()})}"
        )
    return head


def _shapes(shapes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items())) or "no head"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":.") if lines else type(error).__name__
