"""Panels of Figure 3: CKA between the two sides of the adapter at every layer, with its interval, its null and its
references.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..rows import means
from .style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    band,
    banded,
    layer_axis,
    line,
    marker_step,
)

TRAINED = "A~B:trained"

#: What the released figure shows: (pair, kernel) by quantity (METHODS section 6).
RELEASED = {
    "activation": {
        ("A:trained~gaussian", "linear"): "released, forward “trained”: A trained and A random, linear",
        ("B:trained~gaussian", "rbf"): "released, forward “untrained”: B trained and B random, RBF",
    },
    "gradient": {
        (TRAINED, "rbf"): "released, backward “trained”: A and B, RBF",
        ("A~B:gaussian", "rbf"): "released, backward “untrained”: random A and B, RBF",
    },
}

#: Debiased CKA of a random adapter's A and B: what a linear map gives without any training.
REFERENCES: dict[str, dict[str, Any]] = {
    "A~B:gaussian": {"color": VERMILLION, "linestyle": "--", "label": "random A and B (gaussian), corrected"},
    "A~B:norm-matched": {"color": PURPLE, "linestyle": "-.", "label": "random A and B (norm-matched), corrected"},
    "A~B:permuted": {"color": SKY, "linestyle": (0, (5, 1, 1, 1, 1, 1)), "label": "permuted A and B, corrected"},
}


def select(table: pd.DataFrame, pair: str, quantity: str, variant: str, kernel: str = "linear") -> pd.DataFrame:
    """The rows of one curve, in order of layers."""
    rows = (table["pair"] == pair) & (table["quantity"] == quantity) & (table["variant"] == variant)
    return table[rows & (table["kernel"] == kernel)].sort_values("layer")


def panel(axes: Axes, table: pd.DataFrame, quantity: str, layers: int) -> None:
    """Draw one panel: `quantity` is "activation" (forward) or "gradient" (backward); the encoder has `layers`."""
    look = {"color": BLUE, "marker": "o", "linewidth": 1.8, "zorder": 3}
    label = "corrected: trained A and B, linear, debiased, 95 % interval"
    banded(axes, select(table, TRAINED, quantity, "corrected"), "value", look, label, ends="ci")
    table = means(table)
    corrected = select(table, TRAINED, quantity, "corrected")
    band(axes, corrected, "null_low", "null_high", MUTED, 0.25, "corrected: its null (clips shuffled), 95 %")
    for pair, look in REFERENCES.items():
        lines = select(table, pair, quantity, "corrected")
        if lines["value"].notna().any():
            line(axes, lines, "value", linewidth=1, **look)
    paper = select(table, TRAINED, quantity, "paper")
    _thin(axes, paper, ORANGE, "s", "paper: A and B, linear, biased")
    if paper["null_low"].notna().any():
        # Far from 0: what the biased estimate makes of data that have nothing to do with each other.
        label = "paper: its null (clips shuffled), 95 %"
        band(axes, paper, "null_low", "null_high", ORANGE, 0.3, label, hatch="....")
    for ((pair, kernel), label), marker in zip(RELEASED[quantity].items(), "^v", strict=False):
        _thin(axes, select(table, pair, quantity, "released", kernel), GREEN, marker, label)
    axes.axhline(0, color=INK, linewidth=0.7, zorder=1)
    layer_axis(axes, layers)
    axes.set_ylabel("CKA")


def _thin(axes: Axes, lines: pd.DataFrame, colour: str, marker: str, label: str) -> None:
    if lines["value"].notna().any():
        look = {"color": colour, "marker": marker, "markevery": marker_step(len(lines)), "linestyle": ":"}
        line(axes, lines, "value", linewidth=0.8, label=label, **look)
