"""Figure 11: what each attention head adds directly to the gold class, and to the stream, by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ...store.finished import FinishedRun
from .sheet import now
from .style import INK, grid

WORDS = {"trained": "trained", "frozen": "frozen", "difference": "trained − frozen"}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 11 by its stem; empty where heads were not taken apart."""
    table = folder.table("heads")
    if table is None:
        return {}
    quantity = "gold" if table["gold"].notna().any() else "ratio"
    models = [
        name
        for name in WORDS
        if (table["model"] == name).any() and table.loc[table["model"] == name, quantity].notna().any()
    ]
    layers = int(table["layer"].max()) + 1
    figure, _, panels = grid(1, len(models), 1.5 + 0.16 * layers, alone=True)
    for axes, model in zip(panels.flat, models, strict=True):
        _map(axes, table[table["model"] == model], quantity)
        axes.set_title(WORDS[model], loc="left")
    return {"fig11": figure}


def _map(axes: Axes, rows: pd.DataFrame, quantity: str) -> None:
    """Layers by heads in colours; a dot where the interval lies outside the null (of a change of ratio: without 0)."""
    grid = rows.pivot(index="layer", columns="head", values=quantity)
    limit = float(np.nanmax(np.abs(grid.to_numpy()))) or 1.0
    signed = quantity == "gold" or rows["model"].iloc[0] == "difference"
    image = axes.imshow(
        grid.to_numpy(), cmap="RdBu_r" if signed else "viridis", vmin=-limit if signed else 0, vmax=limit, aspect="auto"
    )
    if quantity == "gold":
        clear = rows[(rows["gold_low"] > rows["null_high"]) | (rows["gold_high"] < rows["null_low"])]
    else:
        clear = rows[(rows["ratio_low"] > 0) | (rows["ratio_high"] < 0)] if signed else rows.iloc[:0]
    axes.plot(clear["head"], clear["layer"], linestyle="none", marker=".", color=INK)
    axes.grid(False)
    axes.set(
        xlabel="head",
        ylabel="layer",
        xticks=grid.columns[:: 1 + len(grid.columns) // 9],
        yticks=grid.index[:: 1 + len(grid) // 9],
    )
    if signed and now().print:
        # in grey both ends are dark
        for layer, head in zip(*np.nonzero(grid.to_numpy() < -0.05 * limit), strict=True):
            axes.add_patch(
                Rectangle((head - 0.5, layer - 0.5), 1, 1, fill=False, linewidth=0, hatch="////", zorder=1.5)
            )
    words = "to the gold class (logits)" if quantity == "gold" else "norm / stream"
    if now().print:
        words = now().broken(f"{words}{', hatched: below 0' if signed else ''}", 90, now().small)
    axes.figure.colorbar(image, ax=axes, label=words, shrink=0.9)
