"""Mend what can be mended without guessing, into a new folder; it is called mended once it was examined itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor

from ..models.adapters.conversion import PREFIX, principal
from ..models.adapters.rewriting import refuse_filled, write_changed
from ..models.families.known import family_of
from .examined import Examined, is_of_head
from .finding import Finding, Unavailable
from .names import module_of

#: Codes of findings for which something can be done.
MENDABLE = ("keys_unknown", "keys_missing", "base_changed", "label_order")
#: Folders beside an adapter in which its first factors may lie, as PEFT's documentation calls them.
INITIAL = ("initial", "init", "pissa_init", "olora_init", "initial_adapter")


def mend(examined: Examined, result: Any, out: Path) -> str:
    """Write the mended adapter to `out` and examine it; returns what became of it, in a sentence.

    Raises `LorascopeError` where `out` is not empty.
    """
    from .examine import examine

    refuse_filled(out)
    codes = {finding.code for finding in result.findings}
    told = {finding.code: finding for finding in result.findings}
    if not codes & set(MENDABLE) and not widened(result.findings):
        return "nothing of this can be mended without a decision of yours"
    config = dict(examined.patient.config)
    done: list[str] = []
    try:
        tensors = _renamed(examined, done) if "keys_unknown" in codes else _as_they_are(examined)
        if "keys_missing" in codes:
            _add_head(examined, tensors, done)
        if "base_changed" in codes and "init_lora_weights" in told["base_changed"].evidence:
            config = _convert(examined, tensors, config, done)
        if "label_order" in codes:
            _reorder(examined, tensors, told["label_order"].evidence["order"], done)
        if examined.patient.kind == "peft" and any(tensor.dtype != torch.float32 for tensor in tensors.values()):
            tensors = {name: tensor.float() for name, tensor in tensors.items()}
            done.append("the factors were widened to float32")
    except Unavailable as reason:
        return f"not mended: {reason}"
    if not done:
        return "nothing of this can be mended without a decision of yours"
    _write(examined, tensors, config, done, out)
    from .patient import read_patient

    again = Examined(read_patient(out), examined.backbone_name or examined.recorded, examined.given, examined.labels)
    left = [finding.code for finding in examine(again).sick]
    again.close()
    if left:
        return f"partly mended in {out} ({'; '.join(done)}); still sick: {', '.join(left)}"
    return f"mended in {out}: {'; '.join(done)}; examined again: healthy"


def widened(findings: Sequence[Finding]) -> bool:
    """Whether there is a finding that float32 mends: merged in the precision that it is stored in, it is another model
    than merged in float32.
    """
    return any(finding.code == "merge_changes" and finding.level == "remark" for finding in findings)


def _as_they_are(examined: Examined) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in examined.patient.tensors()}


def _renamed(examined: Examined, done: list[str]) -> dict[str, Tensor]:
    """Every tensor under the name that is looked for; what fits nowhere and frozen weights stay behind."""
    if examined.patient.kind == "whole":
        renamed, strays, _ = examined.whole_names
        kept = {
            renamed.get(name, name): tensor.clone() for name, tensor in examined.patient.tensors() if name not in strays
        }
    else:
        names = examined.names
        renamed, strays = names.renamed, list(names.strays)
        kept = {own: examined.raw[name].clone() for own, name in names.fits.items()}
    if renamed:
        done.append(f"{len(renamed)} tensors were renamed ({examined.why_renamed(renamed)})")
    if strays:
        raise Unavailable(f"{strays[0]} fits nowhere, and what it was meant for is not known")
    return kept


def _add_head(examined: Examined, tensors: dict[str, Tensor], done: list[str]) -> None:
    """The backbone's head, where the configuration promises one and the file lacks it."""
    missing = examined.names.missing if examined.patient.kind == "peft" else ()
    head = examined.head_of_backbone
    for name in missing:
        held = head.get(name.removeprefix(PREFIX))
        if not is_of_head(name) or held is None:
            raise Unavailable(f"{name} is lost")
        tensors[name] = held.clone()
    if missing:
        done.append(f"the head was copied from the backbone {examined.backbone.name}")


def _convert(examined: Examined, tensors: dict[str, Tensor], config: dict[str, Any], done: list[str]) -> dict[str, Any]:
    """A LoRA that moved its base as plain LoRA on the original one: A' = [A; A0], B' = [B, -B0] at the same scale."""
    start = str(config["init_lora_weights"]).lower()
    beside = next((each for each in (examined.patient.folder / name for name in INITIAL) if _holds(each)), None)
    if beside is not None:
        first = load_file(beside / "adapter_model.safetensors")
    elif start == "pissa":
        first = _pissa_start(examined, tensors, config)
    else:
        raise Unavailable(f"the first factors of {start} lie not beside it ({', '.join(INITIAL)})")
    if config.get("use_rslora"):
        raise Unavailable("its scale by the root of the rank cannot be kept at twice the rank")
    past = [name for name in tensors if ".lora_A." in name and ".attention." in name]
    if past and family_of(examined.backbone.model).title == "WavLM":
        raise Unavailable(
            f"stock WavLM reads the weights of its attention past any adapter, so that what {module_of(past[0])} did "
            "in training depends on the program that trained it"
        )
    for name in [name for name in tensors if ".lora_A." in name]:
        other = name.replace(".lora_A.", ".lora_B.")
        if name not in first or first[name].shape != tensors[name].shape:
            raise Unavailable(f"the first factors beside it lack {name}")
        tensors[name] = torch.cat([tensors[name].float(), first[name].float()])
        tensors[other] = torch.cat([tensors[other].float(), -first[other].float()], dim=1)
    done.append(f"{start} was converted to plain LoRA of twice the rank")
    doubled = {"r": 2 * config["r"], "lora_alpha": 2 * config["lora_alpha"], "init_lora_weights": True}
    patterns = {
        key: {name: 2 * value for name, value in (config.get(key) or {}).items()}
        for key in ("rank_pattern", "alpha_pattern")
    }
    return config | doubled | patterns


def _holds(folder: Path) -> bool:
    return (folder / "adapter_model.safetensors").is_file()


def _pissa_start(examined: Examined, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """PiSSA's first factors, computed again from the backbone's weights."""
    weights, alphas, found = examined.weights, config.get("alpha_pattern") or {}, {}
    for name, tensor in tensors.items():
        if ".lora_A." not in name:
            continue
        module = module_of(name)
        alpha = alphas.get(get_pattern_key(list(alphas), module), config["lora_alpha"])
        a, b = principal(weights[f"{module}.weight"], len(tensor), alpha / len(tensor))
        found |= {name: a, name.replace(".lora_A.", ".lora_B."): b}
    return found


def _reorder(examined: Examined, tensors: dict[str, Tensor], names: list[str], done: list[str]) -> None:
    """The classifier's rows in the order in which the classes are named."""
    given = list(examined.class_names)
    rows = [names.index(name) for name in given]
    found = [name for name in tensors if name.endswith(("classifier.weight", "classifier.bias"))]
    if not found:
        raise Unavailable("the classifier is not in the folder")
    for name in found:
        tensors[name] = tensors[name][rows].clone()
    done.append(f"the classifier's rows were put in the order {', '.join(given)} (they were {', '.join(names)})")


def _write(examined: Examined, tensors: dict[str, Tensor], config: dict[str, Any], done: list[str], out: Path) -> None:
    peft = examined.patient.kind == "peft"
    names = ("adapter_config.json", "adapter_model.safetensors") if peft else ("config.json", "model.safetensors")
    write_changed(examined.patient.folder, out, names, config, tensors, "Mended by lorascope doctor", done)
