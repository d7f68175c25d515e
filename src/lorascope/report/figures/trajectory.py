"""Figure 12: the adapter along its training: its size, its direction, what its layers add, and the lens."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...findings.along_training import FOLLOWED
from ...store.finished import FinishedRun
from .style import INK, MARKERS, grid, legend_below, letter

#: What each panel shows of `FOLLOWED`, and its title.
PANELS = {
    "norm": "|ΔW| / |W|",
    "direction": "cos(ΔW, ΔW at the end)",
    "contribution": "what the layer's adapter adds, |a+m| / |h|",
    "lens": "UAR of the head on depth l (0: embedding)",
}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 12 by its stem; empty where no trajectory was asked for."""
    tables = {name: rows_of(folder, name) for name in PANELS}
    if tables["contribution"].empty:
        return {}
    layers = 1 + max(int(table["layer"].max()) for table in tables.values() if len(table))
    figure, body, panels = grid(2, 2, 4.4, sharex=True)
    for axes, number, (name, words) in zip(panels.flat, "abcd", PANELS.items(), strict=True):
        letter(axes, number, words)
        _draw(axes, tables[name], FOLLOWED[name][2], layers)
    for axes in panels[1]:
        axes.set_xlabel("epoch")
    legend_below(body, list(panels.flat), 8, "layer")
    return {"fig12": figure}


def rows_of(folder: FinishedRun, name: str) -> pd.DataFrame:
    """What is followed of one of `PANELS`, by epoch and layer; empty where it was not measured."""
    stem, wanted, _ = FOLLOWED[name]
    table = folder.table(f"trajectory_{stem}")
    if table is None:
        return pd.DataFrame(columns=["epoch", "layer"])
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def _draw(axes: Axes, table: pd.DataFrame, column: str, layers: int) -> None:
    """A line a layer, from dark (the first) to light (the last of `layers`); modules of a layer are averaged."""
    if table.empty:
        axes.text(0.5, 0.5, "not to be had for this adapter", transform=axes.transAxes, ha="center", color=INK)
        return
    colours = matplotlib.colormaps["viridis"]
    for layer in sorted(map(int, table["layer"].unique())):
        mean = table[table["layer"] == layer].groupby("epoch")[column].mean()
        axes.plot(
            mean.index,
            mean.to_numpy(),
            color=colours(0.9 * layer / max(layers - 1, 1)),
            marker=MARKERS[layer % len(MARKERS)],
            linewidth=1.3,
            label=str(layer),
        )
