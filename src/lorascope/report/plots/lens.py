"""Figure 2a on the page: what the head would say at every depth, all models in one panel."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from ..figures.lens import NAMES, constant
from ..rows import means
from .spec import DEPTH, MODELS, Axis, Curve, Look, Panel, Plot, View, curve, only, where

QUANTITIES = {
    "kl": "KL from the final answer (nats)",
    "overlap": "overlap with the final answer",
    "uar": "UAR",
    "entropy": "entropy (nats)",
    "jsd": "Jensen-Shannon divergence (nats)",
    "top_class_share": "share of the commonest class",
}
#: Shares: their axis is fixed.
SHARES = ("overlap", "uar", "top_class_share")
VARIANTS = {"corrected": "corrected", "paper": "paper", "released": "released"}
ABOUT = {
    "corrected": "Through the final LayerNorm, as the head is fed; KL of the layer's answer from the final one.",
    "paper": "As published: no final LayerNorm, so what the head is given is not of the size that it knows.",
    "released": "As the released notebook: no final LayerNorm, and the KL the other way round.",
}


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 2a for each variant of the lens; None where it was not measured."""
    table, control = folder.curves("lens"), folder.control("lens")
    if table is None:
        return None

    def view(choice: Mapping[str, str]) -> View:
        panels = [_panel(table, control, choice["variant"], quantity) for quantity in QUANTITIES]
        return [panels[:3], panels[3:]]

    return Plot("fig2a", view, (only("variant", "Variant", VARIANTS, table["variant"].unique(), about=ABOUT),))


def _panel(table: pd.DataFrame, control: pd.DataFrame | None, variant: str, quantity: str) -> Panel:
    curves: list[Curve] = []
    for model, name in NAMES.items():
        rows = where(table, model=model, variant=variant)
        curves += curve(rows, quantity, name, MODELS[model], empty=constant)
    if control is not None:
        rows = where(control, model="trained", variant=variant)
        curves += curve(rows, quantity, "trained on shuffled labels", MODELS["shuffled labels"])
    if quantity == "overlap":
        rows = means(where(table, model="trained", variant=variant))
        curves += curve(rows, "chance_overlap", "overlap by chance", Look("muted", "dot", "cross", 1.4))
    if quantity in SHARES:
        return Panel("", DEPTH, Axis(QUANTITIES[quantity], low=-0.02, high=1.04), tuple(curves))
    return Panel("", DEPTH, Axis(QUANTITIES[quantity]), tuple(curves))
