"""What all analyses of a run say together: every number's mean over seeds and folds, with its interval and its spread.

`findings/trajectory_<table>.parquet` is the same of adapters at moments of their training, by `epoch`, and
`findings/recurrence.parquet` what `recurrence` says of their directions.

findings/<table>.parquet has a unit's table's columns, `method` and `control` before them. A number's own column holds
its mean; `_low` and `_high` are the ends of its 95 % interval over folds; `_same_sign` is the share of units whose
number has the sign of the mean, `_sd_folds` and `_sd_seeds` are its standard deviations. `folds` and `seeds` count the
units.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..statistics.aggregation import aggregate
from ..statistics.intervals import FOLDS
from ..store.files import beside
from ..store.finished import FinishedAnalysis, FinishedRun
from ..store.units import clear
from .along_training import COLUMNS, half_ways
from .recurrence import recurrence

#: Columns that tell of a row, by which rows of different units are not told apart.
TOLD = ("clips", "draws", "interval_of", "note", "warning", "top_class")
#: Tables with such a column are of single clips, or of single directions, and have no mean over units.
WITHOUT_MEAN = frozenset({"clip", "vector"})
#: The ends of intervals that are not called after their number.
ENDS = {"value": "ci", "probe_uar": "probe"}
#: Numbers that a null gives: of them only the mean is of use.
NULL = ("null", "chance")
# a unit's own property in one table, what it was made with in another
_OWN = {"spectra_summary": ("rank",)}
# what `findings` adds to the units' tables
_UNIT = ("fold", "seed", "trained_on", "tested_on")


def write_findings(run: Path) -> list[Path]:
    """Write findings/ of a run folder anew from its analyses' tables; returns the paths, none where it has no analyses.

    Tables of clips and of directions (`WITHOUT_MEAN`) are left out.
    """
    folder = FinishedRun(run)
    clear(run / "findings")
    files = []
    for units, before in ((folder.analyses, ""), (folder.moments, "trajectory_")):
        for stem in sorted({stem for unit in units for stem in unit.stems}):
            _write(findings(stem, units), run / "findings" / f"{before}{stem}.parquet", files)
    _write(recurrence(folder), run / "findings" / "recurrence.parquet", files)
    if folder.moments:
        _write(half_ways_over(folder.moments), run / "findings" / "trajectory_half.parquet", files)
    return files


def _write(table: pd.DataFrame | None, place: Path, files: list[Path]) -> None:
    if table is None:
        return
    files.append(place)
    with beside(place) as file:
        table.to_parquet(file, index=False)


def findings(stem: str, units: list[FinishedAnalysis]) -> pd.DataFrame | None:
    """One table of all units: a row for each of its rows that a method has; None where it has no mean."""
    parts = []
    for unit in units:
        table = unit.table(stem)
        if table is None or WITHOUT_MEAN & set(table):
            continue
        moment = {} if unit.epoch is None else {"epoch": unit.epoch}
        parts.append(table.assign(**_told_of(unit), **moment))
    if not parts:
        return None
    table = pd.concat(parts, ignore_index=True)
    names = [name for name in ("method", "control", "epoch") if name in table]
    columns = [column for column in parts[0].columns if column not in (*names, *_UNIT)]
    declared = next((unit.about["keys"][stem] for unit in units if stem in unit.about.get("keys", {})), None)
    numbers, told, keys = sorted_columns(stem, table[columns], declared)
    return _aggregated(table, [*names, *keys], numbers, told)[[*names, *_ordered(columns, numbers)]]


def half_ways_over(moments: list[FinishedAnalysis]) -> pd.DataFrame:
    """When each number of `along_training.FOLLOWED` was half way to its last value, over all units."""
    of_unit: dict[tuple[str, str, int], list[FinishedAnalysis]] = {}
    for unit in moments:
        of_unit.setdefault((unit.name, unit.fold, unit.seed), []).append(unit)
    parts = [half_ways(each).assign(**_told_of(each[0])) for each in of_unit.values()]
    names = ["method", "control"]
    keys, numbers = [*names, *COLUMNS[:-1]], COLUMNS[-1:]
    found = _aggregated(pd.concat(parts, ignore_index=True), keys, numbers, [])
    return found[[*names, *_ordered(COLUMNS, numbers)]]


def _told_of(unit: FinishedAnalysis) -> dict[str, Any]:
    told = {"method": unit.name, "control": unit.control or "", "fold": unit.fold, "seed": unit.seed}
    return told | {name: unit.about[name] for name in ("trained_on", "tested_on")}


def sorted_columns(
    stem: str, table: pd.DataFrame, declared: Sequence[str] | None = None
) -> tuple[list[str], list[str], list[str]]:
    """Columns of a unit's table by what they are: numbers that are no end of an interval, what is told of a row, and
    what tells rows apart.

    The latter are those that the measure `declared`, and any other column is a number or a word that is told; without
    them every float is a number, and what else there is tells rows apart.
    """
    columns = list(map(str, table.columns))
    if declared is not None:
        words = [column for column in columns if not _holds_numbers(table[column])]
        told = [column for column in columns if column not in declared and (column in words or column in TOLD)]
        numbers = [column for column in columns if column not in (*declared, *told)]
        ends = {f"{name}_{end}" for name in numbers if not _is_reference(name) for end in ("low", "high")}
        return [column for column in numbers if column not in ends], told, list(declared)
    floats = [column for column in columns if pd.api.types.is_float_dtype(table[column])]
    named = [ENDS.get(column, column) for column in floats if not _is_reference(column)]
    ends = {f"{name}_{end}" for name in named for end in ("low", "high")}
    numbers = [column for column in floats if column not in ends]
    told = [column for column in columns if column in (*TOLD, *_OWN.get(stem, ()))]
    keys = [column for column in columns if column not in (*floats, *told)]
    return numbers, told, keys


def _aggregated(table: pd.DataFrame, keys: list[str], numbers: list[str], told: list[str]) -> pd.DataFrame:
    """A row for each of the table's `keys`: what is said of its numbers in all units, and what is told of it."""
    sizes = table.drop_duplicates("fold")[["trained_on", "tested_on"]].astype(float).mean()
    ratio = float(sizes["tested_on"] / sizes["trained_on"])
    found = aggregate(table, keys, numbers, test_over_train=None if np.isnan(ratio) else ratio)
    groups = table.groupby(keys, sort=False, dropna=False)
    counts = groups[["fold", "seed"]].nunique()
    found = found.assign(folds=counts["fold"].to_numpy(), seeds=counts["seed"].to_numpy())
    for name in told:
        found[name] = FOLDS if name == "interval_of" else _common(groups[name])
    ends = {f"{name}_{end}": f"{ENDS[name]}_{end}" for name in numbers if name in ENDS for end in ("low", "high")}
    return found.rename(columns=ends)


def _common(of_rows: Any) -> np.ndarray:
    """What all units tell of each row: the smallest number, or the words that they have in common."""
    smallest = of_rows.min()
    if pd.api.types.is_numeric_dtype(smallest):
        return smallest.to_numpy()
    return np.where(of_rows.nunique(dropna=False) == 1, smallest, "")


def _holds_numbers(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _is_reference(name: str) -> bool:
    return any(word in name.split("_") for word in NULL)


def _ordered(columns: list[str], numbers: list[str]) -> list[str]:
    """The unit's columns, intervals behind their numbers where it had none, then what only several units can tell."""
    more = ("same_sign", "sd_folds", "sd_seeds")
    spread = [f"{name}_{what}" for name in numbers if not _is_reference(name) for what in more]
    ends = [f"{ENDS.get(name, name)}_{end}" for name in numbers if not _is_reference(name) for end in ("low", "high")]
    return list(dict.fromkeys([*columns, *ends, "folds", "seeds", *spread]))
