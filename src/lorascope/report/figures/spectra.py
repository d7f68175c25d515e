"""Figure 3: how few directions the adapter uses (a to d, energy curves) and how alike its two sides are (e and f,
CKA).
"""

from __future__ import annotations

import math
import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ...store.finished import FinishedRun
from ..rows import means
from . import cka
from .layout import height_of, parts_of
from .rank_space import main_module_first
from .sheet import now
from .style import BLUE, MODELS, MUTED, TWO_COLUMNS, blocks, legend_below, letter, new_figure, panels_in

VARIANT = "corrected"

PANELS = (("A", "activation"), ("B", "activation"), ("A", "gradient"), ("B", "gradient"))


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 3 by its stem, one for each adapted module (`fig3` for the first), with what was measured of spectra and
    CKA.
    """
    curves, similarity = (folder.curves(stem) for stem in ("spectra", "cka"))
    summary = folder.table("spectra_summary")
    measured = [table for table in (curves, similarity) if table is not None]
    if not measured:
        return {}
    made = {}
    for position, module in enumerate(main_module_first(pd.concat([table[["module"]] for table in measured]))):
        of_module = [
            None if table is None else table[table["module"] == module] for table in (curves, summary, similarity)
        ]
        layers = blocks(folder, measured)
        made["fig3" if position == 0 else f"fig3-{module}"] = _figure(module, layers, *of_module)
    return made


def k90_means(summary: pd.DataFrame, factor: str, quantity: str, variant: str = VARIANT) -> pd.Series:
    """Mean k90 over layers by model; NaN for a model whose matrices are exactly 0."""
    rows = summary[(summary["factor"] == factor) & (summary["quantity"] == quantity) & (summary["variant"] == variant)]
    return rows.groupby("model")["k90"].mean()


def _figure(
    module: str,
    layers: int,
    curves: pd.DataFrame | None,
    summary: pd.DataFrame | None,
    similarity: pd.DataFrame | None,
) -> Figure:
    # without a head there are no gradients
    there = set() if curves is None else set(zip(curves["factor"], curves["quantity"], strict=True))
    shown = [pair for pair in PANELS if pair in there]
    known = set() if similarity is None else set(similarity["quantity"])
    quantities = [name for name in ("activation", "gradient") if name in known]
    heights = [
        *([height_of(len(shown) // 2, 2, 0.95 + 0.95 * len(shown))] if shown else []),
        *([height_of(1, len(quantities), 3.0)] if quantities else []),
    ]
    figure, body = new_figure(TWO_COLUMNS, sum(heights))
    parts = parts_of(figure, body, heights)
    letters = iter("abcdef")
    if curves is not None and shown:
        part = parts.pop(0)
        panels = panels_in(part, len(shown) // 2, 2)
        part.suptitle(f"{module}, corrected variant (speech frames)", fontsize=now().text + 0.5, x=0.01, ha="left")
        for axes, (factor, quantity) in zip(panels.flat, shown, strict=True):
            _energy(axes, curves, summary, factor, quantity)
            letter(axes, next(letters), f"{factor} {quantity}s")
        legend_below(part, list(panels.flat), 4)
    if similarity is not None and quantities:
        part = parts.pop(0)
        panels = panels_in(part, 1, len(quantities))
        for axes, quantity in zip(panels.flat, quantities, strict=True):
            cka.panel(axes, similarity, quantity, layers)
            words = "forward" if quantity == "activation" else "backward"
            letter(axes, next(letters), f"CKA of A and B, {words} ({quantity}s)")
        legend_below(part, list(panels.flat), 2)
    return figure


def _energy(axes: Axes, curves: pd.DataFrame, summary: pd.DataFrame | None, factor: str, quantity: str) -> None:
    rows = curves["variant"].eq(VARIANT) & curves["factor"].eq(factor) & curves["quantity"].eq(quantity)
    part = curves[rows & curves["energy"].notna()]
    faint, part = part[part["model"] == "trained"], means(part)
    if len(faint) > len(part[part["model"] == "trained"]):
        faint = faint[faint["unit"] != ""].groupby(["unit", "index"], as_index=False)["energy"].mean()
        lines, words = faint.groupby("unit"), "trained, each fold and seed"
    else:
        lines, words = faint.groupby("layer"), "trained, each layer"
    for _, line in lines:
        axes.plot(line["index"], line["energy"], color=BLUE, linewidth=0.4, alpha=0.45)
    axes.plot([], [], color=BLUE, linewidth=0.5, alpha=0.6, label=words)
    for model, look in MODELS.items():
        mean = part[part["model"] == model].groupby("index")["energy"].mean()
        if len(mean):
            axes.plot(mean.index, mean, **look, label=f"{model}, mean over layers")
    axes.axhline(0.9, color=MUTED, linewidth=0.7, linestyle=(0, (2, 2)), label="90 % of the energy")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(1, max(2, int(part["index"].max()) if len(part) else 2))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(f"directions k\n{_k90_line(summary, factor, quantity)}", fontsize=now().small, linespacing=1.4)
    axes.set_ylabel("energy of the first k")


def _k90_line(summary: pd.DataFrame | None, factor: str, quantity: str) -> str:
    if summary is None:
        return "k90 was not computed"
    means = k90_means(summary, factor, quantity)
    # no line ends within a model's number
    words = [
        f"{model} {'exactly 0' if math.isnan(means[model]) else f'{means[model]:.1f}'}".replace(
            " ", "\N{NO-BREAK SPACE}"
        )
        for model in MODELS
        if model in means
    ]
    line = f"mean k90: {', '.join(words)}"
    return line if now().print else "\n".join(textwrap.wrap(line, 62, break_on_hyphens=False))
