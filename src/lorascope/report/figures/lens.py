"""Figure 2a: what the head would say at every depth (the logit lens), as KL from the final answer and as overlap with
it.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from ..rows import means
from .style import (
    CONTROL,
    CONTROL_LABEL,
    GRID,
    INK,
    MUTED,
    VARIANTS,
    banded,
    grid,
    layer_axis,
    legend_below,
)

#: A lens that gives this share of the clips one class says nothing (METHODS section 3).
CONSTANT_SHARE = 0.95

QUANTITIES = {"kl": ("KL from the final answer", "KL (nats)"), "overlap": ("overlap with the final answer", "overlap")}
NAMES = {"trained": "trained", "frozen": "frozen encoder"}
LABELS = {
    "released": "released: KL(final ‖ layer), no final LayerNorm",
    "paper": "paper: KL(layer ‖ final), no final LayerNorm",
    "corrected": "corrected: KL(layer ‖ final), final LayerNorm",
}

CHANCE = "overlap by chance (corrected)"
CONSTANT = "hollow: one class takes ≥ 95 % of the clips (hatched: in the corrected lens)"


def constant(table: pd.DataFrame) -> pd.Series:
    """Where the lens gives nearly every clip the same class, bool a row."""
    return table["top_class_share"] >= CONSTANT_SHARE


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 2a by its stem, a row of panels a model; empty where the lens was not measured."""
    table = folder.curves("lens")
    if table is None:
        return {}
    control = folder.control("lens")
    models = [model for model in NAMES if model in set(table["model"])]
    figure, body, panels = grid(len(models), 2, 0.9 + 1.75 * len(models), sharex=True)
    for row, model in enumerate(models):
        for axes, (quantity, (words, short)) in zip(panels[row], QUANTITIES.items(), strict=True):
            _panel(axes, table[table["model"] == model], quantity)
            if control is not None and model == "trained":
                rows = control[(control["model"] == model) & (control["variant"] == "corrected")]
                banded(axes, rows, quantity, CONTROL, CONTROL_LABEL, beside=True)
            layer_axis(axes, table["layer"].max() + 1, "layer (0 = embedding)" if row == len(models) - 1 else "")
            axes.set_ylabel(short)
            axes.set_title(f"{NAMES[model]}: {words}", loc="left")
        panels[row][0].set_ylim(bottom=-0.03 * panels[row][0].get_ylim()[1])
        panels[row][1].set_ylim(-0.03, 1.05)
    legend_below(body, list(panels.flat), 2)
    return {"fig2a": figure}


def _panel(axes: Axes, table: pd.DataFrame, quantity: str) -> None:
    corrected = means(table[table["variant"] == "corrected"]).sort_values("layer")
    for layer in corrected["layer"][constant(corrected)]:
        axes.axvspan(layer - 0.5, layer + 0.5, facecolor="none", edgecolor=GRID, hatch="////", linewidth=0, zorder=0.5)
    for variant, label in LABELS.items():
        lines = table[table["variant"] == variant].sort_values("layer")
        if lines.empty:
            continue
        look = VARIANTS[variant]
        banded(axes, lines, quantity, look, label, beside=variant != "corrected")
        empty = means(lines)[constant(means(lines))]
        # Hollow: the point is drawn, but says nothing.
        axes.plot(empty["layer"], empty[quantity], look["marker"], mfc="white", mec=look["color"], ms=4.5, ls="none")
    if quantity == "overlap" and corrected["chance_overlap"].notna().any():
        chance = corrected["chance_overlap"]
        axes.plot(corrected["layer"], chance, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), label=CHANCE)
    if constant(means(table)).any():
        axes.plot([], [], "o", mfc="white", mec=MUTED, ms=4.5, ls="none", label=CONSTANT)
