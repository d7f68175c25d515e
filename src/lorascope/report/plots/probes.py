"""Figure 9 on the page: what a linear probe reads off the stream at every depth, beside its control task."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from ..figures.probes import WORDS
from ..rows import means
from .spec import DEPTH, MODELS, Axis, Curve, Look, Panel, Plot, View, curve, where

COLUMNS = 3


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 9, a panel a target; None where nothing was probed."""
    table, control = folder.curves("probes"), folder.control("probes")
    if table is None:
        return None
    targets = [name for name in WORDS if name in set(table["target"])]

    def view(_: Mapping[str, str]) -> View:
        panels = [_panel(table, control, target) for target in targets]
        return [panels[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)]

    return Plot("fig9", view)


def _panel(table: pd.DataFrame, control: pd.DataFrame | None, target: str) -> Panel:
    table = where(table, target=target).rename(columns={"depth": "layer"})
    curves: list[Curve] = []
    for model in ("trained", "frozen"):
        rows, look = where(table, model=model), MODELS[model]
        curves += curve(rows, "score", model, look)
        curves += curve(
            means(rows), "control_task", f"{model}: control task", Look(look.colour, "dot", look.symbol, 1.2)
        )
    if control is not None:
        rows = where(control, target=target, model="trained").rename(columns={"depth": "layer"})
        curves += curve(rows, "score", "trained on shuffled labels", MODELS["shuffled labels"])
    uar = bool((table["metric"] == "uar").any())
    # an R² far below 0 says no more than one a little below
    axis = Axis("UAR" if uar else "R²", low=0 if uar else -0.5, high=1.04)
    return Panel(WORDS[target], DEPTH, axis, tuple(curves))
