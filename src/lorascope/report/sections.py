"""The parts of the page that show a figure each: their words, what they need, and the tables that stand below."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..store.finished import FinishedRun
from . import readings

Table = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One figure's part of the page. `how` names the macro that explains it; `needs` the tables without which there is nothing to show."""

    id: str
    title: str
    stem: str
    alt: str
    needs: tuple[str, ...]
    read: tuple[Callable[[FinishedRun], list[str]], ...]
    panels: tuple[str, ...] = ()
    tables: Callable[[FinishedRun], list[Table]] = field(default=lambda _: [])


def table(frame: pd.DataFrame, caption: str, digits: int = 3) -> Table:
    """A frame as the template's table: heads, and rows of (text, value to sort by, whether it is a number)."""
    rows = [[_cell(value, digits) for value in row] for row in frame.itertuples(index=False, name=None)]
    return {"caption": caption, "heads": [str(column) for column in frame.columns], "rows": rows}


def _cell(value: Any, digits: int) -> tuple[str, str, bool]:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–", "", True
    if isinstance(value, bool):
        return ("yes" if value else "no"), str(value), False
    if isinstance(value, float):
        shown = f"{value:.{digits}f}" if abs(value) >= 10**-digits or value == 0 else f"{value:.2g}"
        return shown.replace("-", "−") if "e" not in shown else shown, repr(value), True
    if hasattr(value, "__index__"):
        return f"{value:,}", str(value), True
    return str(value), str(value), False


def _score_table(folder: FinishedRun) -> list[Table]:
    scores = folder.table("rank_scores")
    if scores is None:
        return []
    columns = ["model", "rank", "layer", "module", "variant", "silhouette", "silhouette_null", "knn", "knn_null"]
    columns += ["probe_uar", "probe_low", "probe_high"]
    return [table(scores[columns], "Separation of the classes in rank space, beside what shuffled labels give (null)")]


def _k90_table(folder: FinishedRun) -> list[Table]:
    summary = folder.table("spectra_summary")
    if summary is None:
        return []
    keys = ["module", "factor", "quantity", "variant", "model"]
    means = (
        summary.groupby(keys, sort=False)[["k90", "participation", "entropy_rank", "trained_ratio"]]
        .mean()
        .reset_index()
    )
    means = means.rename(columns={"trained_ratio": "k90 trained / this"})
    return [table(means, "Effective dimensions, mean over layers", digits=2)]


def _cka_table(folder: FinishedRun) -> list[Table]:
    similarity = folder.table("cka")
    if similarity is None:
        return []
    keys = ["module", "quantity", "pair", "variant", "kernel", "estimator"]
    means = (
        similarity.groupby(keys, sort=False)[["value", "ci_low", "ci_high", "null_low", "null_high"]]
        .mean()
        .reset_index()
    )
    return [table(means, "CKA, mean over layers (of the values and of the ends of their intervals)", digits=2)]


SECTIONS = (
    Section(
        "contribution",
        "Figure 1: layer contribution",
        "fig1",
        "Relative norm and cosine of attention, MLP and both, by layer, trained less frozen, in three variants.",
        ("contribution",),
        (readings.contribution_reading,),
        ("fig1",),
    ),
    Section(
        "lens",
        "Figure 2a: logit lens",
        "fig2a",
        "KL from the final answer and overlap with it, by layer, for the released, paper and corrected lens.",
        ("lens",),
        (readings.lens_reading,),
        ("fig2a",),
    ),
    Section(
        "ranks",
        "Figure 2b: rank space",
        "fig2b",
        "Each clip as a point in the adapter's rank space, a row a rank, a column a depth, coloured by class.",
        ("ranks", "rank_scores"),
        (readings.ranks_reading,),
        ("fig2b",),
        _score_table,
    ),
    Section(
        "spectra",
        "Figure 3: spectra and CKA",
        "fig3",
        "Energy held by the first k directions, trained against random adapters, and CKA of A and B by layer.",
        ("spectra", "spectra_summary", "cka"),
        (readings.spectra_reading, readings.cka_reading),
        ("fig3", "cka"),
        lambda folder: [*_k90_table(folder), *_cka_table(folder)],
    ),
    Section(
        "erasure",
        "Figure 4: erasure",
        "fig4",
        "Change in UAR, loss and confidence when a block, or all blocks up to it, is skipped.",
        ("erasure",),
        (readings.erasure_reading,),
    ),
)
