"""Figure 4: what is lost when a block is skipped, alone or with all blocks before it (released code, not in the paper's
text).
"""

from __future__ import annotations

from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import INK, MODELS, banded, grid, layer_axis, legend_below

QUANTITIES = {
    "delta_uar": "change in UAR",
    "delta_loss": "change in loss (nats)",
    "delta_confidence": "change in confidence",
}
MODES = {"single": ("-", "o", "this block skipped"), "progressive": ("--", "s", "all blocks up to this one skipped")}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 4 by its stem; empty where erasure was not measured."""
    table = folder.curves("erasure")
    if table is None:
        return {}
    figure, body, panels = grid(1, 3, 2.5, sharex=True)
    layers = int(table["layer"].max()) + 1
    for axes, (quantity, words) in zip(panels.flat, QUANTITIES.items(), strict=True):
        for model in ("trained", "frozen"):
            for mode, (style, marker, label) in MODES.items():
                lines = table[(table["model"] == model) & (table["mode"] == mode)]
                look = {"color": MODELS[model]["color"], "linestyle": style, "marker": marker, "linewidth": 1.3}
                if not lines.empty:
                    banded(axes, lines, quantity, look, f"{model}: {label}")
        axes.axhline(0, color=INK, linewidth=0.7, zorder=1)
        layer_axis(axes, layers)
        axes.set_ylabel(words)
    legend_below(body, list(panels.flat), 2)
    return {"fig4": figure}
