"""Figure 13: the answer when one cue of the sound is changed, frozen and adapted: flips, UAR, and the gold class'
probability by class.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import CYCLE, INK, MARKERS, MODELS, grid, legend_below

RESYNTHESIS = "resynthesis"
QUANTITIES = {"flipped": "flipped answers", "delta_uar": "change of UAR"}
LOOKS = {"trained": {"color": MODELS["trained"]["color"], "marker": "o"}, "frozen": {"color": INK, "marker": "s"}}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 13 by its stem; empty where no sound was changed, or no clip could be."""
    table, by_class = folder.table("counterfactual"), folder.table("counterfactual_classes")
    if table is None or by_class is None or table["flipped"].isna().all():
        return {}
    changes = list(dict.fromkeys(table["change"]))
    places = {name: -float(number) for number, name in enumerate(changes)}
    figure, body, panels = grid(1, 3, 0.24 * len(changes) + 0.9, sharey=True)
    panels = list(panels.flat)
    for axes, (quantity, words) in zip(panels, QUANTITIES.items(), strict=False):
        for number, (model, look) in enumerate(LOOKS.items()):
            rows = table[table["model"] == model]
            at = rows["change"].map(places) + 0.13 - 0.26 * number
            reach = np.abs(rows[[f"{quantity}_low", f"{quantity}_high"]].to_numpy().T - rows[quantity].to_numpy())
            axes.errorbar(
                rows[quantity], at, xerr=reach, linestyle="none", linewidth=0.8, markersize=3.2, label=model, **look
            )
        axes.set_xlabel(words)
    gold = by_class[by_class["model"] == "trained"]
    classes = list(dict.fromkeys(gold["emotion"]))
    for number, emotion in enumerate(classes):
        rows = gold[gold["emotion"] == emotion]
        look = {"color": CYCLE[number % len(CYCLE)], "marker": MARKERS[number % len(MARKERS)]}
        at = rows["change"].map(places) + 0.3 * (0.5 - (number + 0.5) / len(classes))
        panels[2].plot(rows["delta_gold"], at, linestyle="none", label=f"trained, {emotion}", **look)
    panels[2].set_xlabel("change of p(gold class)")
    panels[0].set_yticks(list(places.values()), list(places))
    for axes in panels:
        axes.axvline(0, color=INK, linewidth=0.6, zorder=1)
        # what stands above was compared with the clips as they are, what stands below with it
        axes.axhline(-0.5, color=INK, linewidth=0.6, linestyle=":", zorder=1)
    legend_below(body, panels, 6)
    return {"fig13": figure}
