"""The adapter's own numbers: trained or not, how large, of which rank."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator

import torch

from ..examined import Examined, in_words
from ..finding import Found, check
from ..names import layer_of, module_of

ORDER = 4
#: alpha/r that is usual: PEFT's and the papers' defaults are 1 and 2, QLoRA's is 1/4, rsLoRA's alpha/√r up to 4.
USUAL = (0.25, 4.0)
#: So many times outside of it is no choice any more.
FACTOR = 16.0
#: Effective rank (exp of the entropy of the energies) below which a larger rank was for nothing.
LOW_RANK = 1.1
#: Share of all change in one layer that is worth a remark, where several are adapted.
ONE_LAYER = 0.95


@check(
    "never_trained",
    "the adapter is as it was drawn",
    ["whole_files", "finite"],
    ["keys_unknown", "keys_missing", "base_changed"],
    mend="train it: look whether its parameters are in the optimiser and require gradients; save after training",
)
def never_trained(examined: Examined) -> Iterator[Found]:
    """B, E, magnitudes and factors at their initial values in every module; a checkpoint equal to its backbone."""
    moved = examined.movements
    if not moved or max(moved.values()) > 0:
        return
    evidence = {"largest": max(moved.values()), "modules": len(moved)}
    if examined.patient.record is not None and examined.patient.record.method == "frozen":
        yield Found(
            "a frozen encoder with a trained head: the adapter only carries the head", evidence, level="remark",
            mend="nothing; it is a baseline",
        )  # fmt: skip
        return
    what = "the checkpoint's encoder is the backbone's" if examined.patient.kind == "whole" else (
        f"all {len(moved)} adapted modules are as they were drawn (largest value {max(moved.values()):.1g})"
    )  # fmt: skip
    yield Found(f"{what}: the encoder is the frozen one", evidence)


@check(
    "layer_never_trained",
    "some modules are as they were drawn",
    ["whole_files", "finite"],
    ["never_trained", "keys_missing", "keys_unknown", "base_changed"],
    mend="look whether these were frozen, or bypassed by the model's own code (stock WavLM's attention is)",
)
def layer_never_trained(examined: Examined) -> Iterator[Found]:
    """The same in some of the modules; in a whole checkpoint frozen layers are a choice, and a remark."""
    moved = examined.movements
    still = [module for module, value in moved.items() if value == 0]
    if not still or len(still) == len(moved):
        return
    layers = sorted({layer for name in still if (layer := layer_of(f"{name}.")) is not None})
    whole = examined.patient.kind == "whole"
    yield Found(
        f"{len(still)} of {len(moved)} modules are as they were drawn ({in_words(still, 2)}): nothing was learnt there",
        {"modules": still, "of": len(moved)},
        layers,
        level="remark" if whole else "sick",
        mend="nothing, where they were frozen on purpose" if whole else None,
    )


@check("scale", "an unusual scale", ["is_peft"], mend="correct lora_alpha, r or the patterns in adapter_config.json")
def scale(examined: Examined) -> Iterator[Found]:
    """alpha/r, or alpha/√r with rsLoRA, far outside of what is usual; no alpha; patterns that name nothing."""
    config = examined.patient.config
    if config.get("peft_type") not in ("LORA", "ADALORA"):
        return
    if config.get("lora_alpha") is None:
        yield Found(
            "adapter_config.json has no lora_alpha: PEFT takes 8, whatever it was trained with", {"lora_alpha": None}
        )
        return
    modules = {module_of(name) for name in examined.tidied if ".lora_" in name}
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    if config["peft_type"] == "LORA":
        idle = [key for key in (*ranks, *alphas) if not any(_names(key, module) for module in modules)]
        if idle and modules:
            yield Found(
                f"rank_pattern or alpha_pattern name {in_words(idle, 2)}, which is no adapted module: ranks and scales "
                "are not those that were meant",
                {"patterns": idle},
            )
    rank = config.get("init_r") if config["peft_type"] == "ADALORA" else config.get("r")
    root = math.sqrt if config.get("use_rslora") else float
    scales = {"": float(config["lora_alpha"]) / root(rank)} if rank else {}
    for key, alpha in alphas.items():
        own = next((value for pattern, value in ranks.items() if pattern == key), rank)
        if own:
            scales[key] = float(alpha) / root(own)
    low, high = USUAL[0] / FACTOR, USUAL[1] * FACTOR
    wrong = {key: value for key, value in scales.items() if not low <= value <= high}
    if wrong:
        key, value = next(iter(wrong.items()))
        root_sign = "√" if config.get("use_rslora") else ""
        yield Found(
            f"the scale alpha/{root_sign}r is {value:.4g}{f' at {key}' if key else ''}, usual is {USUAL[0]:g} to "
            f"{USUAL[1]:g}: the update is {'nothing' if value < low else 'far too large'}",
            {"scale": value, "lora_alpha": config["lora_alpha"], "r": rank, "usual": list(USUAL)},
        )


def _names(pattern: str, module: str) -> bool:
    """Whether a key of a pattern names a module, as PEFT matches it: a regular expression from a dot to the end."""
    try:
        return re.match(rf"(.*\.)?({pattern})$", module) is not None
    except re.error:
        return False


@check(
    "allocation_never_ran",
    "AdaLoRA never allocated its ranks",
    ["is_peft"],
    ["never_trained"],
    mend="call model.base_model.update_and_allocate(step) after each optimiser step",
)
def allocation_never_ran(examined: Examined) -> Iterator[Found]:
    """AdaLoRA with every module at its initial rank, though the configuration asks for another."""
    config = examined.patient.config
    ranks = {module_of(name): int((e != 0).sum()) for name, e in examined.tidied.items() if ".lora_E" in name}
    start, target = config.get("init_r", 12), config.get("target_r", 8)
    if ranks and not config.get("rank_pattern") and start != target and set(ranks.values()) == {start}:
        yield Found(
            f"all {len(ranks)} modules have the initial rank {start} (target {target}): update_and_allocate was not "
            "called, so no rank was chosen by importance",
            {"ranks": ranks, "init_r": start, "target_r": target},
        )


@check(
    "effective_rank",
    "one direction of many",
    ["is_peft", "finite"],
    ["never_trained"],
    mend="nothing; a smaller rank would do",
)
def effective_rank(examined: Examined) -> Iterator[Found]:
    """A remark: the update of every module is of effective rank 1, though far more was given."""
    pairs = _pairs(examined)
    if not pairs:
        return
    ranks, given = [], []
    for one, two in pairs.values():
        # the singular values of BA are those of two small matrices
        _, upper = torch.linalg.qr(two)
        _, other = torch.linalg.qr(one.T)
        energy = torch.linalg.svdvals(upper @ other.T) ** 2
        share = energy / energy.sum().clamp_min(1e-30)
        ranks.append(float(torch.exp(-(share * share.clamp_min(1e-30).log()).sum())))
        given.append(min(one.shape[0], *two.shape))
    if max(ranks) < LOW_RANK and max(given) >= 8:
        yield Found(
            f"effective rank {max(ranks):.2f} at most, of {max(given)}: one direction does all",
            {"effective": max(ranks), "of": max(given)},
            level="remark",
        )


@check(
    "one_layer",
    "one layer does all",
    ["is_peft", "finite"],
    ["never_trained", "layer_never_trained"],
    mend="nothing; fewer layers would do",
)
def one_layer(examined: Examined) -> Iterator[Found]:
    """A remark: nearly all of the change lies in one of several adapted layers."""
    energy: dict[int, float] = defaultdict(float)
    for module, (one, two) in _pairs(examined).items():
        layer = layer_of(f"{module}.")
        if layer is not None:
            # the squared norm of BA from two small Gram matrices
            energy[layer] += float(((one @ one.T) * (two.T @ two)).sum())
    total = sum(energy.values())
    if len(energy) > 2 and total > 0:
        layer, most = max(energy.items(), key=lambda item: item[1])
        if most / total > ONE_LAYER:
            yield Found(
                f"{most / total:.0%} of the change lies in layer {layer}",
                {"share": most / total, "layer": layer},
                [layer],
                level="remark",
            )


def _pairs(examined: Examined) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """A and B of every module that has both, as matrices."""
    tensors = examined.tidied
    found = {}
    for name, one in tensors.items():
        two = tensors.get(name.replace(".lora_A.", ".lora_B."))
        if ".lora_A." in name and two is not None and one.dim() == 2 and two.dim() == 2 and one.numel() and two.numel():
            found[module_of(name)] = (one, two)
    return found


@check(
    "no_card",
    "no card",
    ["whole_files"],
    mend="write a README.md that says what it was trained on, and how well it did",
)
def no_card(examined: Examined) -> Iterator[Found]:
    """A remark: nothing says what it was trained on."""
    if examined.patient.record is None and not (examined.patient.folder / "README.md").is_file():
        yield Found("no card (README.md): what it was trained on is not said", level="remark")
