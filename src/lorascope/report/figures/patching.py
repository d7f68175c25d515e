"""Figure 7: how much of the two models' difference each stream carries into the other model."""

from __future__ import annotations

from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import BLUE, GREEN, INK, ORANGE, banded, grid, layer_axis, legend_below

RECEIVERS = {"adapted": "frozen streams into the adapted model", "frozen": "adapted streams into the frozen model"}
PARTS = {
    "resid_pre": ("residual stream before block l", {"color": BLUE, "linestyle": "-", "marker": "o", "linewidth": 1.4}),
    "attn_out": ("attention of block l", {"color": ORANGE, "linestyle": "--", "marker": "s", "linewidth": 1.2}),
    "mlp_out": ("MLP of block l", {"color": GREEN, "linestyle": ":", "marker": "^", "linewidth": 1.3}),
}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 7 by its stem; empty where nothing was patched."""
    table = folder.table("patching")
    if table is None:
        return {}
    receivers = [name for name in RECEIVERS if name in set(table["receiver"])]
    figure, body, panels = grid(1, len(receivers), 2.6)
    for axes, receiver in zip(panels.flat, receivers, strict=True):
        rows = table[table["receiver"] == receiver]
        # where there is no difference to share out, what moves is told in logits
        quantity = "share" if rows["share"].notna().any() else "moved"
        for part, (label, look) in PARTS.items():
            banded(axes, rows[rows["part"] == part], quantity, look, label)
        for level in (0, 1) if quantity == "share" else (0,):
            axes.axhline(level, color=INK, linewidth=0.7, zorder=1)
        layer_axis(axes, int(table["layer"].max()) + 1, "l (the last: final LayerNorm's input)")
        axes.set_ylabel("share of the margin moved" if quantity == "share" else "margin moved (logits)")
        axes.set_title(RECEIVERS[receiver], loc="left")
    legend_below(body, list(panels.flat), 3)
    return {"fig7": figure}
