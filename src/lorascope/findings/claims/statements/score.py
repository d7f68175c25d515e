"""The statement on what LoRA is worth (the paper's Table 1)."""

from __future__ import annotations

import pandas as pd

from ..setting import Setting, Unit
from ..statement import Lacking, Part, Statement

#: Every head of a frozen encoder (docs/methods.md, section 1).
HEADS = ("last", "layer_sum", "logistic", "best_layer", "concatenated")


def heads(setting: Setting) -> pd.DataFrame:
    """The cells of frozen encoders, no controls. Raises `Lacking` where a unit has not each head."""
    scores = setting.scores
    frozen = scores[(scores["kind"] == "frozen") & (scores["control"] == "")]
    missing = []
    for head in HEADS:
        there = frozen[frozen["head"] == head]
        units = set(zip(there["fold"], there["seed"], strict=True))
        if any((unit.fold, unit.seed) not in units for unit in setting.units):
            missing.append(head)
    if missing:
        lines = [f"  frozen-{head.replace('_', '-')}: {{kind: frozen, head: {head}}}" for head in missing]
        raise Lacking(f"not every unit has the frozen heads {', '.join(missing)}", ("methods:", *lines))
    return frozen


def strongest(setting: Setting, of: str = "") -> str:
    """Name of the frozen method with the highest UAR on the validation speakers, over all units; of equals the one with
    the lower cross-entropy there. `of` keeps those with one head.
    """
    frozen = heads(setting)
    by_name = frozen[frozen["head"] == of] if of else frozen
    means = by_name.groupby("name")[["validation_uar", "validation_loss"]].mean()
    return str(means.sort_values(["validation_uar", "validation_loss"], ascending=[False, True]).index[0])


def gain(setting: Setting, unit: Unit, variant: str) -> float:
    """UAR of the adapter less that of the strongest frozen head (`paper`: of the paper's own head)."""
    of = "last" if variant == "paper" else ""
    other = setting.once(("strongest", of), lambda: strongest(setting, of))
    scores = setting.scores
    here = scores[(scores["fold"] == unit.fold) & (scores["seed"] == unit.seed)].set_index("name")["uar"]
    if not {setting.main, other} <= set(here.index):
        raise Lacking(f"{unit.words}: not both of {setting.main} and {other} were trained")
    return float(here[setting.main] - here[other])


STATEMENTS = (
    Statement(
        "m",
        "score",
        "LoRA beats a frozen encoder",
        (Part("UAR: LoRA − the frozen head that is best on the validation speakers", 1, "frozen, best head", gain),),
        (),
    ),
)
