"""Figure 11 on the page: what each attention head adds directly to the gold class, and to the stream."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from ..figures.heads import WORDS
from .spec import Axis, Facet, Map, Panel, Plot, View, where

NUMBERS = {"gold": "to the gold class (logits)", "ratio": "norm of what it adds / norm of the stream"}
ABOUT = {
    "gold": "Direct contribution to the gold class, the final LayerNorm taken at the clip's own statistics; a dot "
    "where its interval lies outside its null.",
    "ratio": "Its output through its slice of the output projection against the stream that it is added to.",
}


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 11 for either number; None where heads were not taken apart."""
    table = folder.table("heads")
    if table is None:
        return None
    numbers = {name: words for name, words in NUMBERS.items() if table[name].notna().any()}

    def view(choice: Mapping[str, str]) -> View:
        number = choice["adds"]
        there = [model for model in WORDS if where(table, model=model)[number].notna().any()]
        return [[_map(where(table, model=model), number, WORDS[model]) for model in there]]

    return Plot("fig11", view, (Facet("adds", "Number", numbers, ABOUT),))


def _map(rows: pd.DataFrame, number: str, title: str) -> Panel:
    grid = rows.pivot(index="layer", columns="head", values=number)
    signed = number == "gold" or title == WORDS["difference"]
    if number == "gold":
        clear = rows[(rows["gold_low"] > rows["null_high"]) | (rows["gold_high"] < rows["null_low"])]
    else:
        clear = rows[(rows["ratio_low"] > 0) | (rows["ratio_high"] < 0)] if signed else rows.iloc[:0]
    found = Map(
        grid.columns.tolist(),
        grid.index.tolist(),
        grid.to_numpy().tolist(),
        NUMBERS[number],
        signed,
        list(zip(clear["head"].tolist(), clear["layer"].tolist(), strict=True)),
    )
    return Panel(title, Axis("head"), Axis("layer"), map=found)
