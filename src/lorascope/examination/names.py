"""Tensors' names in an adapter's file against those that PEFT would look for: what fits, what would be dropped in
silence, and under which names it would fit.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import AdaLoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict
from torch import Tensor, nn

from ..errors import LorascopeError
from ..models.adapters.saved_forms import as_peft_saves
from ..models.classifier import SpeechClassifier

PREFIX = "base_model.model."
#: What wrappers put into names, in words and as patterns: torch.compile, FSDP, activation checkpointing, DDP.
WRAPPERS = {
    "_orig_mod.": re.compile(r"_orig_mod\."),
    "_fsdp_wrapped_module.": re.compile(r"_fsdp_wrapped_module\."),
    "_checkpoint_wrapped_module.": re.compile(r"_checkpoint_wrapped_module\."),
    "module.": re.compile(r"(^|(?<=base_model\.model\.))module\."),
}
#: An adapter's own tensors, of any kind that PEFT has.
_FACTOR = re.compile(r"\.(lora|ia3|vera|hada|lokr|oft|boft|hra|fourierft|bone|miss|vblora|randlora)_")
#: Families by the pieces that only their names have.
_FAMILY_PIECES = {"wav2vec2": "wav2vec 2.0", "hubert": "HuBERT", "wavlm": "WavLM", "self_attn": "Whisper"}


@dataclass(frozen=True)
class Names:
    """`fits`: the file's name of every expected tensor that is there; `renamed`: file's name to PEFT's, where
    they differ; `strays`: names that no module takes; `missing`: expected tensors that the file lacks; `foreign`:
    the adapter was made on a model of another task, whose names are mapped by their ends.
    """

    fits: dict[str, str]
    renamed: dict[str, str]
    strays: tuple[str, ...]
    missing: tuple[str, ...]
    expected: dict[str, tuple[int, ...]]
    foreign: bool = False


def tidy(name: str, tensor: Tensor) -> str | None:
    """A tensor's name as PEFT's `save_pretrained` gives it, None where it is a frozen weight of the model's own."""
    if ".base_layer." in name or ".original_module." in name:
        return None
    name = without_wrappers(name)
    name = re.sub(rf"^({re.escape(PREFIX)})+", PREFIX, name)
    own = next(iter(as_peft_saves({name: tensor})[0]), None)
    return own if own is None or own.startswith(PREFIX) else PREFIX + own


def without_wrappers(name: str) -> str:
    """A name without what wrappers put into it."""
    for pattern in WRAPPERS.values():
        name = pattern.sub("", name)
    return name


def as_loaded(name: str, expected: Collection[str]) -> str | None:
    """The name under which transformers loads a tensor of a whole checkpoint; None where it would not.

    It takes a name as it is, without the outer model's `model.`, and weight normalisation's older names.
    """
    name = name.removeprefix("model.")
    name = re.sub(r"\.weight_g$", ".parametrizations.weight.original0", name)
    name = re.sub(r"\.weight_v$", ".parametrizations.weight.original1", name)
    trunks = {one.split(".")[0] for one in expected}
    return next((own for own in (name, *(f"{trunk}.{name}" for trunk in trunks)) if own in expected), None)


def reasons(name: str, own: str) -> list[str]:
    """How a name differs from the one that PEFT looks for."""
    found = [word for word, pattern in WRAPPERS.items() if pattern.search(name)]
    if not name.startswith(PREFIX) and PREFIX not in name:
        found.append("base_model.model. missing")
    elif name.count(PREFIX) > 1:
        found.append("base_model.model. doubled")
    if other := re.search(r"\.(?:lora_\w+|ia3_l|modules_to_save)\.(?!weight$|bias$)([^.]+)", name):
        found.append(f"the adapter's name {other.group(1)!r}")
    if not found:
        surplus = name.removeprefix(PREFIX).removesuffix(own.removeprefix(PREFIX))
        found.append(surplus or "other modules before it")
    return found


def expected_tensors(model: SpeechClassifier, config: PeftConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that PEFT saves of such an adapter on this model; no weights are made.

    Raises `ValueError` as PEFT does where the targets name no module.
    """
    config = copy.deepcopy(config)
    settings: Any = config
    if hasattr(config, "init_lora_weights"):
        settings.init_lora_weights = True
    if isinstance(config, AdaLoraConfig):
        settings.rank_pattern = None
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        peft = get_peft_model(type(model)(model.config), config)  # pyright: ignore[reportArgumentType]
        assert isinstance(peft, PeftModel)
        found = get_peft_model_state_dict(peft, save_embedding_layers=False)
    return {name: tuple(tensor.shape) for name, tensor in found.items()}


def match(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    model: SpeechClassifier | None,
    foreign: bool,
) -> Names:
    """Hold a file's names against those that are expected."""
    ends = _ends(expected)
    modules = [name for name, module in model.named_modules() if isinstance(module, nn.Module)] if model else []
    module_ends = _ends(modules)
    fits: dict[str, str] = {}
    renamed: dict[str, str] = {}
    strays: list[str] = []
    for name, tensor in tensors.items():
        own = tidy(name, tensor)
        if own is None:
            continue
        if own not in expected and not foreign:
            own = _by_end(own, ends) or own
        if foreign:
            # the decoder's and other heads' are none of the encoder's business
            _sort_foreign(name, own, module_ends, fits, strays)
        elif own in expected or (not expected and model is None):
            fits.setdefault(own, name)
            if own != name:
                renamed[name] = own
        else:
            strays.append(name)
    missing = _incomplete(fits) if foreign else [name for name in expected if name not in fits]
    return Names(fits, renamed, tuple(strays), tuple(missing), dict(expected), foreign)


#: Pieces of names of what a classifier has not: other tasks' heads, the decoder, what pre-training leaves.
OTHER_TASKS = frozenset(
    ("decoder", "encoder_attn", "lm_head", "proj_out", "quantizer", "project_q", "project_hid", "masked_spec_embed")
)


def _sort_foreign(name: str, own: str, modules: Mapping[str, str], fits: dict[str, str], strays: list[str]) -> None:
    path, factor, rest = own.removeprefix(PREFIX).partition(".lora_")
    pieces = path.split(".")
    if not factor or (OTHER_TASKS | {"projector", "classifier"}) & set(pieces):
        return
    found = _by_end(path, modules)
    if found is not None:
        fits[f"{PREFIX}{found}.lora_{rest}"] = name
    elif re.search(r"(^|\.)layers\.\d+\.", path):
        strays.append(name)


def _incomplete(fits: Iterable[str]) -> list[str]:
    """Factors whose partner isn't there."""
    names = set(fits)
    partners = [(name, name.replace(".lora_A.", ".lora_B.")) for name in names if ".lora_A." in name]
    partners += [(name, name.replace(".lora_B.", ".lora_A.")) for name in names if ".lora_B." in name]
    return sorted(partner for _, partner in partners if partner not in names)


def _ends(names: Collection[str]) -> dict[str, str]:
    """Every name by each of its ends that no other name has."""
    counts: Counter[str] = Counter()
    homes: dict[str, str] = {}
    for name in names:
        pieces = name.removeprefix(PREFIX).split(".")
        for first in range(len(pieces)):
            end = ".".join(pieces[first:])
            counts[end] += 1
            homes[end] = name
    return {end: name for end, name in homes.items() if counts[end] == 1}


def _by_end(name: str, ends: Mapping[str, str]) -> str | None:
    """The one name that has an end in common with this one, the longest such end first; it must hold a layer's
    number, or be of the head.
    """
    pieces = name.removeprefix(PREFIX).split(".")
    for first in range(len(pieces)):
        end = ".".join(pieces[first:])
        if end in ends and (".layers." in f".{end}" or pieces[first] in ("projector", "classifier")):
            return ends[end]
    return None


def refuse_other_family(folder: Any, names: Iterable[str], title: str, backbone: str) -> None:
    """Raise `LorascopeError` where the names are those of another family of encoders than the backbone's."""
    pieces = Counter(piece for name in names for piece in set(name.split(".")))
    theirs = {words for piece, words in _FAMILY_PIECES.items() if pieces[piece]}
    if not theirs and pieces["feed_forward"]:
        theirs = {"wav2vec 2.0", "HuBERT", "WavLM"}
    if theirs and title not in theirs:
        raise LorascopeError(
            f"adapter {folder}: made on {' or '.join(sorted(theirs))}, but {backbone} is a {title} encoder; give the "
            "backbone that it was trained on"
        )


def is_factor(name: str) -> bool:
    """Whether a name is of an adapter's own tensor (and not of a module that was saved whole)."""
    return bool(_FACTOR.search(name))


def layer_of(name: str) -> int | None:
    """The number of the encoder's block that a name lies in."""
    found = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
    return int(found.group(1)) if found else None


def module_of(name: str) -> str:
    """The module that an adapter's tensor belongs to, without PEFT's prefix."""
    found = _FACTOR.search(name)
    return name[: found.start()].removeprefix(PREFIX) if found else name.removeprefix(PREFIX).rpartition(".")[0]
