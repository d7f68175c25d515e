"""The look that all figures share: fonts, palette, ticks, footer, and how a figure becomes files.

Colours are Okabe and Ito's, which readers with any colour vision can tell apart; line style and marker repeat what
colour says, so that a figure survives a grey print. Files are the same bytes whenever the numbers are the same: no
dates, a fixed salt for ids.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox

from ...store.finished import FinishedRun
from ..rows import gapped, means
from . import sheet
from .layout import grid, legend_below, new_figure, panels_in, settle
from .sheet import ONE_COLUMN, TWO_COLUMNS

__all__ = ["ONE_COLUMN", "TWO_COLUMNS", "grid", "legend_below", "new_figure", "panels_in"]

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW = "#CC79A7", "#56B4E9", "#B8A800"
#: Text and axes; the page swaps these two and the grid's for its own colours, hence the odd last digits.
INK, MUTED, GRID = "#1f2329", "#6b7281", "#dfe3e9"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, VERMILLION, SKY, YELLOW)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

#: One look for each variant of a measure, the same in every figure.
VARIANTS: dict[str, dict[str, Any]] = {
    "corrected": {"color": BLUE, "linestyle": "-", "marker": "o", "linewidth": 1.6},
    "paper": {"color": ORANGE, "linestyle": "--", "marker": "s", "linewidth": 1.1},
    "released": {"color": GREEN, "linestyle": ":", "marker": "^", "linewidth": 1.2},
    "same-input": {"color": PURPLE, "linestyle": "-.", "marker": "D", "linewidth": 1.2},
}

#: The look of what was trained on labels that say nothing.
CONTROL: dict[str, Any] = {"color": MUTED, "linestyle": (0, (4, 1.5)), "linewidth": 1.3}
CONTROL_LABEL = "corrected, trained on shuffled labels"

#: One look for each model, the same in every figure.
MODELS: dict[str, dict[str, Any]] = {
    "trained": {"color": BLUE, "linestyle": "-", "linewidth": 1.8},
    "frozen": {"color": MUTED, "linestyle": "--", "linewidth": 1.2},
    "gaussian": {"color": VERMILLION, "linestyle": (0, (3, 1, 1, 1)), "linewidth": 1.2},
    "peft-init": {"color": GREEN, "linestyle": ":", "linewidth": 1.3},
    "norm-matched": {"color": ORANGE, "linestyle": "-.", "linewidth": 1.2},
    "permuted": {"color": PURPLE, "linestyle": (0, (5, 1, 1, 1, 1, 1)), "linewidth": 1.2},
}

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.markersize": 3.0,
    "hatch.color": GRID,
    "hatch.linewidth": 0.8,
    # Names come from files: a dollar sign in one is no formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "lorascope",
    "pdf.fonttype": 42,
    "figure.dpi": 100,
    "savefig.dpi": 200,
}

#: The formats of a figure's files, and what of each would tell the time of its making.
FORMATS = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


def layer_axis(axes: Axes, layers: int, label: str = "layer") -> None:
    """Integer ticks for `layers` positions counted from 0, readable for 4 as for 32 of them."""
    axes.set_xlim(-0.4, layers - 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, steps=[1, 2, 4, 5, 8, 10]))
    axes.set_xlabel(label)


def blocks(folder: FinishedRun, tables: Sequence[pd.DataFrame]) -> int:
    """How many blocks the encoder has, whichever of them are adapted; where the run doesn't tell, as many as the tables
    reach.
    """
    known = (folder.manifest.get("backbone") or {}).get("layers")
    return max([*(int(table["layer"].max()) + 1 for table in tables if len(table)), int(known or 0)])


def marker_step(points: int) -> int:
    """Every how many points a marker stands, so that markers don't run into each other."""
    return 1 + points // 17


def _alone(whole: pd.DataFrame, value: str) -> pd.DataFrame:
    """The rows of `gapped` with no neighbour: no line leads to them."""
    there = whole[value].notna()
    lonely = there & ~there.shift(fill_value=False) & ~there.shift(-1, fill_value=False)
    return whole[lonely] if len(whole) > 1 else whole.iloc[:0]


def line(axes: Axes, rows: pd.DataFrame, value: str, **look: Any) -> None:
    """Draw `value` over `layer`; where layers are missing (not adapted) there is a gap, and no line across it."""
    whole = gapped(rows)
    drawn = axes.plot(whole["layer"], whole[value], **look)[0]
    points = _alone(whole, value)
    if len(points):
        mark = look.get("marker") or "."
        axes.plot(points["layer"], points[value], color=drawn.get_color(), marker=mark, linestyle="none")


def band(
    axes: Axes, rows: pd.DataFrame, low: str, high: str, colour: str, alpha: float, label: str = "", hatch: str = ""
) -> None:
    """Fill from `low` to `high` over `layer`, with gaps as `line` has them; a layer alone gets a bar."""
    whole = gapped(rows)
    named: dict[str, Any] = {"label": label} if label else {}
    axes.fill_between(
        whole["layer"], whole[low], whole[high], color=colour, alpha=alpha, linewidth=0, hatch=hatch or None, **named
    )
    bars = _alone(whole, low)
    if len(bars):
        axes.vlines(bars["layer"], bars[low], bars[high], color=colour, alpha=alpha, linewidth=4)


def banded(
    axes: Axes,
    table: pd.DataFrame,
    value: str,
    look: dict[str, Any],
    label: str,
    ends: str | None = None,
    beside: bool = False,
) -> None:
    """Draw `value` over `layer` with its interval `<ends>_low` to `<ends>_high` (by default called after the value),
    where the table has one; and behind it a faint line for each unit that it is the mean of (a column `unit`).

    `beside` is what the panel's main curve is compared with: of several units only its mean is drawn.
    """
    mean = means(table)
    line(axes, mean, value, **{"markevery": marker_step(len(mean)), **look}, label=label)
    units = list(table[table["unit"] != ""].groupby("unit")) if "unit" in table else []
    if beside and "folds" in mean:
        return
    for _, unit in units:
        unit = gapped(unit)
        axes.plot(unit["layer"], unit[value], color=look["color"], linewidth=0.5, alpha=0.35, zorder=1.5)
    low, high = f"{ends or value}_low", f"{ends or value}_high"
    if low in mean and mean[low].notna().any():
        there = axes.dataLim.frozen()
        band(axes, mean, low, high, look["color"], 0.16)
        if units:
            # of few folds it is so wide that nothing else would be seen: the panel ends soon after the lines
            axes.dataLim.set(there)
            axes.autoscale_view()


def letter(axes: Axes, text: str, title: str) -> None:
    """Title a panel, its letter before the words."""
    axes.set_title(f"({text}) {title}", loc="left")


def save(
    figure: Figure,
    folder: Path,
    stem: str,
    marks: Sequence[str],
    note: str = "",
    formats: Sequence[str] = tuple(FORMATS),
) -> list[Path]:
    """Write the figure as SVG, PDF and PNG, the marks (synthetic, optimistic) and a note in its footer; return the
    paths.
    """
    footer(figure, marks, "" if sheet.now().print else note)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with matplotlib.rc_context(RC | sheet.now().rc):
        settle(figure)
        # Laid out and measured once for all formats: either costs as much as drawing.
        figure.draw_without_rendering()
        # none at all: with any, even an empty one, every format is drawn twice
        figure.set_layout_engine(None)
        box = figure.get_tightbbox().padded(0.04)
        if sheet.now().print:
            # a column is as wide as it is, whatever stands at its edge
            box = Bbox.from_extents(0, box.y0, sheet.now().width, box.y1)
        for suffix in formats:
            file = folder / f"{stem}.{suffix}"
            figure.savefig(file, metadata=FORMATS[suffix], transparent=suffix == "svg", bbox_inches=box)
            files.append(file)
    return files


def footer(figure: Figure, marks: Sequence[str], note: str = "") -> None:
    """Write marks and a note below a figure; nothing where there are none."""
    told = [*marks, *([note] if note else [])]
    if not told:
        return
    colour = VERMILLION if marks else MUTED
    width, _ = figure.get_size_inches()
    size = sheet.now().small
    lines = textwrap.wrap(" · ".join(told), int(width * 126 / size))
    # Below the figure's own edge, where no legend can lie; `save` measures the box that takes it in.
    figure.text(
        0.995, -0.012, "\n".join(lines), ha="right", va="top", fontsize=size, style="italic", color=colour
    )  # fmt: skip
