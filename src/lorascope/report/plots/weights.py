"""Figure 8 on the page: the update's own spectrum, what of it lies in W's leading subspaces, and its intruders; and
whether other adapters learn its directions again.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...findings import recurrence
from ...store.finished import FinishedRun
from ..figures.rank_space import main_module_first
from .spec import LAYER, Axis, Curve, Facet, Look, Panel, Plot, View, band, curve, look_of, where

SIDES = {"left": ("columns", Look("blue")), "right": ("rows", Look("green", symbol="square"))}


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 8 for each kind of module; None where weights were not measured."""
    tables = {stem: folder.table(stem) for stem in ("weights", "weight_spectra", "intruders")}
    weights = tables["weights"]
    if weights is None:
        return None

    def view(choice: Mapping[str, str]) -> View:
        rows = {name: where(table, module=choice["module"]) for name, table in tables.items() if table is not None}
        panels = [_subspaces(rows["weights"])]
        if "weight_spectra" in rows:
            panels.insert(0, _spectrum(rows["weight_spectra"]))
        if "intruders" in rows:
            panels.append(_intruders(rows["intruders"]))
        return [panels]

    modules = main_module_first(weights)
    return Plot("fig8", view, (Facet("module", "Module", {module: module for module in modules}),))


def again(folder: FinishedRun) -> Plot | None:
    """Whether directions are learnt again, a panel for each kind of module; None where nothing was compared."""
    table = folder.table("recurrence")
    if table is None or not len(recurrence.learnt_again(table, folder.shown[0].name)):
        return None
    method = folder.shown[0].name
    pairs = (
        ("adapters", recurrence.learnt_again(table, method), Look("blue", width=2.5)),
        ("an adapter and one of shuffled labels", recurrence.by_chance(table, method), Look("muted", "dash", "square")),
    )

    def view(_: Mapping[str, str]) -> View:
        panels = []
        for module in main_module_first(table):
            curves: list[Curve] = []
            for words, chosen, look in pairs:
                rows = where(chosen, module=module)
                rows = rows.rename(columns={"lowest": "mean_cos2_low", "highest": "mean_cos2_high"})
                start = ", begun alike" if set(rows["start"]) == {recurrence.SHARED} else ""
                name = f"{words}{start} (band: lowest and highest pair)"
                curves += curve(rows, "mean_cos2", name, look)
            random = where(pairs[0][1], module=module)
            curves += curve(random, "null_high", "random subspaces, at most", Look("ink", "dot", "cross", 1.2))
            axis = Axis(f"mean cos², first {recurrence.LEADING} directions", low=0)
            panels.append(Panel(module, LAYER, axis, tuple(curves)))
        return [panels[at : at + 3] for at in range(0, len(panels), 3)]

    return Plot("fig8-again", view)


def _spectrum(rows: pd.DataFrame) -> Panel:
    curves: list[Curve] = []
    for layer in sorted(rows["layer"].unique()):
        curves += curve(where(rows, layer=layer), "sigma", f"layer {layer}", look_of(int(layer)), over="index")
    return Panel("singular values of ΔW", Axis("direction"), Axis("σ", "log"), tuple(curves))


def _subspaces(rows: pd.DataFrame) -> Panel:
    curves: list[Curve] = []
    for side, (words, look) in SIDES.items():
        curves += curve(rows, f"{side}_share", f"{words} within W's first k", look)
        null = Look(look.colour, "dot", look.symbol, 1.2)
        curves += curve(rows, f"{side}_null_high", f"{words}: random, at most", null)
    return Panel("within W's leading subspaces", LAYER, Axis("share of ΔW's energy", low=0), tuple(curves))


def _intruders(rows: pd.DataFrame) -> Panel:
    means = rows.groupby("epsilon", as_index=False)[["count", "null", "null_low", "null_high"]].mean()
    curves = curve(means, "count", "trained, mean over layers", Look("vermillion"), over="epsilon")
    curves += curve(means, "null", "random of equal norm and rank", Look("muted", "dash", "x"), over="epsilon")
    null = band(means, "null_low", "null_high", "random, 95 %", "muted", over="epsilon")
    axis = Axis("ε (largest |cos| to W's own)")
    return Panel("intruder dimensions", axis, Axis("intruders among the first 10"), curves, null)
