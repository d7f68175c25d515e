"""The statistics that measures and metrics share: spectra, recall, percentiles, paired tests.

Nothing here knows of models, clips' audio or tables; arrays go in and numbers come out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats as scipy_stats

# ---------------------------------------------------------------------------------------------------- spectra


def energy(power: np.ndarray) -> np.ndarray:
    """Cumulative energy E_k = Σ_{i≤k} σ_i² / Σ σ_i² of squared singular values [..., width]; NaN where all are 0."""
    total = power.sum(axis=-1, keepdims=True)
    return np.cumsum(power, axis=-1) / np.where(total > 0, total, np.nan)


def k90(power: np.ndarray, share: float = 0.9) -> np.ndarray:
    """Least k with E_k ≥ `share`, [...] float; NaN where all of `power` [..., width] is 0."""
    cumulative = energy(power)
    # Rounding must not push a spectrum that reaches the share exactly to the next k.
    first = np.argmax(cumulative >= share - 1e-12, axis=-1) + 1.0
    return np.where(np.isnan(cumulative[..., -1]), np.nan, first)


def k90_crossing(power: np.ndarray, share: float = 0.9) -> np.ndarray:
    """Where E_k, its points joined by straight lines from (0, 0), reaches `share`, [...]; `k90` is the next whole
    number.

    Unlike k90 itself it moves with every clip, which is what an interval needs. NaN where all of `power` [..., width]
    is 0.
    """
    cumulative = energy(power)
    k = np.argmax(cumulative >= share - 1e-12, axis=-1)
    ends = np.concatenate([np.zeros((*cumulative.shape[:-1], 1)), cumulative], axis=-1)
    below, above = (np.take_along_axis(ends, (k + step)[..., None], axis=-1)[..., 0] for step in (0, 1))
    return k + (share - below) / (above - below)


def participation_ratio(power: np.ndarray) -> np.ndarray:
    """(Σσ²)² / Σσ⁴ of squared singular values [..., width]: how many directions share the energy; NaN where all are
    0.
    """
    shares = _shares(power)
    return 1.0 / (shares**2).sum(axis=-1)


def entropy_rank(power: np.ndarray) -> np.ndarray:
    """exp(H(σ²/Σσ²)), the effective rank by entropy (Roy & Vetterli 2007, on energies), [...]; NaN where all are 0."""
    shares = _shares(power)
    return np.exp(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=-1))


def _shares(power: np.ndarray) -> np.ndarray:
    total = power.sum(axis=-1, keepdims=True)
    return power / np.where(total > 0, total, np.nan)


# ----------------------------------------------------------------------------------------------------- recall


def unweighted_average_recall(gold: np.ndarray, predicted: np.ndarray, n_classes: int) -> float:
    """Mean over classes of the share of a class's clips that were recognised (UAR, macro recall), in [0, 1].

    `gold` and `predicted` [clips] are class indices below `n_classes`. A class that has no clip in `gold` has no recall
    and is left out of the mean; NaN without clips.
    """
    gold = np.asarray(gold)
    return float(weighted_recall(gold, np.asarray(predicted), np.ones((1, len(gold))), n_classes)[0])


def weighted_recall(gold: np.ndarray, predicted: np.ndarray, weights: np.ndarray, n_classes: int) -> np.ndarray:
    """UAR when clip i counts `weights[draw, i]` times, [draws]; NaN for a draw that loses a class which the clips have.

    A mean over the classes that are left would be of another thing: of two classes, one of which is always recognised
    and the other never, the UAR is .5, and 1 or 0 as soon as either is lost.
    """
    member = np.asarray(gold)[:, None] == np.arange(n_classes)
    hits = weights @ (member & (np.asarray(predicted) == gold)[:, None]).astype(float)
    totals = weights @ member.astype(float)
    held = member.any(axis=0)
    recalls = hits[:, held] / np.where(totals[:, held] > 0, totals[:, held], np.nan)
    return recalls.mean(axis=1) if held.any() else np.full(len(recalls), np.nan)


# -------------------------------------------------------------------------------------------------- percentiles


def percentile_interval(replicates: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central `level` of replicates [draws], by their percentiles; NaN where one is NaN."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


# ----------------------------------------------------------------------------------------------- paired tests


class PairedT(NamedTuple):
    """A paired t test: statistic, two-sided p, and the 95 % interval of the mean difference."""

    t: float
    p: float
    low: float
    high: float


def corrected_error(
    variance: float | np.ndarray, folds: int | np.ndarray, test_over_train: float | np.ndarray
) -> float | np.ndarray:
    """Standard error of a mean over folds whose training sets overlap, from the folds' `variance` (ddof 1).

    Nadeau & Bengio (2003): the mean's variance is s² (1/J + n_test/n_train). All three are numbers, or arrays
    of one shape.
    """
    return np.sqrt((1.0 / folds + test_over_train) * variance)


def corrected_resampled_t(differences: Sequence[float] | np.ndarray, n_train: float, n_test: float) -> PairedT:
    """Nadeau & Bengio's (2003) corrected resampled t test of a mean difference over folds.

    Training sets of folds overlap, so fold results are not independent: the variance of the mean is s² (1/J +
    n_test/n_train) instead of s²/J. `differences` [folds] are method minus method; `n_train` and `n_test` are clips a
    fold (their means where folds differ). All NaN with fewer than two folds; where all differences are equal, t is
    infinite (0 when they are 0) and the interval a point.
    """
    d = np.asarray(differences, dtype=float)
    folds = len(d)
    if folds < 2:
        return PairedT(*[float("nan")] * 4)
    mean = float(d.mean())
    error = float(corrected_error(d.var(ddof=1), folds, n_test / n_train))
    if error == 0:
        return PairedT(0.0, 1.0, 0.0, 0.0) if mean == 0 else PairedT(float(np.copysign(np.inf, mean)), 0.0, mean, mean)
    t = mean / error
    reach = float(scipy_stats.t.ppf(0.975, folds - 1)) * error
    return PairedT(t, float(2 * scipy_stats.t.sf(abs(t), folds - 1)), mean - reach, mean + reach)


def wilcoxon(differences: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Wilcoxon's signed-rank statistic and two-sided p of paired differences [folds]; (0, 1) where all are 0."""
    d = np.asarray(differences, dtype=float)
    if not np.any(d):
        return 0.0, 1.0
    statistic, p = scipy_stats.wilcoxon(d)
    return float(statistic), float(p)  # pyright: ignore[reportArgumentType]


def outer_third(layers: int) -> int:
    """How many of `layers` blocks the top third has, and the bottom one: round(layers / 3), at least one."""
    return max(1, round(layers / 3))
