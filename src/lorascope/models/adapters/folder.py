"""Put an adapter onto a backbone: of any kind that PEFT writes, with a head among its saved modules or on the
backbone's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from ...errors import LorascopeError
from ..classifier import SpeechClassifier
from ..head_kinds import kind_of, read_depths
from ..weights.backbone import Backbone
from .conversion import PREFIX, plain
from .frozen_head import load_frozen_head
from .own_head import settle_head
from .reading import HEAD, Saved, first_line, head_tensors, read_adapter
from .record import RECORD, Record, read_record, save_adapter
from .saved_forms import GATHER
from .tuned import TunedModel

__all__ = [
    "HEAD",
    "RECORD",
    "Record",
    "attach",
    "check_factors",
    "head_tensors",
    "load_adapter",
    "load_frozen_head",
    "read_adapter",
    "read_record",
    "save_adapter",
]


def attach(model: SpeechClassifier, config: PeftConfig, tensors: Mapping[str, Tensor]) -> PeftModel:
    """Put an adapter that is given as PEFT keeps it on disk onto a model, in eval mode.

    Raises `ValueError` where the configuration asks for tensors that are not given, or the other way round.
    """
    settings: Any = config
    if getattr(settings, "init_lora_weights", True) is not True:
        # all factors are read, and some ways of drawing them change the weight below
        settings.init_lora_weights = True
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        peft = get_peft_model(model, config)
        assert isinstance(peft, PeftModel)
        asked = get_peft_model_state_dict(peft, save_embedding_layers=False)
        strays, lacking = sorted(set(tensors) - set(asked)), sorted(set(asked) - set(tensors))
        if strays or lacking:
            raise ValueError(_unlike(strays, lacking, tensors, model))
        set_peft_model_state_dict(peft, dict(tensors))
    settle_head(peft)
    return peft.eval()


def _unlike(strays: Sequence[str], lacking: Sequence[str], tensors: Mapping[str, Tensor], model: Any) -> str:
    """What is wrong where names on disk and names on the model are not the same."""
    layers = {name.split(".layers.")[1].split(".")[0] for name in tensors if ".layers." in name}
    beyond = {name.split(".layers.")[1].split(".")[0] for name in lacking if ".layers." in name} - layers
    if layers and beyond and not strays:
        return f"made for another backbone: it adapts {len(layers)} layers, this has {model.config.num_hidden_layers}"
    if strays:
        return f"{strays[0].removeprefix(PREFIX)} has no place there ({len(strays)} such tensors)"
    return f"its configuration asks for {lacking[0].removeprefix(PREFIX)}, which it lacks ({len(lacking)} such tensors)"


def load_adapter(backbone: Backbone, folder: Path, saved: Saved | None = None) -> Any:
    """Put a PEFT adapter onto a backbone, in eval mode; what amounts to a plain LoRA (AdaLoRA, PiSSA, OLoRA) becomes
    it.

    What the adapter has not of the head is the backbone's own. A `PeftModel`, or a `TunedModel` around one where biases
    were trained too. `saved` is the folder's content where it was read already. Raises `LorascopeError` where the
    adapter belongs to another backbone, has another number of classes, or neither of the two has a trained head.
    """
    config, tensors, _, biases = saved or read_adapter(folder)
    record = check_record(backbone, folder)
    model = backbone.model
    if record is not None and record.head != kind_of(model):
        read_depths(model, record.head)
    check_head(backbone, head_tensors(tensors), folder)
    try:
        converted = plain(config, tensors, model.state_dict(), folder)
    except LorascopeError as error:
        raise LorascopeError(f"adapter {folder}: {error}") from error
    if converted is not None:
        config, tensors = converted
    check_factors(tensors, backbone, folder)
    return place(backbone, config, tensors, biases, folder)


def place(
    backbone: Backbone, config: PeftConfig, tensors: Mapping[str, Tensor], biases: Mapping[str, Tensor], folder: Path
) -> Any:
    """An adapter of any kind on a backbone, with its biases. Raises `LorascopeError` where something does not fit."""
    parameters = dict(backbone.model.named_parameters())
    unknown = next((name for name in biases if name not in parameters), None)
    try:
        if unknown is not None:
            raise ValueError(f"{unknown} has no place there")
        peft = attach(backbone.model, config, tensors)
    except Exception as error:  # each of PEFT's kinds has its own
        raise LorascopeError(
            f"adapter {folder}: does not fit the backbone {backbone.name}: {first_line(error)} "
            f"({backbone.layers} layers, width {backbone.width}); give the backbone that it was trained on"
        ) from error
    if not biases:
        return peft
    changed: list[tuple[nn.Parameter, Tensor]] = [(parameters[name], tensor) for name, tensor in biases.items()]
    return TunedModel(peft, changed).eval()


def check_record(backbone: Backbone, folder: Path) -> Record | None:
    """What lorascope noted beside the adapter. Raises `LorascopeError` where it is another backbone."""
    record = read_record(folder)
    if record is not None and record.fingerprint != backbone.fingerprint:
        raise LorascopeError(
            f"adapter {folder}: made for {record.backbone}, not for {backbone.name} (the encoders' weights differ); "
            "give its own backbone with --backbone"
        )
    return record


def check_head(backbone: Backbone, head: Mapping[str, Tensor], folder: Path) -> None:
    """Raise `LorascopeError` where an adapter's head doesn't fit, or lacks a part that the backbone hasn't either."""
    state = backbone.model.state_dict()
    wanted = {name: tuple(tensor.shape) for name, tensor in state.items() if name.split(".")[0] in HEAD}
    lacking = [part for part in HEAD if f"{part}.weight" not in head]
    if len(lacking) == len(HEAD) and not backbone.has_head:
        raise LorascopeError(
            f"adapter {folder}: no trained projector and classifier; save the adapter with "
            "modules_to_save=['projector', 'classifier']"
        )
    if lacking and not backbone.has_head:
        raise LorascopeError(
            f"adapter {folder}: it holds no {lacking[0]}, and {backbone.name} has none either: it was drawn at random "
            "when training began, and is lost unless the model was saved; give the folder that model.save_pretrained "
            "wrote as --backbone, or train with modules_to_save=['projector', 'classifier']"
        )
    if "classifier.weight" in head and len(head["classifier.weight"]) != wanted["classifier.weight"][0]:
        raise LorascopeError(
            f"adapter {folder}: its classifier has {len(head['classifier.weight'])} classes, the backbone "
            f"{backbone.name} has {wanted['classifier.weight'][0]}; give the backbone that it was trained on"
        )
    if any(tuple(tensor.shape) != wanted.get(name) for name, tensor in head.items()):
        raise LorascopeError(
            f"adapter {folder}: its head does not fit the backbone {backbone.name} (width {backbone.width}); give the "
            "backbone that it was trained on"
        )


def check_factors(tensors: Mapping[str, Tensor], backbone: Backbone, folder: Path) -> None:
    """Raise `LorascopeError` where a LoRA's or IA3's factors don't lie on this backbone's modules."""
    state = {name: tensor.shape for name, tensor in backbone.model.state_dict().items()}
    for name, tensor in tensors.items():
        weight = state.get(name.removeprefix(PREFIX).split(".lora_B.")[0] + ".weight")
        if ".lora_B." in name and weight and 0 < len(tensor) < weight[0] and _input_fits(name, tensors, weight):
            raise LorascopeError(
                f"adapter {folder}: {name} is {list(tensor.shape)}, but the layer's weight {list(weight)}; {GATHER}"
            )
        kind = next((kind for kind in (".lora_A.", ".ia3_l") if kind in name), None)
        if kind is None:
            continue
        target = name.removeprefix(PREFIX).split(kind)[0] + ".weight"
        shape = state.get(target)
        # IA3 scales an output [out, 1] or, of feed-forward layers, an input [1, in]
        side = 0 if kind == ".ia3_l" and tensor.shape[-1] == 1 else 1
        if shape is None or (len(shape) > 1 and shape[side] != tensor.shape[side]):
            width = (
                f"{'output' if side == 0 else 'input'} is {shape[side]} wide, not {tensor.shape[side]}" if shape else ""
            )
            found = f"whose {width}" if shape else "which it has not"
            raise LorascopeError(
                f"adapter {folder}: made for another backbone: it adapts {target.removesuffix('.weight')}, {found} in "
                f"{backbone.name} ({backbone.layers} layers, width {backbone.width}); give the backbone that it was "
                "trained on"
            )


def _input_fits(name: str, tensors: Mapping[str, Tensor], weight: Sequence[int]) -> bool:
    """Whether the factor A beside this B is as wide as the layer, so that it is this layer's."""
    a = tensors.get(name.replace(".lora_B.", ".lora_A."))
    return a is not None and a.shape[1] == weight[1]
