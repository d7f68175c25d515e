"""Kernels over clips and how far two of them agree: HSIC and CKA, with intervals over clips and nulls by shuffling them.

Everything here is float64: RBF kernels of tiny values break down in less.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from .stats import percentile_interval

Estimator = Literal["biased", "debiased"]


def linear_kernel(features: np.ndarray) -> np.ndarray:
    """Inner products of the rows of [clips, columns], the mean row taken off, [clips, clips] float64.

    HSIC and distances don't move with the origin, so the mean is taken off first, where that loses no digits.
    """
    features = centred_columns(np.asarray(features, dtype=np.float64))
    return features @ features.T


def centred_columns(features: np.ndarray) -> np.ndarray:
    """[clips, columns] less its mean row; a column that is the same in all clips becomes exactly 0."""
    # The mean of equal numbers is not always that number, and the leftover would pass for a signal once it is normalised.
    return np.where(np.ptp(features, axis=0) > 0, features - features.mean(axis=0), 0.0)


def squared_distances(gram: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances [clips, clips] of the points whose inner products are `gram`."""
    norms = np.diagonal(gram)
    distances = np.clip(norms[:, None] + norms[None, :] - 2 * gram, 0.0, None)
    np.fill_diagonal(distances, 0.0)
    return distances


def rbf_kernel(gram: np.ndarray, gamma: float) -> np.ndarray:
    """exp(-γ |x_i - x_j|²) - 1 of the points whose inner products are `gram`, [clips, clips].

    The constant 1 is left off because both ways of centring remove it, and because without it a kernel whose values all
    lie near 1 (tiny gradients) keeps its digits.
    """
    return np.expm1(-gamma * squared_distances(gram))


def median_gamma(gram: np.ndarray) -> float:
    """The median heuristic: γ = 1 / (2 m²) with m the median distance between two different clips; NaN where m is 0."""
    distances = squared_distances(gram)
    median = float(np.median(distances[np.triu_indices(len(distances), k=1)]))
    return 1.0 / (2.0 * median) if median > 0 else float("nan")


def centred(kernel: np.ndarray, estimator: Estimator) -> np.ndarray:
    """A kernel [..., clips, clips] centred so that HSIC is an inner product of two such kernels.

    `biased`: HKH (Gretton et al. 2005), HSIC = ⟨K̃, L̃⟩ / (n - 1)². `debiased`: U-centring (Székely & Rizzo 2014), HSIC =
    ⟨K̃, L̃⟩ / (n (n - 3)), which equals the unbiased estimator HSIC₁ of Song et al. (2012), eq. 5. The latter needs n ≥ 4.
    """
    n = kernel.shape[-1]
    if estimator == "biased":
        rows = kernel.mean(axis=-1, keepdims=True)
        return kernel - rows - np.swapaxes(rows, -1, -2) + rows.mean(axis=-2, keepdims=True)
    if n < 4:
        raise ValueError(f"debiased HSIC needs at least 4 clips, got {n}")
    off_diagonal = 1.0 - np.eye(n)
    kernel = kernel * off_diagonal
    rows = kernel.sum(axis=-1, keepdims=True)
    total = rows.sum(axis=-2, keepdims=True)
    return (kernel - (rows + np.swapaxes(rows, -1, -2)) / (n - 2) + total / ((n - 1) * (n - 2))) * off_diagonal


def hsic_biased(first: np.ndarray, second: np.ndarray) -> float:
    """tr(KHLH) / (n - 1)² of two kernels [clips, clips] (Gretton et al. 2005, eq. 9)."""
    return float((centred(first, "biased") * centred(second, "biased")).sum() / (len(first) - 1) ** 2)


def hsic_debiased(first: np.ndarray, second: np.ndarray) -> float:
    """HSIC₁, the unbiased estimator, of two kernels [clips, clips] (Song et al. 2012, eq. 5); may be negative."""
    return float((centred(first, "debiased") * centred(second, "debiased")).sum() / (len(first) * (len(first) - 3)))


def cka(first: np.ndarray, second: np.ndarray, estimator: Estimator) -> np.ndarray:
    """HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) of kernels [..., clips, clips] (Kornblith et al. 2019, eq. 4), [...].

    `debiased` puts HSIC₁ in all three places (Nguyen et al. 2021, section 2) and may be negative. NaN where a kernel is
    constant, that is where all clips are alike on one side.
    """
    a, b = centred(first, estimator), centred(second, estimator)
    return (a * b).sum(axis=(-2, -1)) / (_norm(a, first) * _norm(b, second))


def permutation_null(
    first: np.ndarray,
    second: np.ndarray,
    estimator: Estimator,
    draws: int,
    seed: int,
) -> np.ndarray:
    """CKA of two kernels [clips, clips] after shuffling the clips of the second, [draws]."""
    a, b = centred(first, estimator), centred(second, estimator)
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(first)) for _ in range(draws))
    # Centring commutes with a shuffle of the clips, so it is done once; a shuffle leaves the norm as it is.
    products = np.array([np.vdot(a, b[np.ix_(order, order)]) for order in orders])
    return products / (_norm(a, first) * _norm(b, second))


def half_sample_interval(
    first: np.ndarray,
    second: np.ndarray,
    estimator: Estimator,
    draws: int,
    seed: int,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval over clips for the CKA of two kernels [clips, clips], by the half-sample bootstrap.

    A bootstrap with replacement puts the same clip in several rows. Those pairs lie at distance 0 off the diagonal, which the
    debiased estimator takes for dependence, so its replicates are biased upwards. Instead each draw takes
    m = n/2 different clips. The mean of m of n clips drawn without replacement has variance (1/m - 1/n) S² = S²/n, that of
    the mean of n clips, so the replicates' deviations from their own mean spread as the estimate does (Politis, Romano & Wolf
    1999, on subsampling), and the bias that the smaller m brings cancels. The interval is the estimate plus the quantiles of these
    deviations. It is not clamped: next to 1 its end may lie above 1. An RBF kernel keeps the γ of all clips. NaN where
    the estimate or any replicate is.
    """
    rng = np.random.default_rng(seed)
    halves = np.stack([rng.permutation(len(first))[: len(first) // 2] for _ in range(draws)])
    picked = halves[:, :, None], halves[:, None, :]
    replicates = cka(first[picked], second[picked], estimator)
    low, high = percentile_interval(replicates - replicates.mean(), level)
    value = float(cka(first, second, estimator))
    return value + low, value + high


def _norm(centred_kernel: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Frobenius norm of a centred kernel; NaN where centring leaves but rounding of the kernel it was made from."""
    largest = np.abs(centred_kernel).max(axis=(-2, -1))
    norm = np.sqrt((centred_kernel**2).sum(axis=(-2, -1)))
    return np.where(largest > 1e-13 * np.abs(kernel).max(axis=(-2, -1)), norm, np.nan)
