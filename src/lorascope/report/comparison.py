"""The page and the figure of several adapters side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ..store.finished import SYNTHETIC
from ..store.folder import write_text
from . import inline
from .figures import style
from .figures.rank_space import main_module_first
from .interval_words import interval_words
from .rendering import render

STEM = "side_by_side"
#: The panels: quantity, title, label of its axis.
PANELS = (
    ("block ratio, trained − frozen", "contribution, attention + MLP", "relative norm, trained − frozen"),
    ("kl", "lens: KL from the final answer", "KL (nats)"),
    ("uar", "lens: UAR", "UAR"),
    ("k90 of A activations", "k90 of A activations", "directions"),
    ("k90 of B activations", "k90 of B activations", "directions"),
    ("A and B, activations", "CKA of A and B, activations", "CKA"),
    ("change in UAR, one block skipped", "erasure", "change in UAR"),
)
_LINES = ("-", "--", ":", "-.")


def write_page(folder: Path, manifests: Mapping[str, dict[str, Any]], table: pd.DataFrame) -> Path:
    """Draw the figure and write index.html, which links every adapter's own report; return its path. All of it works
    offline.
    """
    first = next(iter(manifests.values()))
    marks = [SYNTHETIC] if first["corpus"]["synthetic"] else []
    words = interval_words([table])
    with matplotlib.rc_context(style.RC):
        files = style.save(figure(table), folder / "figures", STEM, marks, words)
    drawn = next(file for file in files if file.suffix == ".svg")
    page = render(
        "side_by_side.html",
        manifest=first,
        marks=marks,
        adapters=[{"name": name, "manifest": manifest} for name, manifest in manifests.items()],
        words=words,
        figure=inline.svg(drawn, "Every adapter's numbers by layer, a line each"),
        download=inline.download(STEM, table),
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"


def figure(table: pd.DataFrame) -> Figure:
    """A panel for each quantity that any adapter has, a line an adapter; of several adapted modules the main one is
    drawn, v_proj where it is there.
    """
    present = [panel for panel in PANELS if (table["quantity"] == panel[0]).any()]
    rows = -(-len(present) // 3)
    made, body = style.new_figure(style.TWO_COLUMNS, 0.6 + 1.9 * rows)
    axes_of = list(body.subplots(rows, 3, squeeze=False).flat)
    adapters = list(dict.fromkeys(table["adapter"]))
    for axes, (quantity, title, label) in zip(axes_of, present, strict=False):
        of_quantity = table[table["quantity"] == quantity]
        for index, adapter in enumerate(adapters):
            lines = of_quantity[of_quantity["adapter"] == adapter]
            if lines.empty:
                continue
            module = main_module_first(lines)[0]
            look = {
                "color": style.CYCLE[index % len(style.CYCLE)],
                "marker": style.MARKERS[index % len(style.MARKERS)],
                "linestyle": _LINES[index % len(_LINES)],
                "linewidth": 1.3,
            }
            lines = lines[lines["module"] == module].rename(columns={"low": "value_low", "high": "value_high"})
            style.banded(axes, lines, "value", look, adapter)
        style.layer_axis(axes, int(of_quantity["layer"].max()) + 1)
        axes.set_title(title, loc="left")
        axes.set_ylabel(label)
    for axes in axes_of[len(present) :]:
        axes.set_visible(False)
    style.legend_below(body, axes_of[: len(present)], 3)
    return made
