"""What a decision over folds needs beside a mean and its interval: many tests at once, what could have been found, an
order of several groups.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy import optimize
from scipy import stats as scipy_stats

from .stats import corrected_error

#: The level at which differences are told from 0, and the power of what these folds could have shown.
LEVEL, POWER = 0.05, 0.8


def holm(p: np.ndarray) -> np.ndarray:
    """p values [tests] adjusted so that all of them together are wrong with the level's probability at most (Holm,
    Scandinavian Journal of Statistics 6, 1979). NaN is no test: it stays NaN and doesn't count.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def least_difference(sd: float, folds: int, test_over_train: float, tests: int = 1) -> float:
    """The smallest true mean that Nadeau and Bengio's corrected t would tell from 0 in `POWER` of draws.

    `sd` is the standard deviation (ddof 1) over `folds`, taken for the true one; the level is `LEVEL` shared among so
    many `tests`, two-sided. Under a mean δ the statistic is a noncentral t with folds - 1 degrees of freedom about δ /
    error. NaN with fewer than two folds; 0 where the folds agree to the last digit.
    """
    if folds < 2 or not np.isfinite(sd):
        return float("nan")
    error = float(corrected_error(sd**2, folds, test_over_train))
    if error == 0:
        return 0.0
    degrees = folds - 1
    critical = float(scipy_stats.t.ppf(1 - LEVEL / tests / 2, degrees))

    def lacking(shift: float) -> float:
        return float(scipy_stats.nct.sf(critical, degrees, shift)) - POWER

    # well above: half of the draws are beyond a shift of the critical value
    upper = critical + 2.0
    while lacking(upper) < 0:
        upper *= 1.5
    return error * float(optimize.root_scalar(lacking, bracket=(0.0, upper)).root)


def ordered(values: np.ndarray) -> float:
    """How far values [groups] follow their order: Page's Σ j·R_j of one row, from -1 (reversed) over 0 (as chance has
    it) to 1. Equal values share their ranks. Without ties it is Spearman's correlation. NaN where one is NaN.
    """
    groups = len(values)
    if np.isnan(values).any():
        return float("nan")
    total = float(np.arange(1, groups + 1) @ scipy_stats.rankdata(values))
    middle = groups * (groups + 1) ** 2 / 4
    return 12 * (total - middle) / (groups * (groups**2 - 1))


def page(followed: np.ndarray, groups: int) -> float:
    """Page's test of an order of so many groups (Journal of the American Statistical Association 58, 1963): the
    two-sided p of the sum of `ordered` over rows [rows], exact.

    All orders of a row are equally likely under the null, and rows are independent. It is twice the smaller of both
    sides, at most 1.
    """
    scale = groups * (groups**2 - 1) / 12
    weights = np.arange(1, groups + 1)
    orders = np.array(list(itertools.permutations(range(1, groups + 1))))
    sums = orders @ weights
    one = np.bincount(sums - sums.min()) / len(sums)
    law = np.ones(1)
    for _ in followed:
        law = np.convolve(law, one)
    total = float(np.sum(followed)) * scale + len(followed) * (groups * (groups + 1) ** 2 / 4 - sums.min())
    places = np.arange(len(law))
    above, below = law[places >= total - 1e-9].sum(), law[places <= total + 1e-9].sum()
    return float(min(1.0, 2 * min(above, below)))
