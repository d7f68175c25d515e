"""Whether adapters of different folds and seeds learn the same directions: angles between the input directions of their
updates, matrix by matrix, beside random subspaces.

Adapters that begin with the same A remain alike whatever they learn, so every row says whether its adapters share their
start. Only those that don't can learn a direction *again*.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..statistics.updates import mean_squared_cosine, random_cosines
from ..store.finished import FinishedAnalysis, FinishedRun

STEM = "weight_directions"
#: How many of the directions with the largest σ are compared beside all of them.
LEADING = 4
#: Kinds whose A is drawn at random, from seed and fold; PiSSA's is of W itself, whatever the seed.
DRAWN, OF_W = ("lora", "rslora", "dora", "adalora"), ("pissa",)
#: What is told of the start of two adapters.
SHARED, OWN, NONE, UNKNOWN = "shared", "own", "none", "unknown"

KEYS = ["method", "control", "other", "differ", "start", "module", "layer", "directions"]
COLUMNS = [*KEYS, "mean_cos2", "lowest", "highest", "null", "null_high", "above", "largest_cos", "largest_null"]
COLUMNS += ["largest_above", "dimensions", "pairs"]


def recurrence(run: FinishedRun) -> pd.DataFrame | None:
    """A row for each adapted matrix and kind of pair of a run's adapters; None where there are no two to compare.

    method (with its control) and other: which adapters are compared; differ: in what the two of a pair do ("folds",
    "seeds", "folds and seeds", "" where only the labels are others); start: "shared" (the same A at first), "own",
    "none" (the method draws no A) or "unknown" (adapters made elsewhere); layer, module; directions: the first 4 by σ,
    or all. mean_cos2: mean cos² of the principal angles, its mean over pairs, the lowest and the highest pair; null and
    null_high: mean and 97.5th percentile of a pair of random subspaces as large; above: the share of pairs above
    null_high. largest_cos, largest_null and largest_above: the same of the largest cosine. dimensions: of the smaller
    subspace, the least of all pairs.

    There is no interval: an adapter stands in several pairs, and folds share training clips.
    """
    order = list(dict.fromkeys(unit.name for unit in run.analyses))
    by_method = sorted(run.analyses, key=lambda unit: order.index(unit.name))
    units = [(unit, found) for unit in by_method if (found := _directions(unit)) is not None]
    rows = []
    random = np.random.default_rng(0)
    nulls: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}
    for (one, own), (other, others) in combinations(units, 2):
        told = _told(run, one, other)
        for (layer, module), vectors in own.items():
            if (layer, module) not in others:
                continue
            at = told | {"module": module, "layer": layer}
            for words, pair in _subspaces(vectors, others[layer, module]):
                shape = (len(pair[0]), len(pair[1]), pair[0].shape[1])
                if shape not in nulls:
                    nulls[shape] = random_cosines(shape, random)
                rows.append(at | {"directions": words} | _compared(pair, nulls[shape]))
    return _over_pairs(pd.DataFrame(rows)) if rows else None


def _directions(unit: FinishedAnalysis) -> dict[tuple[int, str], np.ndarray] | None:
    """The input directions of each adapted matrix, [k, width] with orthonormal rows; None where they weren't kept."""
    table = unit.table(STEM)
    if table is None:
        return None
    groups = table.sort_values("index").groupby(["layer", "module"], sort=False)["vector"]
    return {(int(str(layer)), str(module)): np.stack(list(rows)).astype(float) for (layer, module), rows in groups}


def _subspaces(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    yield f"first {LEADING}", (one[:LEADING], other[:LEADING])
    yield "all", (one, other)


def _told(run: FinishedRun, one: FinishedAnalysis, other: FinishedAnalysis) -> dict[str, Any]:
    """Which two adapters these are, in what they differ, and whether they began alike."""
    places = [
        words for words, same in (("folds", one.fold == other.fold), ("seeds", one.seed == other.seed)) if not same
    ]
    told = {"method": one.name, "control": one.control or "", "other": other.name}
    return told | {"differ": " and ".join(places), "start": _start(run, one, other)}


def _start(run: FinishedRun, one: FinishedAnalysis, other: FinishedAnalysis) -> str:
    seeds = (run.manifest.get("seeds") or {}).get("training")
    kinds = {cell.get("name"): cell.get("method") for cell in run.manifest.get("cells") or ()}
    kind = kinds.get(one.name)
    if seeds is None or kind is None:
        return UNKNOWN
    if kind in OF_W:
        return SHARED
    if kind not in DRAWN:
        return NONE
    # with the single seed all folds draw the same, with several each draws its own
    alike = one.fold == other.fold and one.seed == other.seed
    return SHARED if alike or not isinstance(seeds, list) else OWN


def _compared(pair: tuple[np.ndarray, np.ndarray], null: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    mean, largest = mean_squared_cosine(*pair)
    high, largest_high = (float(np.quantile(each, 0.975)) for each in null)
    row = {"mean_cos2": mean, "null": float(null[0].mean()), "null_high": high, "above": float(mean > high)}
    row |= {"largest_cos": largest, "largest_null": largest_high, "largest_above": float(largest > largest_high)}
    return row | {"dimensions": min(len(each) for each in pair)}


def _over_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    groups = pairs.groupby(KEYS, sort=False, dropna=False)
    found = groups[[name for name in COLUMNS if name in pairs and name not in (*KEYS, "dimensions")]].mean()
    found["lowest"], found["highest"] = groups["mean_cos2"].min(), groups["mean_cos2"].max()
    found["dimensions"], found["pairs"] = groups["dimensions"].min(), groups.size()
    return found.reset_index()[COLUMNS]


def learnt_again(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """The rows of a method's own adapters on other folds, or where there is one fold with other seeds, by their first
    directions: what was learnt again.
    """
    return _apart(table[table["other"] == method])


def by_chance(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """As `learnt_again`, of a method's adapters against those that were trained on shuffled labels, on other folds, or
    else with other seeds.
    """
    return _apart(table[table["other"] != method])


def _apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Pairs that differ in their fold, or where there are none in their seed, by their first directions."""
    rows = rows[rows["directions"] == f"first {LEADING}"]
    folds = rows[rows["differ"] == "folds"]
    return folds if len(folds) else rows[rows["differ"] == "seeds"]
