"""Units (fold x seed) of one number brought together: mean, interval over folds, agreement in sign, and both
spreads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from .intervals import LEVEL
from .stats import corrected_error

#: What `aggregate` gives of every value, after the value's own name.
SUFFIXES = ("", "_low", "_high", "_folds", "_seeds", "_units", "_same_sign", "_sd_folds", "_sd_seeds")


def aggregate(
    table: pd.DataFrame,
    by: Sequence[str],
    values: Sequence[str],
    *,
    fold: str = "fold",
    seed: str = "seed",
    test_over_train: float | None = None,
) -> pd.DataFrame:
    """One row for each combination of `by` that `table` has, in its order, with every one of `values` over its units.

    `table` is tidy: one row a unit (its columns `fold` and `seed`) and combination of `by` (model, layer, ...); columns
    that are named nowhere are left out, the units' own intervals among them. A unit whose value is NaN has no part in
    that value. Of a value `v` there are

    - `v`: the mean over a fold's seeds, then over folds, each fold counting once.
    - `v_low`, `v_high`: its 95 % interval, Nadeau and Bengio's corrected t over the folds' means (Machine Learning 52,
      2003); NaN with one fold, a point where all folds agree to the last digit.
    - `v_folds`, `v_seeds`, `v_units`: how many there were; seeds are counted by their names.
    - `v_same_sign`: the share of units that have the sign of the mean; NaN where that is 0.
    - `v_sd_seeds`: standard deviation of the units of one fold, pooled over folds; NaN where none has two seeds.
    - `v_sd_folds`: standard deviation that folds add to it: of their means, less what seeds alone would make of these
      (a component of variance, 0 where nothing is left). With one seed a fold it holds the seeds' too. NaN with one.

    `test_over_train` is n_test / n_train of the corrected t. By default 1 / (folds - 1), which is that of a
    cross-validation whose folds are all here; where only some folds were analysed, give the corpus' own.

    The interval is of the mean over other draws of test speakers, training speakers and seeds, and rests on folds'
    means correlating by n_test / (n_test + n_train). That is about so where a training speaker moves a number as much
    as a test speaker does. Where folds are independent of each other it is too wide (98 to 99 %); where only the
    training speakers matter, as with numbers of the adapter's weights, folds are too much alike and it is too narrow:
    it then speaks of these training speakers alone (simulated in `benchmarks/coverage.py`).

    Raises `ValueError` where a column is missing, or a unit has a combination of `by` twice.
    """
    _check(table, by, values, fold, seed)
    keys = table.groupby(list(by), sort=False, dropna=False, observed=True) if by else None
    row = keys.ngroup().to_numpy() if keys is not None else np.zeros(len(table), dtype=int)
    first = np.unique(row, return_index=True)[1]
    found = table.iloc[first][list(by)].reset_index(drop=True)
    folds, seeds = (pd.factorize(table[name], use_na_sentinel=False)[0] for name in (fold, seed))
    columns: dict[str, np.ndarray] = {}
    for name in values:
        told = table[name].to_numpy(dtype=float)
        numbers = _of_value(row, folds, seeds, told, len(first), test_over_train)
        columns |= {name + suffix: numbers[suffix] for suffix in SUFFIXES}
    return pd.concat([found, pd.DataFrame(columns, index=found.index)], axis=1)


def _of_value(
    row: np.ndarray, fold: np.ndarray, seed: np.ndarray, value: np.ndarray, rows: int, ratio: float | None
) -> dict[str, np.ndarray]:
    """What `SUFFIXES` name, [rows] each, of `value` [units]; `row`, `fold` and `seed` [units] are indices."""
    known = ~np.isnan(value)
    row, fold, seed, value = row[known], fold[known], seed[known], value[known]
    units = np.bincount(row, minlength=rows)
    pairs, of_fold = np.unique(np.stack([row, fold]), axis=1, return_inverse=True)
    of_fold, owner = of_fold.reshape(-1), pairs[0]
    folds = np.bincount(owner, minlength=rows)
    seeds = np.bincount(np.unique(np.stack([row, seed]), axis=1)[0], minlength=rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.bincount(of_fold, minlength=len(owner))
        means = np.bincount(of_fold, value, len(owner)) / each
        mean = np.bincount(owner, means, rows) / folds
        variance = np.bincount(owner, (means - mean[owner]) ** 2, rows) / np.where(folds > 1, folds - 1, np.nan)
        # pooled within folds; a fold's mean has 1 / (its seeds) of it
        degrees = units - folds
        within = np.bincount(row, (value - means[of_fold]) ** 2, rows) / np.where(degrees > 0, degrees, np.nan)
        of_seeds = np.nan_to_num(within) * np.bincount(owner, 1 / each, rows) / folds
        overlap = 1 / (folds - 1) if ratio is None else ratio
        error = corrected_error(variance, folds, overlap)
        reach = stdtrit(np.maximum(folds - 1, 1), (1 + LEVEL) / 2) * error
        same = np.bincount(row, np.sign(value) == np.sign(mean)[row], rows) / units
    numbers = (
        mean,
        mean - reach,
        mean + reach,
        folds,
        seeds,
        units,
        np.where(mean == 0, np.nan, same),
        np.sqrt(np.maximum(variance - of_seeds, 0.0)),
        np.sqrt(within),
    )
    return dict(zip(SUFFIXES, numbers, strict=True))


def _check(table: pd.DataFrame, by: Sequence[str], values: Sequence[str], fold: str, seed: str) -> None:
    missing = [name for name in (*by, *values, fold, seed) if name not in table]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} in the units' table; it has {', '.join(map(str, table))}")
    keys = [*by, fold, seed]
    twice = table.duplicated(keys)
    if twice.any():
        told = ", ".join(f"{name}={table.loc[twice, name].iloc[0]}" for name in keys)
        raise ValueError(f"the units' table has {told} twice; `by` must name every column that tells its rows apart")
