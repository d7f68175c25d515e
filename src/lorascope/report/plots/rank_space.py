"""Figure 2b on the page: the clips in the adapter's rank space, coloured by what the reader asks, each one playable."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from ..figures.rank_space import main_module_first, score_of
from .spec import LAYER, MODELS, Axis, Curve, Facet, Panel, Plot, View, curve, look_of, only, where

VARIANTS = {"corrected": "corrected", "released": "released"}
ABOUT = {
    "corrected": "Means over speech frames of A·x, t-SNE.",
    "released": "As the released notebook: all frames flattened into one vector a clip, t-SNE.",
}
COLOURINGS = {"emotion": "class", "speaker": "speaker", "answer": "right or wrong"}
ANSWERS = {True: "right", False: "wrong"}


def plot(folder: FinishedRun) -> Plot | None:
    """Figure 2b for each rank, layer, module, model, variant and colouring; None where it was not measured."""
    table, scores = folder.table("ranks"), folder.table("rank_scores")
    if table is None:
        return None
    table = table[table["x"].notna()]
    right = _right(folder)
    table = table.assign(answer=table["clip"].map(right).map(ANSWERS).fillna("not tested"))
    ranks = sorted(table["rank"].unique(), key=lambda rank: (rank != _main_rank(table), rank))
    layers = sorted(table["layer"].unique(), reverse=True)
    colourings = {
        key: folder.task if key == "emotion" else words
        for key, words in COLOURINGS.items()
        if key != "answer" or len(right)
    }

    def view(choice: Mapping[str, str]) -> View | None:
        key = {
            "module": choice["module"],
            "model": choice["model"],
            "rank": int(choice["rank"]),
            "variant": choice["variant"],
        }
        at = key | {"layer": int(choice["layer"])}
        points = where(table, **at)
        # a recovered adapter has a rank of its own in every layer
        return [[_cloud(points, score_of(scores, at), choice["colour"]), _scores(scores, key)]] if len(points) else None

    return Plot(
        "fig2b",
        view,
        (
            Facet("layer", "Layer", {str(layer): str(layer) for layer in layers}),
            Facet("colour", "Colour by", colourings),
            Facet("rank", "Rank", {str(rank): str(rank) for rank in ranks}),
            Facet("module", "Module", {module: module for module in main_module_first(table)}),
            Facet("model", "Adapter", {model: model for model in _trained_first(table)}),
            only("variant", "Variant", VARIANTS, table["variant"].unique(), about=ABOUT),
        ),
    )


def _main_rank(table: pd.DataFrame) -> int:
    # the one of which there are pictures of random adapters, else the largest
    random = table.loc[table["model"] != "trained", "rank"]
    return int(random.iloc[0] if len(random) else table["rank"].max())


def _trained_first(table: pd.DataFrame) -> list[str]:
    return sorted(table["model"].unique(), key=lambda model: (model != "trained", model))


def _right(folder: FinishedRun) -> dict[str, bool]:
    """Whether the analysed adapter answers a clip as it should, by the clips that its own cell was tested on."""
    # an analysis names its own cell first, then what it is compared with
    own = next(iter(folder.shown[0].about.get("cells", ())), None) if folder.analyses else None
    for cell in folder.cells:
        if cell.hash == own:
            tested = folder.predictions(cell)
            return dict(zip(tested["clip"], tested["emotion"] == tested["predicted"], strict=True))
    return {}


def _cloud(points: pd.DataFrame, score: dict | None, colouring: str) -> Panel:
    curves = []
    for number, value in enumerate(sorted(points[colouring].unique())):
        part = points[points[colouring] == value]
        words = [
            f"{clip}<br>{what}, speaker {who}"
            for clip, what, who in zip(part["clip"], part["emotion"], part["speaker"], strict=True)
        ]
        curves.append(
            Curve(
                str(value),
                look_of(number),
                part["x"].tolist(),
                part["y"].tolist(),
                words=words,
                clips=part["clip"].tolist(),
                marks=True,
            )
        )
    title = ""
    if score is not None:
        title = f"probe UAR {score['probe_uar']:.2f}, silhouette {score['silhouette']:+.2f}".replace("-", "−")
    return Panel(title, Axis(kind="none"), Axis(kind="none"), tuple(curves))


def _scores(scores: pd.DataFrame | None, key: dict) -> Panel:
    curves = []
    if scores is not None:
        scores = scores.rename(columns={"probe_low": "probe_uar_low", "probe_high": "probe_uar_high"})
        for model in _trained_first(scores):
            rows = where(scores, **(key | {"model": model}))
            curves += curve(
                rows, "probe_uar", f"{model}: probe", MODELS.get(model, look_of(3)), quiet=model != "trained"
            )
    return Panel("how well a probe reads the class", LAYER, Axis("UAR of the probe", low=0, high=1.04), tuple(curves))
