"""The weights below the adapter: whether they are those that it was trained on."""

from __future__ import annotations

from collections.abc import Iterator

from ...models.weights.backbone import hub_id
from ..examined import Examined
from ..finding import Found, Unavailable, check
from ..names import is_factor

ORDER = 3
#: Beginnings of PEFT's `init_lora_weights` that take the first factors off the frozen weight. EVA is none of them: it
#: starts from A alone, with B at zero, and leaves the weight as it is.
MOVES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
#: Relative distance of encoder matrices above which two checkpoints are not one trained from the other: fine-tuning
#: moves them by a hundredth to a tenth, and independent weights are 1.4 apart. Far above, the update exploded.
APART = (0.7, 3.0)


@check(
    "base_changed",
    "trained on other weights than these",
    ["whole_files"],
    ["keys_unknown"],
    mend="give the backbone that it was trained on (--backbone); save with path_initial_model_for_weight_conversion",
)
def base_changed(examined: Examined) -> Iterator[Found]:
    """An initialisation that moved the base and was not converted; another fingerprint, hub id or width."""
    start = str(examined.patient.config.get("init_lora_weights", "")).lower()
    if start.startswith(MOVES_BASE):
        yield Found(
            f"started by {start}, which moved the weights below its factors, and saved without its conversion: on the "
            "backbone's own weights, merged or in other programs, it is another model",
            {"init_lora_weights": start},
            mend="--fix converts it where its first factors lie beside it or can be computed; else convert it by "
            "save_pretrained(path_initial_model_for_weight_conversion=...)",
        )
    backbone, record = examined.backbone, examined.patient.record
    if record is not None and record.fingerprint != backbone.fingerprint and examined.patient.kind == "peft":
        yield Found(
            f"trained on {record.backbone}, whose weights differ from those of {backbone.name} (SHA-256 "
            f"{record.fingerprint[:12]} and {backbone.fingerprint[:12]})",
            {"recorded": record.fingerprint, "found": backbone.fingerprint},
        )
        return
    if examined.patient.kind == "whole":
        yield from _apart(examined)
        return
    named = examined.patient.config.get("base_model_name_or_path")
    if record is None and named and _is_id(named) and _is_id(backbone.name) and hub_id(named) != hub_id(backbone.name):
        yield Found(
            f"adapter_config.json names {named}, the backbone is {backbone.name}",
            {"recorded": named, "found": backbone.name},
        )
    wrong = examined.wrong_shapes
    inputs = [name for name in examined.fitting if is_factor(name) and (".lora_A" in name or ".ia3_l" in name)]
    wide = [name for name in inputs if name in wrong and max(wrong[name][0]) != max(wrong[name][1])]
    if inputs and len(wide) == len(inputs):
        found, expected = wrong[wide[0]]
        yield Found(
            f"every factor is for an encoder of another width ({max(found)}, not {max(expected)}): it was trained on "
            "another backbone",
            {"found": max(found), "expected": max(expected)},
        )


def _apart(examined: Examined) -> Iterator[Found]:
    """A whole checkpoint whose matrices are nowhere near the backbone's."""
    if not examined.has_off:
        return
    try:
        after = examined.checkpoint.model.state_dict()
    except Unavailable:
        return
    pairs = [
        (before, after[name])
        for name, before in examined.weights.items()
        if ".layers." in name and before.dim() == 2 and name in after and after[name].shape == before.shape
    ]
    if not pairs:
        return
    ratios = sorted(float((two - one).norm() / one.norm().clamp_min(1e-12)) for one, two in pairs)
    middle = ratios[len(ratios) // 2]
    if APART[0] < middle < APART[1]:
        yield Found(
            f"its matrices are {middle:.2f} of their length away from those of {examined.backbone.name} (median): it "
            "was made from another backbone",
            {"median_distance": middle},
        )


def _is_id(name: str) -> bool:
    """Whether a name may be a hub's, and is no path on a disk."""
    return (
        not name.startswith((".", "/", "~"))
        and name.count("/") <= 1
        and ("/" in name or name.startswith(("whisper", "wav", "hubert")))
    )
