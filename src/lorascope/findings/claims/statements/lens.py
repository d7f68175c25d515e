"""Statements on where the model decides (the paper's Figure 2a)."""

from __future__ import annotations

import numpy as np

from ..setting import SHUFFLED, TRAINED, Setting, Unit
from ..statement import Part, Statement


def divergence(setting: Setting, unit: Unit, variant: str, model: str, adapter: str = TRAINED) -> np.ndarray:
    """KL of the lens from the model's own answer at depths 0 to L, [layers + 1], nats."""
    table = setting.table(unit, "lens", adapter)
    return setting.curve(unit, table, "kl", setting.layers + 1, model=model, variant=variant)


def share(setting: Setting, unit: Unit, variant: str, adapter: str = TRAINED) -> float:
    """Share of KL_0 − KL_L that falls within the top third of the blocks; NaN where nothing falls."""
    kl = divergence(setting, unit, variant, "trained", adapter)
    whole = kl[0] - kl[-1]
    return float((kl[-1 - setting.third] - kl[-1]) / whole) if whole else float("nan")


def late(setting: Setting, unit: Unit, variant: str) -> float:
    """The share of the top third, less a third."""
    return share(setting, unit, variant) - 1 / 3


def later_than_shuffled(setting: Setting, unit: Unit, variant: str) -> float:
    """The share of the top third, less the control's."""
    return share(setting, unit, variant) - share(setting, unit, variant, SHUFFLED)


def rebound(setting: Setting, unit: Unit, variant: str) -> float:
    """Of the frozen model: KL_{L−1} less the least of KL_0 to KL_{L−2}."""
    kl = divergence(setting, unit, variant, "frozen")
    return float(kl[-2] - kl[:-2].min())


STATEMENTS = (
    Statement(
        "e",
        "lens",
        "The adapted model decides late",
        (
            Part("share of KL_0 − KL_L within the top third, − 1/3", 1, "a third", late),
            Part("share of KL_0 − KL_L within the top third, − shuffled's", 1, "shuffled", later_than_shuffled),
        ),
        ("lens",),
    ),
    Statement(
        "f",
        "lens",
        "The frozen model's divergence has its minimum below the top, then rebounds",
        (Part("frozen: KL_{L−1} − least of KL_0 .. KL_{L−2}", 1, "none (frozen model)", rebound),),
        ("lens",),
    ),
)
