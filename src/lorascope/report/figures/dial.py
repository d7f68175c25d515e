"""Figure 5: the answer with the adapter turned down, all of it, one block, the first or last blocks, one kind of
module.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import BLUE, GREEN, INK, ORANGE, PURPLE, banded, blocks, grid, layer_axis, legend_below

ALPHAS = {"color": BLUE, "linestyle": "-", "marker": "o", "linewidth": 1.3}
BLOCKS = {
    "block": ("this block off", {"color": ORANGE, "linestyle": "-", "marker": "s", "linewidth": 1.3}),
    "alone": ("this block alone on", {"color": GREEN, "linestyle": "--", "marker": "^", "linewidth": 1.3}),
}
ENDS = {
    "first": ("the first k blocks on", {"color": BLUE, "linestyle": "-", "marker": "o", "linewidth": 1.3}),
    "last": ("the last k blocks on", {"color": PURPLE, "linestyle": "--", "marker": "D", "linewidth": 1.3}),
}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 5 by its stem; empty where the dial was not turned."""
    table = folder.table("dial")
    if table is None:
        return {}
    figure, body, panels = grid(1, 3, 2.6, sharey=True)
    whole, block, ends = panels.flat
    over_alpha(whole, table[table["dial"] == "whole"])
    whole.set_ylabel("UAR")
    layers = blocks(folder, [table[table["dial"] == "block"].rename(columns={"at": "layer"})])
    for name, (label, look) in BLOCKS.items():
        rows = table[(table["dial"] == name) & (table["alpha"] == (0.0 if name == "block" else 1.0))]
        banded(block, rows.rename(columns={"at": "layer"}), "uar", look, label)
    layer_axis(block, layers)
    for name, (label, look) in ENDS.items():
        rows = table[table["dial"] == name].rename(columns={"at": "layer"})
        banded(ends, rows, "uar", look, label)
    layer_axis(ends, int(table.loc[table["dial"] == "first", "at"].max()) + 1, "number of blocks k")
    on, off = (float(whole_at(table, alpha)["uar"]) for alpha in (1.0, 0.0))
    for axes in (block, ends):
        axes.axhline(on, color=INK, linewidth=0.7, linestyle=":", label="all on")
        axes.axhline(off, color=INK, linewidth=0.7, linestyle=(0, (1, 3)), label="all off")
    legend_below(body, [whole, block, ends], 4)
    return {"fig5": figure}


def over_alpha(axes, rows: pd.DataFrame) -> None:
    """UAR over the whole adapter's α, with its interval."""
    rows = rows.sort_values("alpha")
    axes.plot(rows["alpha"], rows["uar"], **ALPHAS, label="whole adapter times α")
    axes.fill_between(rows["alpha"], rows["uar_low"], rows["uar_high"], color=BLUE, alpha=0.16, linewidth=0)
    axes.axvline(1.0, color=INK, linewidth=0.7, zorder=1)
    axes.set_xlabel("α")


def whole_at(table: pd.DataFrame, alpha: float) -> pd.Series:
    """The row of the whole adapter at one α."""
    return table[(table["dial"] == "whole") & (table["alpha"] == alpha)].iloc[0]
