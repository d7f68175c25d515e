"""A smaller adapter: some directions of its updates ΔW = U Σ Vᵀ kept, the others gone, in a folder that PEFT itself
reads. What is kept is chosen here by σ alone; what that costs is measured elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import get_pattern_key
from peft.utils.save_and_load import get_peft_model_state_dict
from torch import Tensor, nn

from ...errors import LorascopeError
from ...statistics.directions import Directions, balanced, directions, first, largest
from ...store.files import read_json
from ..families.known import parts_of
from ..head_kinds import DEPTH_WEIGHTS
from ..interventions import Intervention, Key, cut
from .conversion import PREFIX, is_converted
from .foreign import ModuleNames, explicit_lora
from .opening import Adapted, Source
from .reading import HEAD
from .rewriting import write_changed
from .tuned import TunedModel

#: Settings of PEFT that say how factors are begun, which PEFT warns of where they are not asked for.
BEGINNINGS = ("eva_config", "corda_config", "lora_ga_config", "loftq_config")
NAMES = ("adapter_config.json", "adapter_model.safetensors")


class Keep(NamedTuple):
    """What is to be kept: a `share` of the directions with the largest σ over all matrices together, or each matrix'
    own `first`; neither: the least share that is as good.
    """

    share: float | None = None
    first: int | None = None

    @property
    def auto(self) -> bool:
        """Whether the share is to be found."""
        return self.share is None and self.first is None

    @property
    def words(self) -> str:
        """What is kept, in words."""
        if self.first is not None:
            return f"each matrix' first {self.first}"
        if self.share is not None:
            return f"those with the largest σ of all matrices, {self.share:.4g} of the rank"
        return "the least share that is as good on the validation speakers"


def keep_from(given: str | float) -> Keep:
    """What --keep says: "auto", a share above 0 and up to 1 (0.2), or a whole number of directions from 1 on (4).

    Raises `LorascopeError` for anything else.

    >>> keep_from("0.2").share, keep_from(4).first, keep_from("1.0").share, keep_from("auto").auto
    (0.2, 4, 1.0, True)
    """
    text = str(given).strip()
    if text == "auto":
        return Keep()
    if text.isascii() and text.isdigit() and int(text) > 0:
        return Keep(first=int(text))
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if 0 < share <= 1 and not text.isdigit():
        return Keep(share=share)
    raise LorascopeError(
        f"--keep {given}: expected auto, a share above 0 and up to 1 (0.2: a fifth of the rank, over all matrices), "
        "or a whole number from 1 on (4: each matrix' first four directions)"
    )


@dataclass(frozen=True)
class Updates:
    """The updates of an adapter: the directions of every adapted matrix of the encoder's blocks, the rank of its
    factors, its scale.
    """

    found: Mapping[Key, Directions]
    nominal: Mapping[Key, int]
    scales: Mapping[Key, float]

    @property
    def directions(self) -> int:
        """How many directions there are, those that are rounding left out."""
        return sum(len(each.sigma) for each in self.found.values())

    def check(self, keep: Keep, what: str) -> None:
        """Raise `LorascopeError`, which calls the adapter `what`, where more is to be kept than any matrix has."""
        most = max(self.nominal.values(), default=0)
        if keep.first is not None and keep.first > most:
            raise LorascopeError(
                f"--keep {keep.first}: {what} has no more than {most} direction{'' if most == 1 else 's'} in a matrix, "
                "its rank; give a lower number, or a share"
            )

    def chosen(self, keep: Keep) -> dict[Key, np.ndarray]:
        """Which directions are kept of each matrix, as masks [k] bool."""
        if keep.first is not None:
            return first(self.found, dict.fromkeys(self.found, keep.first))
        assert keep.share is not None, "a share that is not found yet keeps nothing"
        return largest(self.found, keep.share, self.nominal)

    def energy(self, masks: Mapping[Key, np.ndarray]) -> float:
        """The share of Σσ² that is kept."""
        power = {key: each.sigma**2 for key, each in self.found.items()}
        return float(sum(power[key][mask].sum() for key, mask in masks.items()) / sum(map(np.sum, power.values())))

    def dialled(self, masks: Mapping[Key, np.ndarray]) -> Intervention:
        """The adapter cut to the chosen directions, as an intervention on the model that has it whole."""
        return cut(self.found, masks, self.scales)


def updates_of(adapted: Adapted, what: str) -> Updates:
    """The updates of an opened adapter. Raises `LorascopeError`, which calls it `what`, where it has no directions: its
    updates are no products of two factors (IA3, DoRA, changed weights), or all of them are 0.
    """
    parts = parts_of(adapted.model)
    pairs = {key: parts.factors(*key) for key in parts.adapted()}
    if not pairs:
        raise LorascopeError(
            f"{what}: its updates are not plain low-rank pairs, so there are no directions to choose from; give a LoRA"
        )
    arrays = {
        key: (a.detach().cpu().double().numpy(), b.detach().cpu().double().numpy(), s)
        for key, (a, b, s) in pairs.items()
    }
    updates = Updates(
        {key: directions(*factors) for key, factors in arrays.items()},
        {key: len(a) for key, (a, _, _) in arrays.items()},
        {key: scale for key, (_, _, scale) in arrays.items()},
    )
    if not updates.directions:
        raise LorascopeError(f"{what}: it changes nothing, all its updates are 0, so there is nothing to keep")
    return updates


def write_pruned(
    source: Source, adapted: Adapted, updates: Updates, masks: Mapping[Key, np.ndarray], out: Path, done: Sequence[str]
) -> None:
    """Write the adapter with the chosen directions alone to the new folder `out`, in the balanced gauge, float32.

    Each matrix has a rank of its own (`rank_pattern`), at its old scale; one that keeps nothing is no more among
    `target_modules`, which name whole paths. All else (head, factors outside of the encoder's blocks) stays as it was.
    Where nothing is kept at all, a rank of 1 with B = 0 on one matrix carries the head, since PEFT knows no adapter of
    saved modules alone. `done` are lines for the folder's README. Raises `LorascopeError` where something was trained
    beside the factors that a PEFT folder cannot tell.
    """
    _refuse_more(source, adapted)
    config, tensors = _as_saved(source, adapted)
    ranks, alphas, kept = _smaller(config, tensors, _places(adapted), updates, masks)
    config |= _settings(ranks, alphas)
    # one that PEFT's version of the folder doesn't know must not come in
    config |= {name: None for name in BEGINNINGS if config.get(name)}
    write_changed(source.folder, out, NAMES, config, kept, "Pruned by lorascope", done, source.whole is None)


def _refuse_more(source: Source, adapted: Adapted) -> None:
    """What PEFT would load another model from."""
    beyond = source.whole is not None and (
        any("vectors changed" in note for note in adapted.notes) or DEPTH_WEIGHTS in source.head
    )
    if source.biases or beyond:
        what = "vectors beside the factors" if beyond else "biases"
        if DEPTH_WEIGHTS in source.biases:
            what = "weights of depths"
        raise LorascopeError(
            f"adapter {source.folder}: {what} were trained too, which a pruned LoRA cannot hold; leave it whole"
        )


def _as_saved(source: Source, adapted: Adapted) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors as PEFT saves them: the folder's own, or those that an adapter was converted to."""
    if source.tensors is not None and not is_converted(source.config):
        return read_json(source.folder / NAMES[0]), dict(source.tensors)
    model = adapted.model
    peft = model.inner if isinstance(model, TunedModel) else model
    told = peft.peft_config[str(peft.active_adapter)].to_dict()
    config = json.loads(json.dumps(told, default=lambda value: sorted(value)))
    tensors = {name: tensor.detach().cpu() for name, tensor in get_peft_model_state_dict(peft).items()}
    if source.whole is not None and source.head:
        config["modules_to_save"] = list(HEAD)
        tensors |= {f"{PREFIX}{name}": tensor for name, tensor in source.head.items()}
    return config, tensors


def _places(adapted: Adapted) -> tuple[ModuleNames, dict[str, Key]]:
    """How modules are found by the names of other classes, and which of them are measured."""
    parts = parts_of(adapted.model)
    names = {id(module): name for name, module in parts.classifier.named_modules()}
    keys = {names[id(parts.linear(*key))]: key for key in parts.adapted()}
    layers = (nn.Linear, nn.Conv1d, nn.Embedding, BaseTunerLayer)
    inside = [name for name, module in parts.classifier.named_modules() if isinstance(module, layers)]
    return ModuleNames({name for name in inside if ".base_layer" not in name and ".lora_" not in name}), keys


def _smaller(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    places: tuple[ModuleNames, dict[str, Key]],
    updates: Updates,
    masks: Mapping[Key, np.ndarray],
) -> tuple[dict[str, int], dict[str, float], dict[str, Tensor]]:
    """Rank and alpha by path of every matrix that stays adapted, and all tensors."""
    names, keys = places
    alphas_given: dict[str, Any] = config.get("alpha_pattern") or {}
    kept: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    of_key: dict[Key, str] = {}
    for name, tensor in tensors.items():
        path, is_factor, factor = name.removeprefix(PREFIX).partition(".lora_")
        key = keys.get(names.find(path) or "") if is_factor else None
        if key is not None:
            of_key[key] = path
            continue
        kept[name] = tensor
        if factor.startswith(("A.", "embedding_A")):
            ranks[path] = len(tensor)
            alpha = float(alphas_given.get(get_pattern_key(list(alphas_given), path), config["lora_alpha"]))
            alphas[path] = alpha * (math.sqrt(len(tensor)) if config.get("use_rslora") else 1.0)
    for key, path in of_key.items():
        mask = masks[key]
        if mask.any():
            _put(
                kept, ranks, alphas, path, balanced(updates.found[key], mask, updates.scales[key]), updates.scales[key]
            )
    if not ranks:
        key = max(updates.found, key=lambda each: updates.found[each].sigma[:1].sum())
        one = balanced(updates.found[key], np.arange(1), updates.scales[key])
        _put(kept, ranks, alphas, of_key[key], (one[0], 0 * one[1]), updates.scales[key])
    return ranks, alphas, kept


def _put(
    tensors: dict[str, Tensor],
    ranks: dict[str, int],
    alphas: dict[str, float],
    path: str,
    factors: tuple[np.ndarray, np.ndarray],
    scale: float,
) -> None:
    for name, factor in zip("AB", factors, strict=True):
        tensors[f"{PREFIX}{path}.lora_{name}.weight"] = torch.from_numpy(factor).float()
    ranks[path], alphas[path] = len(factors[0]), scale * len(factors[0])


def _settings(ranks: Mapping[str, int], alphas: Mapping[str, float]) -> dict[str, Any]:
    """What the configuration says otherwise: paths, ranks and alphas, those of the largest rank for all, the others by
    their pattern.
    """
    most = max(ranks, key=lambda path: ranks[path])
    named = explicit_lora(ranks, alphas)
    usual = {"rank_pattern": ranks[most], "alpha_pattern": alphas[most]}
    patterns = {
        field: {path: _number(value) for path, value in getattr(named, field).items() if value != usual[field]}
        for field in usual
    }
    return {
        **{"target_modules": list(ranks), "r": ranks[most], "lora_alpha": _number(alphas[most]), **patterns},
        **{"use_rslora": False, "init_lora_weights": True, "layers_to_transform": None, "layers_pattern": None},
        "exclude_modules": None,
    }


def _number(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)
