"""Figure 8: what the update is as a matrix, by layer: its spectrum, where it lies in W's subspaces, and intruders."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ...store.finished import FinishedRun
from .style import (
    BLUE,
    CYCLE,
    GREEN,
    INK,
    MARKERS,
    MUTED,
    TWO_COLUMNS,
    blocks,
    layer_axis,
    legend_below,
    line,
    new_figure,
)


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 8, one for each kind of module, by its stem; empty where weights were not measured."""
    table = folder.table("weights")
    if table is None:
        return {}
    modules = list(dict.fromkeys(table["module"]))
    first = "v_proj" if "v_proj" in modules else modules[0]
    return {"fig8" if module == first else f"fig8-{module}": _of(folder, module) for module in modules}


def _of(folder: FinishedRun, module: str) -> Figure:
    tables = {stem: folder.table(stem) for stem in ("weights", "weight_spectra", "intruders")}
    rows = {stem: table[table["module"] == module] for stem, table in tables.items() if table is not None}
    figure, body = new_figure(TWO_COLUMNS, 2.6)
    spectrum, subspaces, intruders = body.subplots(1, 3)
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
        look = {"color": colour, "linestyle": ":", "linewidth": 1, "label": f"{words}: random, at most"}
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
