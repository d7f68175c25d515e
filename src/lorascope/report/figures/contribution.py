"""Figure 1: how much each layer's attention, MLP and whole block add to the residual stream, trained minus frozen."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import CONTROL, CONTROL_LABEL, INK, VARIANTS, banded, grid, layer_axis, legend_below

COMPONENTS = {"attn": "attention", "mlp": "MLP", "block": "attention + MLP"}

#: Which frames each variant is about, and what the legend calls it.
FRAMES = {"paper": "all", "corrected": "valid", "same-input": "valid"}
LABELS = {
    "paper": "paper (all frames, against the block's input)",
    "corrected": "corrected (speech frames, MLP against its own input)",
    "same-input": "same input (both models fed the frozen model's stream)",
}


def shown(table: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The model that Figure 1 is about and its rows: "difference" where a frozen model was there, else "trained"."""
    model = "difference" if "difference" in set(table["model"]) else "trained"
    table = table[table["model"] == model]
    frames = table["variant"].map(FRAMES)
    return model, table[table["frames"] == frames]


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 1 by its stem; empty where contribution was not measured."""
    table = folder.curves("contribution")
    if table is None:
        return {}
    model, table = shown(table)
    change = model == "difference"
    control = folder.control("contribution")
    if control is not None:
        control = shown(control)[1].query("variant == 'corrected'")
    figure, body, panels = grid(2, 3, 3.9, sharex=True, sharey="row")
    for row, (quantity, words) in enumerate((("ratio", "relative norm"), ("cosine", "cosine with input"))):
        for axes, (component, name) in zip(panels[row], COMPONENTS.items(), strict=True):
            part = table[table["component"] == component]
            for variant in ("paper", "corrected", "same-input"):
                lines = part[part["variant"] == variant]
                if not lines.empty:
                    banded(axes, lines, quantity, VARIANTS[variant], LABELS[variant], beside=variant != "corrected")
            if control is not None:
                rows = control[control["component"] == component]
                banded(axes, rows, quantity, CONTROL, CONTROL_LABEL, beside=True)
            if change or quantity == "cosine":
                axes.axhline(0, color=INK, linewidth=0.7, zorder=1)
            layer_axis(axes, table["layer"].max() + 1, "layer" if row else "")
            if row == 0:
                axes.set_title(name)
        panels[row][0].set_ylabel(f"{words}\ntrained − frozen" if change else f"{words}\ntrained")
    body.align_ylabels(panels[:, 0])
    legend_below(body, list(panels.flat), 1)
    return {"fig1": figure}
