"""Figure 15: what the adapter gains against what it costs in recognition, over dials; the settings that nothing beats
are filled.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import BLUE, GREEN, INK, ORANGE, PURPLE, VERMILLION, grid, legend_below

DIALS = {
    "whole": ("whole adapter times α", BLUE, "o"),
    "layers": ("α straight over blocks", ORANGE, "s"),
    "rank": ("largest directions", GREEN, "^"),
    "rank and whole": ("largest directions times α", PURPLE, "D"),
}
RULES = {
    "spared": ("chosen on other speakers: spared", "P"),
    "best UAR": ("chosen on other speakers: best UAR", "X"),
    "by block, spared": ("chosen on other speakers: one α a block", "v"),
}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 15 by its stem; empty where no frontier was measured."""
    table, chosen = folder.table("frontier"), folder.table("frontier_chosen")
    if table is None or table["wer"].isna().all():
        return {}
    figure, body, panels = grid(1, 2, 2.9)
    plane, over_alpha = panels.flat
    for dial, (label, colour, marker) in DIALS.items():
        rows = table[table["dial"] == dial]
        # of several folds the share of them in which it is on the frontier
        on = rows["pareto"] >= 0.5
        plane.plot(rows["wer"][~on], rows["uar"][~on], marker, color=colour, markerfacecolor="none", label=label)
        plane.plot(rows["wer"][on], rows["uar"][on], marker, color=colour, label=f"{label}, on the frontier")
    for rule, (label, marker) in RULES.items():
        rows = None if chosen is None else chosen[(chosen["rule"] == rule) & chosen["wer"].notna()]
        if rows is None or rows.empty:
            continue
        x, y = float(rows["wer"].iloc[0]), float(rows["uar"].iloc[0])
        reach = [
            [[abs(float(rows[f"{name}_{end}"].iloc[0]) - value)] for end in ("low", "high")]
            for name, value in (("wer", x), ("uar", y))
        ]
        plane.errorbar(
            x, y, xerr=reach[0], yerr=reach[1], fmt=marker, color=VERMILLION, linewidth=0.8, markersize=5, label=label
        )
    plane.set_xlabel(f"word error rate, against the {table['against'].iloc[0]}")
    plane.set_ylabel("UAR")
    whole = table[table["dial"] == "whole"].sort_values("alpha")
    for name, label, colour, marker in (("uar", "UAR", BLUE, "o"), ("wer", "word error rate", VERMILLION, "s")):
        over_alpha.plot(whole["alpha"], whole[name], color=colour, marker=marker, linewidth=1.2, label=label)
        over_alpha.fill_between(
            whole["alpha"], whole[f"{name}_low"], whole[f"{name}_high"], color=colour, alpha=0.14, linewidth=0
        )
    over_alpha.axvline(1.0, color=INK, linewidth=0.7, zorder=1)
    over_alpha.set_xlabel("α of the whole adapter")
    # a rate far above 1 says no more than one a little above
    over_alpha.set_ylim(0, 1.25)
    legend_below(body, [plane, over_alpha], 3)
    return {"fig15": figure}
