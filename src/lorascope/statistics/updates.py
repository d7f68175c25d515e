"""What an update ΔW of a weight W is like, from matrices alone: its subspaces among those of W, and intruder
dimensions.

Singular vectors come from the Gram matrix of the shorter side, in float64: the leading ones, which are asked for, are
exact to rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from .directions import Directions

#: Pairs of random subspaces for a null of angles.
SUBSPACES = 100


class Decomposed(NamedTuple):
    """W = U S Vᵀ: `left` [width_out, k], `sigma` [k] falling, `right` [k, width_in]."""

    left: np.ndarray
    sigma: np.ndarray
    right: np.ndarray


def decomposed(matrix: np.ndarray, leading: int | None = None) -> Decomposed:
    """The singular vectors of [rows, columns] that belong to its `leading` largest singular values (None: to all)."""
    rows, columns = matrix.shape
    short = min(rows, columns)
    count = short if leading is None else min(leading, short)
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    values, vectors = eigh(gram, subset_by_index=(short - count, short - 1))
    sigma = np.sqrt(np.maximum(values[::-1], 0.0))
    own = vectors[:, ::-1]
    divisor = np.where(sigma > 0, sigma, np.inf)
    if rows <= columns:
        return Decomposed(own, sigma, (own.T @ matrix) / divisor[:, None])
    return Decomposed(matrix @ own / divisor, sigma, own.T)


def stable_rank(sigma: np.ndarray) -> float:
    """Σσ² / σ₁² of singular values [k], falling; NaN where there is none."""
    return float((sigma**2).sum() / sigma[0] ** 2) if len(sigma) else float("nan")


def shares_within(update: np.ndarray, weight: Decomposed, k: int) -> tuple[float, float]:
    """Share of the energy ‖ΔW‖² of ΔW [width_out, width_in] whose columns lie in the span of W's first k left singular
    vectors, and whose rows lie in that of its first k right ones.
    """
    energy = float((update**2).sum())
    if not energy:
        return float("nan"), float("nan")
    left, right = weight.left[:, :k].T @ update, update @ weight.right[:k].T
    return float((left**2).sum() / energy), float((right**2).sum() / energy)


def nearest_cosines(weight: Decomposed, changed: np.ndarray) -> np.ndarray:
    """max_i |cos(u_i(W), u)| for each column u of `changed` [width_out, k], [k]: how known each singular vector is to
    W.
    """
    return np.abs(weight.left.T @ changed).max(axis=0)


def mean_squared_cosine(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Mean cos² of the principal angles between the spans of orthonormal rows [k, width] and [m, width] (over the
    smaller of k and m), and the largest cosine; NaN where either has no row.
    """
    if not len(one) or not len(other):
        return float("nan"), float("nan")
    cosines = np.linalg.svd(one @ other.T, compute_uv=False)
    return float((cosines**2).mean()), float(cosines[0])


def random_cosines(
    shape: tuple[int, int, int], random: np.random.Generator, pairs: int = SUBSPACES
) -> tuple[np.ndarray, np.ndarray]:
    """`mean_squared_cosine` of pairs of random subspaces of `shape` (k, m, width): both numbers, [pairs] each."""
    found = np.array([mean_squared_cosine(*_subspaces(shape, random)) for _ in range(pairs)])
    return found[:, 0], found[:, 1]


def _subspaces(shape: tuple[int, int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal rows of two random subspaces, [k, width] and [m, width]."""
    k, m, width = shape
    one, other = (np.linalg.qr(random.standard_normal((width, size)))[0].T for size in (k, m))
    return one, other


def random_update(like: Directions, rank: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """B [width_out, rank] and A [rank, width_in] of Gaussian entries with ‖BA‖ = ‖ΔW‖ (Frobenius)."""
    b = random.standard_normal((like.left.shape[0], rank))
    a = random.standard_normal((rank, like.right.shape[1]))
    # ‖BA‖² = tr(BᵀB AAᵀ), without making BA
    norm = np.sqrt(float(((b.T @ b) * (a @ a.T)).sum()))
    return b * (np.sqrt(float((like.sigma**2).sum())) / norm), a
