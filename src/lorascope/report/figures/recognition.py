"""Figure 14: error rates of Whisper's decoder with the bare and the adapted encoder, of all clips and by class."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import INK, MODELS, VERMILLION, grid, legend_below

QUANTITIES = {"wer": "word error rate", "cer": "character error rate"}
LOOKS = {
    ("text", "frozen"): ("bare encoder, against the text", {"color": INK, "marker": "s"}),
    ("text", "trained"): ("adapted encoder, against the text", {"color": MODELS["trained"]["color"], "marker": "o"}),
    ("bare transcript", "trained"): (
        "adapted encoder, against the bare one's transcript",
        {"color": VERMILLION, "marker": "^"},
    ),
}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 14 by its stem; empty where nothing was written down."""
    table = folder.table("recognition")
    if table is None or table["rate"].isna().all():
        return {}
    table = table[table["rate"].notna()]
    classes = list(dict.fromkeys(table["emotion"]))
    bars = {"linestyle": "none", "linewidth": 0.8, "markersize": 3.2}
    figure, body, panels = grid(1, 2, 2.5)
    shown = [key for key in LOOKS if ((table["against"] == key[0]) & (table["model"] == key[1])).any()]
    for axes, (quantity, words) in zip(panels.flat, QUANTITIES.items(), strict=True):
        for number, (against, model) in enumerate(shown):
            label, look = LOOKS[against, model]
            rows = table[(table["quantity"] == quantity) & (table["against"] == against) & (table["model"] == model)]
            at = rows["emotion"].map(classes.index) + 0.2 * (number - (len(shown) - 1) / 2)
            reach = np.abs(rows[["rate_low", "rate_high"]].to_numpy().T - rows["rate"].to_numpy())
            axes.errorbar(at, rows["rate"], yerr=reach, label=label, **bars, **look)
        axes.set_xticks(range(len(classes)), [name or "all" for name in classes])
        axes.set_ylabel(words)
        # of few clips with few errors an end of an interval may lie anywhere above
        top = max(1.0, 1.3 * float(table.loc[table["quantity"] == quantity, "rate"].max()))
        axes.set_ylim(-0.04 * top, min(float(axes.get_ylim()[1]), top))
    legend_below(body, list(panels.flat), 2)
    return {"fig14": figure}
