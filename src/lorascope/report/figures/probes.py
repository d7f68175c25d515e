"""Figure 9: what can be read off the stream at every depth, frozen and adapted, beside the control task."""

from __future__ import annotations

from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import MODELS, MUTED, banded, grid, layer_axis, legend_below

WORDS = {
    "emotion": "emotion",
    "speaker": "speaker",
    "sentence": "sentence",
    "gender": "gender",
    "language": "language",
    "f0_mean": "mean F0",
    "f0_range": "range of F0",
    "intensity": "loudness",
    "rate": "rate",
}
COLUMNS = 4


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 9 by its stem; empty where nothing was probed."""
    table = folder.table("probes")
    if table is None:
        return {}
    targets = [name for name in WORDS if name in set(table["target"])]
    rows = -(-len(targets) // COLUMNS)
    figure, body, panels = grid(rows, COLUMNS, 1.7 * rows + 0.6, count=len(targets))
    depths = int(table["depth"].max()) + 1
    for axes, target in zip(panels.flat, targets, strict=False):
        for model in ("trained", "frozen"):
            lines = table[(table["target"] == target) & (table["model"] == model)].rename(columns={"depth": "layer"})
            if lines.empty:
                continue
            marker = "o" if model == "trained" else "s"
            banded(axes, lines, "score", {**MODELS[model], "marker": marker}, model)
            axes.plot(
                lines["layer"],
                lines["control_task"],
                color=MODELS[model]["color"],
                linestyle=":" if model == "trained" else (0, (1, 3)),
                label=f"{model}: control",
            )
        layer_axis(axes, depths, "depth")
        metric = table.loc[table["target"] == target, "metric"].iloc[0]
        axes.set_ylabel("UAR" if metric == "uar" else "R²")
        # an R² far below 0 says no more than one a little below
        axes.set_ylim(0 if metric == "uar" else -0.5, 1.03)
        axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
        axes.set_title(WORDS[target], loc="left")
    legend_below(body, list(panels.flat)[: len(targets)], 4)
    return {"fig9": figure}
