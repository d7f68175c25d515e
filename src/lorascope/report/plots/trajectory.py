"""Figure 12 on the page: the adapter along its training, a curve a layer."""

from __future__ import annotations

from collections.abc import Mapping

from ...findings.along_training import FOLLOWED
from ...store.finished import FinishedRun
from ..figures.trajectory import PANELS, rows_of
from .spec import Axis, Curve, Panel, Plot, View, curve, look_of, where


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 12; None where no trajectory was asked for."""
    tables = {name: rows_of(folder, name) for name in PANELS}
    if tables["contribution"].empty:
        return None

    def view(_: Mapping[str, str]) -> View:
        panels = []
        for (name, words), letter in zip(PANELS.items(), "abcd", strict=True):
            table, column = tables[name], FOLLOWED[name][2]
            curves: list[Curve] = []
            for layer in sorted(map(int, table["layer"].unique())):
                mean = where(table, layer=layer).groupby("epoch", as_index=False)[[column]].mean()
                curves += curve(mean, column, f"layer {layer}", look_of(layer), over="epoch")
            panels.append(Panel(f"({letter}) {words}", Axis("epoch"), Axis(), tuple(curves)))
        return [panels[:2], panels[2:]]

    return Plot("fig12", view)
