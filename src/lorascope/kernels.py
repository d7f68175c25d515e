"""Kernels over clips and how far two of them agree: HSIC and CKA, without some of the clips, and with clips shuffled.

Everything here is float64: RBF kernels of tiny values break down in less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from .shuffles import clip_orders

Estimator = Literal["biased", "debiased"]

#: Shuffled pairs of clips that are looked up at once.
PAIRS_AT_ONCE = 1 << 20


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
    speakers: Sequence[str] | np.ndarray | None = None,
) -> np.ndarray:
    """CKA of two kernels [clips, clips] after shuffling the clips of the second within their speaker, [draws]."""
    return permutation_nulls([(first, second, estimator)], draws, seed, speakers)[0]


def permutation_nulls(
    pairs: Sequence[tuple[np.ndarray, np.ndarray, Estimator]],
    draws: int,
    seed: int,
    speakers: Sequence[str] | np.ndarray | None = None,
) -> list[np.ndarray]:
    """`permutation_null` of several pairs of kernels of the same clips, all after the same shuffles."""
    if not pairs:
        return []
    n = len(pairs[0][0])
    orders = clip_orders(speakers, n, draws, seed)
    # Centring commutes with a shuffle of the clips, so it is done once; a shuffle leaves the norm as it is. Kernels are
    # symmetric, so each pair of clips is looked up once, and where it is found serves all pairs of kernels.
    rows, columns = np.triu_indices(n, k=1)
    both = [(centred(first, estimator), centred(second, estimator)) for first, second, estimator in pairs]
    weights = [2 * a[rows, columns] for a, _ in both]
    products = [b.diagonal()[orders] @ a.diagonal() for a, b in both]
    step = max(1, PAIRS_AT_ONCE // max(1, len(rows)))
    for start in range(0, draws, step):
        chosen = slice(start, start + step)
        places = orders[chosen][:, rows] * n + orders[chosen][:, columns]
        for product, weight, (_, b) in zip(products, weights, both, strict=True):
            product[chosen] += b.ravel()[places] @ weight
    return [
        product / (_norm(a, first) * _norm(b, second))
        for product, (a, b), (first, second, _) in zip(products, both, pairs, strict=True)
    ]


def cka_of_subsets(first: np.ndarray, second: np.ndarray, estimator: Estimator, subsets: np.ndarray) -> np.ndarray:
    """CKA of the clips in each subset, [subsets], of kernels [clips, clips]; `subsets` [subsets, clips] holds 1 for the clips of each.

    An RBF kernel keeps the γ of all clips. NaN where a subset's clips are all alike on one side, or fewer than the estimator needs.
    """
    # Centring all clips first changes no subset's value, and leaves smaller sums to take from each other.
    a, b = centred(first, estimator), centred(second, estimator)
    norms = np.sqrt(_hsic_of_subsets(a, a, subsets, estimator) * _hsic_of_subsets(b, b, subsets, estimator))
    return _hsic_of_subsets(a, b, subsets, estimator, nan=False) / norms


def _hsic_of_subsets(
    first: np.ndarray, second: np.ndarray, subsets: np.ndarray, estimator: Estimator, nan: bool = True
) -> np.ndarray:
    """HSIC, up to its constant, of the clips in each subset, [subsets]; NaN, if asked for, where it is but rounding.

    `subsets` [subsets, clips] holds 1 for the clips of a subset. Both estimators are sums of k_ij l_ij, of k_i l_i and of the two totals, where
    k_i = Σ_j k_ij; over a subset each of them is a product with `subsets`, so no subset's own kernels are ever made.
    """
    m = subsets.sum(axis=1)
    # with fewer than four clips the debiased constants are 0 or infinite
    m = np.where(m > 3, m, np.nan) if estimator == "debiased" else m
    if estimator == "debiased":
        first, second = (kernel - np.diag(np.diagonal(kernel)) for kernel in (first, second))
        rows_weigh, totals_weigh = 2 / (m - 2), 1 / ((m - 1) * (m - 2))
    else:
        rows_weigh, totals_weigh = 2 / m, 1 / m**2
    products = ((subsets @ (first * second)) * subsets).sum(axis=1)
    k, l = ((subsets @ kernel) * subsets for kernel in (first, second))  # noqa: E741
    found = products - rows_weigh * (k * l).sum(axis=1) + totals_weigh * k.sum(axis=1) * l.sum(axis=1)
    return np.where(found > 1e-12 * np.abs(products), found, np.nan) if nan else found


def _norm(centred_kernel: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Frobenius norm of a centred kernel; NaN where centring leaves but rounding of the kernel it was made from."""
    largest = np.abs(centred_kernel).max(axis=(-2, -1))
    norm = np.sqrt((centred_kernel**2).sum(axis=(-2, -1)))
    return np.where(largest > 1e-13 * np.abs(kernel).max(axis=(-2, -1)), norm, np.nan)
