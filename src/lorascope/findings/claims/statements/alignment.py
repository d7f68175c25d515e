"""Statements on how A and B agree, forwards and backwards (the paper's Figure 3e)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..setting import SHUFFLED, TRAINED, Setting, Unit
from ..statement import Lacking, Part, Statement

RANDOM = "norm-matched"
ESTIMATOR = {"corrected": "debiased", "paper": "biased"}


def alignment(
    setting: Setting,
    unit: Unit,
    variant: str,
    model: str = "trained",
    adapter: str = TRAINED,
    quantity: str = "activation",
    value: str = "value",
) -> np.ndarray:
    """Linear CKA of A-out with B-out by block, [layers], or of their gradients."""
    where: dict[str, Any] = {"pair": f"A~B:{model}", "quantity": quantity, "kernel": "linear", "variant": variant}
    where["estimator"] = ESTIMATOR[variant]
    return setting.curve(unit, setting.table(unit, "cka", adapter), value, setting.layers, **where)


def beyond_random(setting: Setting, unit: Unit, variant: str) -> float:
    """Mean over blocks of the trained adapter's alignment less the random one's."""
    return float((alignment(setting, unit, variant) - alignment(setting, unit, variant, RANDOM)).mean())


def beyond_shuffled(setting: Setting, unit: Unit, variant: str) -> float:
    """Mean over blocks of the trained adapter's alignment less the control's."""
    return float((alignment(setting, unit, variant) - alignment(setting, unit, variant, "trained", SHUFFLED)).mean())


def spread(setting: Setting, unit: Unit, variant: str, quantity: str) -> float:
    """Standard deviation over blocks, of whose square the mean variance of one block over half-samples of the clips is
    taken off first (0 where that is the larger).
    """
    table = setting.table(unit, "cka")
    if "half_variance" not in table:
        lines = ("# the command that made the run measures it again",)
        raise Lacking(f"{unit.words}: `cka` has no variance over half-samples (an earlier version measured it)", lines)
    values = alignment(setting, unit, variant, quantity=quantity)
    noise = alignment(setting, unit, variant, quantity=quantity, value="half_variance").mean()
    return float(np.sqrt(max(values.var(ddof=1) - noise, 0.0))) if np.isfinite(noise) else float("nan")


def backwards_more(setting: Setting, unit: Unit, variant: str) -> float:
    """Spread of the gradients' alignment over blocks less that of the activations'."""
    return spread(setting, unit, variant, "gradient") - spread(setting, unit, variant, "activation")


STATEMENTS = (
    Statement(
        "i",
        "alignment",
        "A and B are aligned forwards beyond what any B gives",
        (
            Part("mean over blocks of CKA(A-out, B-out): trained − norm-matched", 1, RANDOM, beyond_random),
            Part("mean over blocks of CKA(A-out, B-out): trained − shuffled", 1, "shuffled", beyond_shuffled),
        ),
        ("cka",),
    ),
    Statement(
        "j",
        "alignment",
        "Backwards alignment varies by layer more than forwards",
        (Part("sd over blocks of CKA, less half-sample noise: backward − forward", 1, "forward", backwards_more),),
        ("cka",),
    ),
)
