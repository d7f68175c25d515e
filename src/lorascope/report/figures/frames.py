"""Figure 10: where in time the answer comes from, at the top, and how many frames decide at every depth."""

from __future__ import annotations

from matplotlib.figure import Figure

from ...store.finished import FinishedRun
from .style import INK, MODELS, banded, grid, layer_axis, legend_below


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 10 by its stem; empty where frames were not looked at."""
    profile, focus = folder.table("frame_profile"), folder.table("frame_focus")
    if profile is None or focus is None:
        return {}
    models = [model for model in ("trained", "frozen") if model in set(profile["model"])]
    figure, body, grid_of = grid(1, len(models) + 1, 2.5)
    panels = list(grid_of.flat)
    top = int(profile["depth"].max())
    for axes, model in zip(panels, models, strict=False):
        rows = profile[(profile["model"] == model) & (profile["depth"] == top)].rename(columns={"bin": "layer"})
        look = {**MODELS[model], "marker": "o" if model == "trained" else "s"}
        banded(axes, rows, "share", look, f"{model}: share of the margin")
        axes.fill_between(
            rows["layer"],
            rows["null_low"],
            rows["null_high"],
            color=INK,
            alpha=0.15,
            linewidth=0,
            label="frames shuffled",
        )
        axes.axhline(0, color=INK, linewidth=0.6)
        layer_axis(axes, int(rows["layer"].max()) + 1, "tenth of the clip")
        axes.set_ylabel("logits")
        axes.set_title(f"{model}, top depth", loc="left")
    for model in models:
        rows = focus[focus["model"] == model].rename(columns={"depth": "layer"})
        banded(panels[-1], rows, "focus", {**MODELS[model], "marker": "o" if model == "trained" else "s"}, model)
    layer_axis(panels[-1], top + 1, "depth")
    panels[-1].set_ylabel("share of frames that make half")
    panels[-1].set_ylim(0, 0.5)
    legend_below(body, panels, 4)
    return {"fig10": figure}
