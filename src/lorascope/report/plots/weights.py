"""Figure 8 on the page: the update's own spectrum, what of it lies in W's leading subspaces, and its intruders."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

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
