"""Figure 3 on the page, e and f: how alike the two sides of the adapter are, on an axis that shows the differences."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from ..figures.cka import TRAINED
from ..figures.rank_space import main_module_first
from .spec import LAYER, Axis, Curve, Facet, Look, Panel, Plot, View, band, curve, look_of, only, where

VARIANTS = {"corrected": "corrected", "paper": "paper", "released": "released"}
ABOUT = {
    "corrected": "Debiased: clips that have nothing to do with each other give 0.",
    "paper": "As published: biased, so that clips that have nothing to do with each other lie far above 0.",
    "released": "As the released notebook: of pairs that the paper's text doesn't name.",
}
QUANTITIES = {"activation": "(e) forward, activations", "gradient": "(f) backward, gradients"}
KERNELS = {"linear": "linear", "rbf": "RBF"}


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 3 e and f for each module, variant and kernel; None where CKA was not measured."""
    table = folder.curves("cka")
    if table is None:
        return None
    table = table[table["value"].notna()].rename(columns={"ci_low": "value_low", "ci_high": "value_high"})
    pairs = sorted(table["pair"].unique(), key=lambda pair: (pair != TRAINED, pair))
    looks = {pair: Look("blue", width=2.5) if pair == TRAINED else look_of(n) for n, pair in enumerate(pairs)}

    def view(choice: Mapping[str, str]) -> View:
        rows = where(table, module=choice["module"], variant=choice["variant"], kernel=choice["kernel"])
        return [[_panel(where(rows, quantity=quantity), words, looks) for quantity, words in QUANTITIES.items()]]

    return Plot(
        "cka",
        view,
        (
            Facet("module", "Module", {module: module for module in main_module_first(table)}),
            only("variant", "Variant", VARIANTS, table["variant"].unique(), about=ABOUT),
            only("kernel", "Kernel", KERNELS, table["kernel"].unique()),
        ),
    )


def _panel(rows: pd.DataFrame, title: str, looks: Mapping[str, Look]) -> Panel:
    curves: list[Curve] = []
    for pair, look in looks.items():
        words = pair.replace("~", " ~ ").replace(":", ": ")
        curves += curve(where(rows, pair=pair), "value", words, look, quiet=pair != TRAINED)
    null = band(where(rows, pair=TRAINED), "null_low", "null_high", "its null (clips shuffled)", "muted")
    return Panel(title, LAYER, Axis("CKA"), tuple(curves), null)
