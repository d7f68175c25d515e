"""The confusion matrices of Table 1: all test clips of all folds, a panel a method."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...findings.scores import confusion
from ...store.finished import FinishedRun
from .sheet import now
from .style import TWO_COLUMNS, grid


def figures(folder: FinishedRun) -> dict[str, Figure]:
    """The figure by its stem; empty where no cell was trained."""
    table = confusion(folder.path)
    if table.empty:
        return {}
    groups = list(table.groupby(["backbone", "label"], sort=False))
    columns = min(3, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure, _, panels = grid(rows, columns, 2.7 * rows, min(TWO_COLUMNS, 2.9 * columns), count=len(groups))
    several = table["backbone"].nunique() > 1
    for axes, ((backbone, label), part) in zip(panels.flat, groups, strict=False):
        _panel(axes, part)
        axes.set_title(f"{backbone}: {label}" if several else str(label))
    return {"confusion": figure}


def _panel(axes: Axes, table: pd.DataFrame) -> None:
    classes = list(dict.fromkeys(table["emotion"]))
    shares, clips = (
        table.pivot(index="emotion", columns="predicted", values=column).loc[classes, classes].to_numpy()
        for column in ("share", "clips")
    )
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(shares.shape):
        colour = "white" if shares[row, column] > 0.72 else "black"
        # Not the ink that the page swaps in the dark: the cell below stays light.
        text = "–" if np.isnan(shares[row, column]) else f"{shares[row, column]:.2f}"
        if now().print:
            text = text.removeprefix("0")
        elif text != "–":
            text += f"\n({clips[row, column]})"
        axes.text(column, row, text, ha="center", va="center", fontsize=now().small, color=colour)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
