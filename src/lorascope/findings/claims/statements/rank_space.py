"""Statements on what a higher rank separates (the paper's Figure 2b)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from ....statistics.decisions import ordered, page
from ..setting import Setting, Unit
from ..statement import Lacking, Part, Statement

RANKS = (8, 32, 64)
#: From the class that is said to need the lowest rank to the one that needs the highest.
NEEDS = ("neutrality", "sadness", "anger", "happiness")
#: Rank spaces have no variant `paper`: the text leaves open what the released code does.
NAMES = {"paper": "released"}


def deepest(setting: Setting, unit: Unit, stem: str, variant: str) -> pd.DataFrame:
    """Rows of the trained adapters at the deepest block. Raises `Lacking` where a rank is missing."""
    table = setting.table(unit, stem)
    rows = table[
        (table["model"] == "trained")
        & (table["layer"] == setting.layers - 1)
        & (table["variant"] == NAMES.get(variant, variant))
    ]
    there = set(rows["rank"].astype(int))
    missing = [rank for rank in RANKS if rank not in there]
    if missing:
        beside = [rank for rank in RANKS if rank != setting.method.get("rank")]
        why = f"{unit.words}: no adapter of rank {' and '.join(map(str, missing))}"
        raise Lacking(why, ("analysis:", "  folds: all", f"  ranks: [{', '.join(map(str, beside))}]"))
    return rows[rows["rank"].isin(RANKS)]


def slope(by_rank: pd.Series) -> float:
    """Least-squares slope of a number over log2 of its index, the rank; NaN where one is."""
    x, y = np.log2(np.array(RANKS)), by_rank.reindex(RANKS).to_numpy(dtype=float)
    x = x - x.mean()
    return float(x @ (y - y.mean()) / (x @ x))


def separates(value: str) -> Callable[[Setting, Unit, str], float]:
    """Slope over log2 rank of a number of the rank space, the mean of several adapted modules."""

    def statistic(setting: Setting, unit: Unit, variant: str) -> float:
        return slope(deepest(setting, unit, "rank_scores", variant).groupby("rank")[value].mean())

    return statistic


def recalls(setting: Setting, unit: Unit, variant: str) -> pd.DataFrame:
    """Recall of each class by the rank space's probe, a row a rank and a column a class."""
    missing = [name for name in NEEDS if name not in setting.classes]
    if missing:
        lines = ("corpus:", f"  classes: [{', '.join(NEEDS)}]")
        raise Lacking(f"the classes lack {' and '.join(missing)}", lines)
    rows = deepest(setting, unit, "ranks", variant)
    if "predicted" not in rows or rows["predicted"].isna().any():
        raise Lacking(
            f"{unit.words}: `ranks` doesn't tell what the probe says of each clip (measured by an earlier version, or "
            "a class has a single clip)",
            ("# the command that made the run measures it again",),
        )
    hits = (rows["predicted"] == rows["emotion"]).astype(float)
    return hits.groupby([rows["rank"], rows["emotion"]]).mean().unstack()


def needs(setting: Setting, unit: Unit, variant: str) -> float:
    """How far the classes' slopes of recall over log2 rank follow the stated order, from −1 to 1."""
    found = recalls(setting, unit, variant)
    # equal recalls have equal slopes but for rounding, and share their ranks
    return ordered(np.round([slope(found[name]) for name in NEEDS], 12))


STATEMENTS = (
    Statement(
        "g",
        "rank",
        "A higher rank separates emotions better",
        (
            Part("deepest block: slope of probe UAR over log2 rank", 1, "none", separates("probe_uar")),
            Part("deepest block: slope of silhouette over log2 rank", 1, "none", separates("silhouette")),
        ),
        ("rank_scores",),
    ),
    Statement(
        "g'",
        "rank",
        "The rank that is needed rises from neutrality over sadness and anger to happiness",
        (
            Part(
                "order of the classes' slopes of probe recall over log2 rank (Page's L, −1 to 1)",
                1,
                "none",
                needs,
                lambda followed: page(followed, len(NEEDS)),
            ),
        ),
        ("ranks",),
    ),
)
