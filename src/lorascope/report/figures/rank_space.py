"""Figure 2b: where the clips lie in the adapter's rank space, rank by depth, and how well they separate in numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lorascope.report.figures.style import CYCLE, MARKERS, TWO_COLUMNS, legend_below, new_figure
from lorascope.report.folder import RunFolder

VARIANT_TITLES = {
    "corrected": "corrected: mean over speech frames, t-SNE",
    "released": "released: all frames flattened, t-SNE",
}


def figures(folder: RunFolder) -> dict[str, Figure]:
    """Figure 2b by its stem: the corrected one of the first module is `fig2b`, others add their variant or module to it."""
    table, scores = folder.table("ranks"), folder.table("rank_scores")
    if table is None:
        return {}
    made = {}
    for position, module in enumerate(main_module_first(table)):
        for variant in VARIANT_TITLES:
            part = table[(table["module"] == module) & (table["variant"] == variant)]
            if part.empty:
                continue
            stem = "-".join(["fig2b", *([module] if position else []), *([variant] if variant != "corrected" else [])])
            made[stem] = _grid(part, scores, f"{module}, {VARIANT_TITLES[variant]}")
    return made


def main_module_first(table: pd.DataFrame) -> list[str]:
    """The adapted modules of a table; v_proj, the paper's, comes first."""
    return sorted(table["module"].unique(), key=lambda module: (module != "v_proj", module))


def score_lines(scores: pd.DataFrame | None, key: dict[str, Any]) -> list[str]:
    """What is measured on one panel's clips, in at most three short lines."""
    if scores is None:
        return ["no scores"]
    rows = scores[(scores[list(key)] == pd.Series(key)).all(axis=1)]
    if rows.empty:
        return ["no scores"]
    row = rows.iloc[0]
    return [
        f"silhouette {row['silhouette']:+.2f} · kNN {row['knn']:.2f}".replace("-", "−"),
        f"probe UAR {row['probe_uar']:.2f} [{row['probe_low']:.2f}, {row['probe_high']:.2f}]",
    ]


def _grid(table: pd.DataFrame, scores: pd.DataFrame | None, title: str) -> Figure:
    rows = list(table[["model", "rank"]].drop_duplicates().sort_values(["rank", "model"]).itertuples(index=False))
    depths = sorted(table["layer"].unique())
    figure, body = new_figure(TWO_COLUMNS, 0.75 + 1.75 * len(rows))
    panels = body.subplots(len(rows), len(depths), squeeze=False)
    several = table.groupby("rank")["model"].nunique().max() > 1
    for line, (model, rank) in enumerate(rows):
        for axes, layer in zip(panels[line], depths, strict=True):
            part = table[(table["model"] == model) & (table["rank"] == rank) & (table["layer"] == layer)]
            _panel(axes, part)
            first = table.iloc[0]
            key = {"model": model, "rank": rank, "layer": layer, "module": first["module"], "variant": first["variant"]}
            axes.set_xlabel("\n".join(score_lines(scores, key)), fontsize=6, linespacing=1.35)
            if line == 0:
                axes.set_title(f"layer {layer}")
        panels[line][0].set_ylabel(f"{model}, r = {rank}" if several else f"r = {rank}", fontsize=8.5)
    body.suptitle(title, fontsize=8.5, x=0.01, ha="left")
    legend_below(body, [panels[0][0]], table["emotion"].nunique())
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
