"""Statements on what LoRA makes the blocks add to the stream (the paper's Figure 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..setting import Setting, Unit
from ..statement import OF_CONTRIBUTIONS, Part, Statement

#: Each variant on the frames that it is defined on.
FRAMES = {"paper": "all", "corrected": "valid", "same-input": "valid"}


def change(setting: Setting, unit: Unit, variant: str, component: str, value: str = "ratio") -> np.ndarray:
    """Trained less frozen by block, [layers]: of the contribution ratio, or of the cosine."""
    where: dict[str, Any] = {
        "model": "difference",
        "component": component,
        "variant": variant,
        "frames": FRAMES[variant],
    }
    return setting.curve(unit, setting.table(unit, "contribution"), value, setting.layers, **where)


def grows(setting: Setting, unit: Unit, variant: str) -> float:
    """ΔC of attention and MLP together: top third less bottom third."""
    both = change(setting, unit, variant, "block")
    return setting.top(both) - setting.bottom(both)


def attention_more(setting: Setting, unit: Unit, variant: str) -> float:
    """Top third: ΔC of attention less that of the MLP."""
    return setting.top(change(setting, unit, variant, "attn")) - setting.top(change(setting, unit, variant, "mlp"))


def more_than_either(setting: Setting, unit: Unit, variant: str) -> float:
    """Top third: ΔC of both less that of one, for the one that is nearer."""
    both = setting.top(change(setting, unit, variant, "block"))
    return min(both - setting.top(change(setting, unit, variant, one)) for one in ("attn", "mlp"))


def cosine(less_bottom: bool) -> Callable[[Setting, Unit, str], float]:
    """Δcos of both in the top third, as it is or less that of the bottom third."""

    def statistic(setting: Setting, unit: Unit, variant: str) -> float:
        found = change(setting, unit, variant, "block", "cosine")
        return setting.top(found) - (setting.bottom(found) if less_bottom else 0.0)

    return statistic


def _statement(name: str, sentence: str, *parts: Part) -> Statement:
    return Statement(name, "contribution", sentence, parts, ("contribution",), OF_CONTRIBUTIONS)


STATEMENTS = (
    _statement(
        "a",
        "LoRA's contribution grows with depth",
        Part("ΔC(attention+MLP): top third − bottom third", 1, "frozen", grows),
    ),
    _statement(
        "b",
        "Attention contributes more than the MLP in deep layers",
        Part("top third: ΔC(attention) − ΔC(MLP)", 1, "frozen", attention_more),
    ),
    _statement(
        "c",
        "Attention and MLP together exceed either alone",
        Part("top third: least of ΔC(attention+MLP) − ΔC(either)", 1, "frozen", more_than_either),
    ),
    _statement(
        "d",
        "The cosine turns negative in upper layers",
        Part("Δcos(attention+MLP): top third", -1, "frozen", cosine(less_bottom=False)),
        Part("Δcos(attention+MLP): top third − bottom third", -1, "frozen", cosine(less_bottom=True)),
    ),
)
