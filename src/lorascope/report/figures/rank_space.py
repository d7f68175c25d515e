"""Figure 2b: where the clips lie in the adapter's rank space, rank by depth, and how well they separate in numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...store.finished import FinishedRun, records
from .sheet import now
from .style import CYCLE, MARKERS, grid, legend_below

VARIANT_TITLES = {
    "corrected": "corrected: mean over speech frames, t-SNE",
    "released": "released: all frames flattened, t-SNE",
}


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """Figure 2b by its stem: the corrected one of the first module is `fig2b`, others add their variant or module to
    it.

    The pictures are those of trained adapters, a row a rank; of random ones of the same rank the numbers are enough.
    """
    table, scores = folder.table("ranks"), folder.table("rank_scores")
    if table is None:
        return {}
    table = table[table["model"] == "trained"]
    # there is no mean of pictures: they are one adapter's, with the numbers of all below
    whose = f", fold {folder.shown[0].fold}" if len(folder.shown) > 1 else ""
    made = {}
    for position, module in enumerate(main_module_first(table)):
        for variant in VARIANT_TITLES:
            part = table[(table["module"] == module) & (table["variant"] == variant)]
            if part.empty:
                continue
            stem = "-".join(["fig2b", *([module] if position else []), *([variant] if variant != "corrected" else [])])
            made[stem] = _grid(part, scores, f"{module}, {VARIANT_TITLES[variant]}{whose}")
    return made


def main_module_first(table: pd.DataFrame) -> list[str]:
    """The adapted modules of a table; v_proj, the paper's, comes first."""
    return sorted(table["module"].unique(), key=lambda module: (module != "v_proj", module))


def score_of(scores: pd.DataFrame | None, key: dict[str, Any]) -> dict[str, Any] | None:
    """The row of scores of one picture; None where there is none."""
    if scores is None:
        return None
    rows = records(scores[(scores[list(key)] == pd.Series(key)).all(axis=1)])
    return rows[0] if rows else None


def _lines(scores: pd.DataFrame | None, key: dict[str, Any]) -> str:
    """What is measured on one panel's clips, and on a random adapter's, in three short lines."""
    row = score_of(scores, key)
    if row is None:
        return "no scores"
    lines = [
        f"silhouette {row['silhouette']:+.2f} · kNN {row['knn']:.2f}",
        f"probe UAR {row['probe_uar']:.2f} [{row['probe_low']:.2f}, {row['probe_high']:.2f}]",
    ]
    random = score_of(scores, key | {"model": "gaussian"})
    if random is not None:
        lines.append(f"random A: {random['probe_uar']:.2f} [{random['probe_low']:.2f}, {random['probe_high']:.2f}]")
    return "\n".join(lines).replace("-", "−")


def _grid(table: pd.DataFrame, scores: pd.DataFrame | None, title: str) -> Figure:
    ranks, depths = sorted(table["rank"].unique()), sorted(table["layer"].unique())
    figure, body, panels = grid(len(ranks), len(depths), 0.75 + 1.85 * len(ranks))
    place = {column: table[column].iloc[0] for column in ("model", "module", "variant")}
    for line, rank in enumerate(ranks):
        for axes, layer in zip(panels[line], depths, strict=True):
            _panel(axes, table[(table["rank"] == rank) & (table["layer"] == layer)])
            if not len(axes.collections):
                axes.spines[:].set_visible(False)  # a recovered adapter has a rank of its own in every layer
            else:
                axes.set_xlabel(
                    _lines(scores, place | {"rank": rank, "layer": layer}), fontsize=now().small, linespacing=1.35
                )
            if line == 0:
                axes.set_title(f"layer {layer}")
        panels[line][0].set_ylabel(f"r = {rank}", fontsize=now().text + 0.5)
    body.suptitle(title, fontsize=now().text + 0.5, x=0.01, ha="left")
    legend_below(body, list(panels.flat), table["emotion"].nunique())
    return figure


def _panel(axes: Axes, points: pd.DataFrame) -> None:
    for index, emotion in enumerate(sorted(points["emotion"].unique())):
        part = points[points["emotion"] == emotion]
        colour, marker = CYCLE[index % len(CYCLE)], MARKERS[index % len(MARKERS)]
        axes.scatter(part["x"], part["y"], s=9, alpha=0.85, linewidths=0, label=emotion, color=colour, marker=marker)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.margins(0.08)
