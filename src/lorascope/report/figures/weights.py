"""Figure 8: what the update is as a matrix, by layer: its spectrum, where it lies in W's subspaces, and intruders; and
whether other adapters learn its directions again.
"""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ...findings import recurrence
from ...store.finished import FinishedRun
from ..rows import gapped
from .style import (
    BLUE,
    CYCLE,
    GREEN,
    INK,
    MARKERS,
    MUTED,
    ONE_COLUMN,
    TWO_COLUMNS,
    blocks,
    grid,
    layer_axis,
    legend_below,
    line,
)

RANDOM = "random subspaces, at most"


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 8, one for each kind of module, by its stem, and of several adapters `fig8-again`; empty where weights
    were not measured.
    """
    table, again = folder.table("weights"), folder.table("recurrence")
    modules = list(dict.fromkeys(table["module"])) if table is not None else []
    first = "v_proj" if "v_proj" in modules else next(iter(modules), "")
    drawn = {"fig8" if module == first else f"fig8-{module}": _of(folder, module) for module in modules}
    if again is not None and len(recurrence.learnt_again(again, folder.shown[0].name)):
        drawn["fig8-again"] = _again(folder, again)
    return drawn


def _again(folder: FinishedRun, table: pd.DataFrame) -> Figure:
    """How alike the first input directions of two adapters are, a panel for each kind of module."""
    method = folder.shown[0].name
    curves = (
        ("adapters", recurrence.learnt_again(table, method), BLUE, "o"),
        ("an adapter and one of shuffled labels", recurrence.by_chance(table, method), MUTED, "s"),
    )
    modules = list(dict.fromkeys(table["module"]))
    across, down = min(len(modules), 3), -(-len(modules) // 3)
    width = TWO_COLUMNS if across > 1 else ONE_COLUMN
    figure, body, panels = grid(down, across, 2.2 * down + 0.4, width, count=len(modules), sharey=True)
    for axes, module in zip(panels.flat, modules, strict=False):
        for words, chosen, colour, marker in curves:
            _pairs(axes, chosen[chosen["module"] == module], words, colour, marker)
        null = curves[0][1][curves[0][1]["module"] == module]
        line(axes, null, "null_high", color=INK, linestyle=":", linewidth=1, label=RANDOM)
        layer_axis(axes, blocks(folder, [table]))
        axes.set(title=module, ylim=(0, None))
    for axes in panels[:, 0]:
        axes.set_ylabel(f"mean cos², first {recurrence.LEADING}")
    legend_below(body, list(panels.flat)[: len(modules)], min(across, 3))
    return figure


def _pairs(axes: Axes, rows: pd.DataFrame, words: str, colour: str, marker: str) -> None:
    """The mean over pairs by layer, and the lowest and the highest pair as a band."""
    if rows.empty:
        return
    start = "" if set(rows["start"]) != {recurrence.SHARED} else ", begun alike"
    line(axes, rows, "mean_cos2", color=colour, marker=marker, label=f"{words}, other {rows['differ'].iloc[0]}{start}")
    ends = gapped(rows)
    axes.fill_between(ends["layer"], ends["lowest"], ends["highest"], color=colour, alpha=0.15, linewidth=0)


def _of(folder: FinishedRun, module: str) -> Figure:
    tables = {stem: folder.table(stem) for stem in ("weights", "weight_spectra", "intruders")}
    rows = {stem: table[table["module"] == module] for stem, table in tables.items() if table is not None}
    figure, body, panels = grid(1, 3, 2.6)
    spectrum, subspaces, intruders = panels.flat
    weights = rows["weights"]
    layers = blocks(folder, [weights])
    colours = matplotlib.colormaps["viridis"].resampled(max(layers, 2))
    if "weight_spectra" in rows:
        for layer, curve in rows["weight_spectra"].groupby("layer"):
            spectrum.plot(curve["index"], curve["sigma"], color=colours(int(str(layer))), linewidth=1)
    spectrum.set(xlabel="direction", ylabel="σ of ΔW (dark: first layer)", yscale="log", title=module)
    spectrum.yaxis.set_major_formatter(FuncFormatter(lambda sigma, _: f"{sigma:g}"))
    spectrum.yaxis.set_minor_formatter(NullFormatter())
    for side, colour, marker, words in (("left", BLUE, "o", "columns"), ("right", GREEN, "s", "rows")):
        label = f"{words} within W's first k"
        line(subspaces, weights, f"{side}_share", color=colour, marker=marker, label=label)
        style = ":" if side == "left" else "-."
        look = {"color": colour, "linestyle": style, "linewidth": 1, "label": f"{words}: random, at most"}
        line(subspaces, weights, f"{side}_null_high", **look)
    layer_axis(subspaces, layers)
    subspaces.set(ylabel="share of ΔW's energy", ylim=(0, None))
    if "intruders" in rows:
        means = rows["intruders"].groupby("epsilon")[["count", "null", "null_low", "null_high"]].mean()
        intruders.plot(
            means.index, means["count"], color=CYCLE[0], marker=MARKERS[0], label="trained, mean over layers"
        )
        intruders.plot(means.index, means["null"], color=MUTED, linestyle="--", label="random of equal norm and rank")
        intruders.fill_between(means.index, means["null_low"], means["null_high"], color=MUTED, alpha=0.2, linewidth=0)
    intruders.axhline(0, color=INK, linewidth=0.7)
    intruders.set(xlabel="ε (largest |cos| to W's own)", ylabel="intruders among the first 10")
    legend_below(body, [subspaces, intruders], 3)
    return figure
