"""The confusion matrices of Table 1 on the page: all test clips of all folds, a map a method."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...findings.scores import confusion
from ...store.finished import FinishedRun
from .spec import Axis, Map, Panel, Plot, View

COLUMNS = 3


def plot(folder: FinishedRun) -> Plot | None:
    """The maps; None where no cell was trained."""
    table = confusion(folder.path)
    if table.empty:
        return None

    def view(_: Mapping[str, str]) -> View:
        several = table["backbone"].nunique() > 1
        panels = [
            _panel(part, f"{backbone}: {label}" if several else str(label))
            for (backbone, label), part in table.groupby(["backbone", "label"], sort=False)
        ]
        return [panels[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)]

    return Plot("confusion", view)


def _panel(table: pd.DataFrame, title: str) -> Panel:
    classes = list(dict.fromkeys(table["emotion"]))[::-1]
    shares, clips = (
        table.pivot(index="emotion", columns="predicted", values=column).loc[classes, classes[::-1]]
        for column in ("share", "clips")
    )
    text = [
        [f"{share:.2f}<br>({clip:g})" if pd.notna(share) else "–" for share, clip in zip(line, counts, strict=True)]
        for line, counts in zip(shares.to_numpy(), clips.to_numpy(), strict=True)
    ]
    found = Map(classes[::-1], classes, shares.to_numpy().tolist(), "share of the class", ends=(0.0, 1.0), text=text)
    return Panel(title, Axis("predicted"), Axis("gold"), map=found)
