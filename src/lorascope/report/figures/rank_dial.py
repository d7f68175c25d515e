"""Figure 6: the answer with some of the adapter's directions alone, those with the largest σ against random ones."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ...store.finished import FinishedRun
from .style import BLUE, GREEN, INK, MUTED, grid, legend_below

QUANTITIES = {"uar": "UAR", "loss": "loss (nats)", "flipped": "flipped answers"}
WAYS = {
    "global": ("largest σ of all matrices", {"color": BLUE, "linestyle": "-", "marker": "o", "linewidth": 1.4}),
    "local": ("each matrix' own largest", {"color": GREEN, "linestyle": "--", "marker": "^", "linewidth": 1.2}),
}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 6 by its stem; empty where no rank was cut."""
    table = folder.table("rank_dial")
    if table is None:
        return {}
    figure, body, panels = grid(1, len(QUANTITIES), 2.5)
    shares = sorted(share for share in table["share"].unique() if share > 0)
    least = folder.table("rank_dial_least")
    for axes, (quantity, words) in zip(panels.flat, QUANTITIES.items(), strict=True):
        random = table[(table["way"] == "random")]
        axes.plot(
            random["share"], random[quantity], color=MUTED, marker="x", linestyle="none", label="as many at random"
        )
        for way, (label, look) in WAYS.items():
            rows = table[(table["way"] == way) & (table["share"] > 0)].sort_values("share")
            axes.plot(rows["share"], rows[quantity], **look, label=label)
            axes.fill_between(
                rows["share"], rows[f"{quantity}_low"], rows[f"{quantity}_high"], color=look["color"], alpha=0.14, lw=0
            )
        none = table[(table["way"] == "global") & (table["share"] == 0)]
        axes.axhline(none[quantity].iloc[0], color=INK, linewidth=0.7, linestyle=":", label="none kept")
        if least is not None and least["share"].notna().any():
            found = float(least.loc[least["way"] == "global", "share"].iloc[0])
            if found > 0:
                axes.axvline(found, color=INK, linewidth=0.7, zorder=1, label="least share as good (largest σ)")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(shares))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}".replace("%", "")))
        axes.set_xlabel("directions kept (%)")
        axes.set_ylabel(words)
    legend_below(body, list(panels.flat), 3)
    return {"fig6": figure}
