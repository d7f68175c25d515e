"""Figure 1 on the page: how much each layer's attention, MLP and whole block add, frozen, trained, and the change."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from ..figures.contribution import COMPONENTS, FRAMES
from .spec import LAYER, MODELS, Axis, Facet, Level, Panel, Plot, View, curve, only, where

QUANTITIES = {"ratio": "relative norm", "cosine": "cosine with input"}
VARIANTS = {"corrected": "corrected", "same-input": "same input", "paper": "paper"}
ABOUT = {
    "corrected": "Speech frames alone; attention against the block's input, the MLP against its own.",
    "same-input": "Both models are fed the frozen model's stream, so that only what the block itself does is left.",
    "paper": "As published: all frames, padding too, and everything against the block's input.",
}
SHOWN = {"change": "trained − frozen", "models": "both models"}


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 1 for each variant, as change or as both models; None where contribution was not measured."""
    table, control = folder.curves("contribution"), folder.control("contribution")
    if table is None:
        return None
    table = table[table["frames"] == table["variant"].map(FRAMES)]
    models = set(table["model"])
    shown = [key for key in SHOWN if key != "change" or "difference" in models]

    def view(choice: Mapping[str, str]) -> View:
        return [
            [_panel(table, control, choice, component, quantity) for component in COMPONENTS] for quantity in QUANTITIES
        ]

    return Plot(
        "fig1",
        view,
        (
            only("variant", "Variant", VARIANTS, table["variant"].unique(), about=ABOUT),
            Facet("shown", "Shown", {key: SHOWN[key] for key in shown}),
        ),
    )


def _panel(
    table: pd.DataFrame, control: pd.DataFrame | None, choice: Mapping[str, str], component: str, quantity: str
) -> Panel:
    wanted = {"component": component, "variant": choice["variant"]}
    change = choice["shown"] == "change"
    curves = []
    for model in ("difference",) if change else ("frozen", "trained"):
        name = "trained − frozen" if change else model
        curves += curve(where(table, model=model, **wanted), quantity, name, MODELS[model])
    if control is not None:
        rows = where(control, model="difference" if change else "trained", frames=FRAMES[choice["variant"]], **wanted)
        curves += curve(rows, quantity, "trained on shuffled labels", MODELS["shuffled labels"])
    words = QUANTITIES[quantity] + (", trained − frozen" if change else "")
    levels = (Level(0.0),) if change or quantity == "cosine" else ()
    return Panel(COMPONENTS[component], LAYER, Axis(words), tuple(curves), levels=levels)
