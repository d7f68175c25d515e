"""Read what PEFT wrote in a folder, whatever its version and kind, and say where to look when a folder holds none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.torch import load_file
from torch import Tensor

from ...errors import LorascopeError
from ..head_kinds import DEPTH_WEIGHTS
from ..weights.checkpoints import load_plain
from .record import RECORD
from .saved_forms import PREFIX, as_peft_saves, check_whole

#: The stock classification head's two layers.
HEAD = ("projector", "classifier")
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
#: Fields of PEFT's configurations that need what an encoder with a head has not, with the reason.
NOT_HERE = {
    "layer_replication": "repeats blocks, so it is another encoder",
    "alora_invocation_tokens": "is switched on by text tokens, which speech has not",
    "trainable_token_indices": "trains embeddings of text tokens, which speech has not",
    "arrow_config": "mixes several adapters",
}
#: Kinds of adapters that change no weight: they put something before the input, or need inputs that speech has not.
NO_WEIGHTS = {
    "ADAPTION_PROMPT": "puts trained prompts into attention",
    "CARTRIDGE": "is a trained cache of keys and values",
    "POLY": "mixes several adapters by the number of a task",
    "TRAINABLE_TOKENS": "trains embeddings of text tokens",
    "XLORA": "mixes several adapters",
    "SHADOW": "runs a second model beside the first",
}
#: How many folders inside are named where a folder itself holds no adapter.
NAMED = 4


class Saved(NamedTuple):
    """Configuration and tensors of a PEFT folder, named as PEFT saves them; `raw` where the file has other names.

    `biases` are the model's own parameters that were trained beside the adapter, by their name there: the encoder's
    biases (`bias="all"`, `"lora_only"`), and what the head weighs depths with.
    """

    config: PeftConfig
    tensors: dict[str, Tensor]
    raw: bool
    biases: dict[str, Tensor]


def read_adapter(folder: Path) -> Saved:
    """Read a PEFT folder, whose weights may also be a raw `state_dict()`; nothing in it is executed.

    Raises `LorascopeError` where there is no adapter, no weights, a part of them only, a number that is none, or a kind
    of adapter that changes no weight.
    """
    if not folder.is_dir():
        raise LorascopeError(f"adapter {folder}: no such folder; give a folder that PEFT's save_pretrained wrote")
    if not (folder / "adapter_config.json").is_file():
        raise LorascopeError(f"adapter {folder}: no adapter_config.json; {_where_else(folder)}")
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise LorascopeError(
            f"adapter {folder}: no adapter_model.safetensors; the weights are missing: save or copy it again"
        )
    try:
        config = _config(folder)
        way_out = "save or copy it again"
        tensors: Any = load_file(file) if file.suffix == ".safetensors" else load_plain(file, way_out)
    except LorascopeError:
        raise
    except Exception as error:  # safetensors, JSON and PEFT each have their own
        raise LorascopeError(
            f"adapter {folder}: cannot be read ({first_line(error)}); save or copy it again"
        ) from error
    if not isinstance(tensors, Mapping) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise LorascopeError(f"adapter {folder}: {file.name} holds something else than tensors by name; save it again")
    try:
        _check_finite(tensors)
        named, raw = as_peft_saves(tensors)
        check_whole(named)
    except LorascopeError as error:
        raise LorascopeError(f"adapter {folder}: {error}") from error
    depths = {DEPTH_WEIGHTS: named.pop(f"{PREFIX}{DEPTH_WEIGHTS}")} if f"{PREFIX}{DEPTH_WEIGHTS}" in named else {}
    kept, biases = _without_biases(config, named)
    return Saved(config, kept, raw, biases | depths)


def head_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Projector and classifier among a folder's tensors, as `projector.weight`, ...; empty where it has none."""
    found = {}
    for name, tensor in tensors.items():
        pieces = name.split(".")
        if len(pieces) > 1 and pieces[-2] in HEAD and pieces[-1] in ("weight", "bias"):
            found[".".join(pieces[-2:])] = tensor
    return found


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":.") if lines else type(error).__name__


def _config(folder: Path) -> PeftConfig:
    """The configuration, for any task: what PEFT wraps a model in for a task gives other arguments to `forward`."""
    told = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    kind = str(told.get("peft_type")).upper()
    if kind not in {known.value for known in PEFT_TYPE_TO_CONFIG_MAPPING}:
        raise LorascopeError(
            f"adapter {folder}: of the kind {kind}, which this version of PEFT doesn't know; upgrade peft, or merge "
            "the adapter and give the merged checkpoint"
        )
    config: Any = PeftConfig.from_pretrained(str(folder))
    why = "puts trained prompts before the input" if config.is_prompt_learning else NO_WEIGHTS.get(kind)
    if why is not None:
        raise LorascopeError(
            f"adapter {folder}: of the kind {kind}, which {why} and changes no weight of the encoder; only adapters of "
            "weights can be read"
        )
    for field, reason in NOT_HERE.items():
        if getattr(config, field, None):
            raise LorascopeError(
                f"adapter {folder}: its {field} {reason}; give an adapter without it, or a merged checkpoint"
            )
    config.task_type = None
    return config


def _check_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise LorascopeError(
                f"{name} has {bad} of {tensor.numel()} numbers that are NaN or infinite; its training diverged or the "
                "file is damaged: give an earlier checkpoint"
            )


def _without_biases(config: Any, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What PEFT puts onto a model, and the encoder's own biases apart: with them in place, an adapter that is
    switched off would leave another encoder behind.
    """
    if getattr(config, "bias", "none") in ("none", False, None):
        return dict(tensors), {}
    biases = {
        name: tensor
        for name, tensor in tensors.items()
        if name.endswith(".bias") and not any(f".{part}." in name for part in (*HEAD, "lora_A", "lora_B"))
    }
    # the head's own come twice: as saved modules, and as biases of the wrapper around them
    twice = {name for name in tensors if name.endswith(".bias") and (".original_module." in name or _of_wrapper(name))}
    config.bias = "none"
    own = {name.removeprefix(PREFIX).replace(".base_layer.", "."): t for name, t in biases.items()}
    return {name: t for name, t in tensors.items() if name not in biases and name not in twice}, own


def _of_wrapper(name: str) -> bool:
    return ".modules_to_save." in name


def _where_else(folder: Path) -> str:
    """Which folders inside hold adapters: a Trainer's checkpoints, named adapters, cells of a run."""
    found = sorted(
        (path.parent for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/adapter_config.json")),
        key=lambda inside: (inside.stat().st_mtime, inside.name),
        reverse=True,
    )
    if not found:
        return "give a folder that PEFT's save_pretrained wrote, or a whole checkpoint with its config.json"
    words = [str(inside.relative_to(folder)) + _method(inside) for inside in found]
    more = f", and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return f"give one of the folders inside that hold adapters: {', '.join(words[:NAMED])}{more}"


def _method(folder: Path) -> str:
    try:
        return f" ({json.loads((folder / RECORD).read_text(encoding='utf-8'))['method']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
