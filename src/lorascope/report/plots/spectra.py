"""Figure 3 on the page, a to d: how few directions the adapter uses, by layer or as curves of energy."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from ..figures.rank_space import main_module_first
from ..figures.spectra import PANELS
from .spec import LAYER, MODELS, Axis, Facet, Level, Panel, Plot, View, curve, only, where

VARIANTS = {
    "corrected": "corrected",
    "corrected-balanced": "corrected, balanced",
    "paper": "paper",
    "released": "released",
}
ABOUT = {
    "corrected": "Speech frames, in a gauge of which A and B are no artefact.",
    "corrected-balanced": "As corrected, with A and B scaled to the same norm.",
    "paper": "As published: all frames, padding too.",
    "released": "As the released notebook: where it says B's gradient, it shows A's.",
}
NUMBERS = {
    "k90": "directions that hold 90 % of the energy (k90)",
    "participation": "participation ratio",
    "entropy_rank": "entropy rank",
    "energy": "energy of the first k directions",
}


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 3 a to d for each module, variant and number; None where no spectra were measured."""
    summary, energy = folder.curves("spectra_summary"), folder.table("spectra")
    if summary is None:
        return None
    numbers = [name for name in NUMBERS if name != "energy" or energy is not None]

    def view(choice: Mapping[str, str]) -> View:
        panels = []
        for (factor, quantity), letter in zip(PANELS, "abcd", strict=True):
            wanted = {"module": choice["module"], "variant": choice["variant"], "factor": factor, "quantity": quantity}
            title = f"({letter}) {factor} {quantity}s"
            if choice["number"] == "energy" and energy is not None:
                panels.append(_energy(where(energy, **wanted), title))
            else:
                panels.append(_by_layer(where(summary, **wanted), title, choice["number"]))
        return [panels[:2], panels[2:]]

    return Plot(
        "fig3",
        view,
        (
            Facet("module", "Module", {module: module for module in main_module_first(summary)}),
            only("variant", "Variant", VARIANTS, summary["variant"].unique(), about=ABOUT),
            Facet("number", "Number", {name: NUMBERS[name] for name in numbers}),
        ),
    )


def _by_layer(rows: pd.DataFrame, title: str, number: str) -> Panel:
    curves = []
    for model, look in MODELS.items():
        curves += curve(rows[rows["model"] == model], number, model, look)
    words = {"k90": "k90", "participation": "participation ratio", "entropy_rank": "entropy rank"}[number]
    return Panel(title, LAYER, Axis(words), tuple(curves))


def _energy(rows: pd.DataFrame, title: str) -> Panel:
    curves = []
    for model, look in MODELS.items():
        part = rows[(rows["model"] == model) & rows["energy"].notna()]
        mean = part.groupby("index", as_index=False)[["energy"]].mean()
        curves += curve(_sparse(mean), "energy", f"{model}, mean over layers", look, over="index")
    levels = (Level(0.9, "90 %"),)
    return Panel(title, Axis("directions k", "log"), Axis("energy", low=0, high=1.02), tuple(curves), levels=levels)


def _sparse(rows: pd.DataFrame) -> pd.DataFrame:
    """Of a long curve every direction up to 16, then fewer and fewer: on a logarithmic axis nobody sees the rest."""
    kept = sorted({min(int(16 * 1.09**step), int(rows["index"].max())) for step in range(80)}) if len(rows) else []
    return rows[(rows["index"] <= 16) | rows["index"].isin(kept)]
