"""Readings of a training's course."""

from __future__ import annotations

import pandas as pd
from scipy.stats import spearmanr

from ...store.finished import FinishedRun
from .words import layers_in_words

WORDS = {
    "norm": "the update's size",
    "direction": "its direction",
    "contribution": "what each layer's adapter adds",
    "lens": "what the head reads at each layer",
}


def trajectory_reading(folder: FinishedRun) -> list[str]:
    """Figure 12: when each layer became what it is, and whether early layers did so before late ones."""
    table = folder.table("trajectory_half")
    if table is None:
        return []
    sentences = []
    for quantity, words in WORDS.items():
        rows = table[(table["quantity"] == quantity) & table["half"].notna()]
        by_layer = rows.groupby("layer")["half"].mean()
        if by_layer.empty:
            continue
        text = (
            f"Half way to its last value, {words}: epoch {by_layer.min():.2f} to {by_layer.max():.2f} over the layers"
        )
        sentences.append(f"{text}{_order(by_layer)}.")
    lost = table[table["half"].isna()]
    if len(lost):
        sentences.append(
            f"Not to be told at layers {layers_in_words(lost['layer'])} for some of them: no way was gone."
        )
    return [*sentences, "The last value is that of the last moment asked for, not of the epoch that was kept."]


def _order(by_layer: pd.Series) -> str:
    if len(by_layer) < 3:
        return ""
    if by_layer.nunique() == 1:
        return ", all alike"
    correlation = float(spearmanr(by_layer.index, by_layer)[0])  # pyright: ignore[reportArgumentType]
    return f" (rank correlation of layer and epoch {correlation:+.2f})".replace("-", "−")
