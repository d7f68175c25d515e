"""The directions of a low-rank update ΔW = s B A: its singular vectors, from small cores, whatever the gauge."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

K = TypeVar("K", bound=Hashable)

#: A direction of ΔW below this share of its largest singular value is rounding of float32 factors and left out.
NEGLIGIBLE = 1e-6


class Directions(NamedTuple):
    """ΔW = U Σ Vᵀ: `left` [width_out, k], `sigma` [k] falling, `right` [k, width_in]; k = 0 where ΔW = 0."""

    left: np.ndarray
    sigma: np.ndarray
    right: np.ndarray


def directions(a: np.ndarray, b: np.ndarray, scale: float = 1.0) -> Directions:
    """Those of `scale` · b @ a, with a [rank, width_in] and b [width_out, rank], that are no rounding (`NEGLIGIBLE`).

    The SVD is taken of the core R_B R_Aᵀ [rank, rank], with B = Q_B R_B and Aᵀ = Q_A R_A, so nothing of the width of
    the layer squared is made. (RA, BR⁻¹) has the same directions for any invertible R.
    """
    q_b, r_b = np.linalg.qr(b)
    q_a, r_a = np.linalg.qr(a.T)
    u, sigma, v = np.linalg.svd(scale * r_b @ r_a.T, full_matrices=False)
    kept = (sigma > NEGLIGIBLE * sigma[0]) & (sigma > 0) if len(sigma) else np.zeros(0, dtype=bool)
    return Directions(q_b @ u[:, kept], sigma[kept], v[kept] @ q_a.T)


def directions_of(matrix: np.ndarray) -> Directions:
    """Those of a whole ΔW [width_out, width_in] that are no rounding."""
    u, sigma, v = np.linalg.svd(matrix, full_matrices=False)
    kept = (sigma > NEGLIGIBLE * sigma[0]) & (sigma > 0)
    return Directions(u[:, kept], sigma[kept], v[kept])


def balanced(found: Directions, chosen: np.ndarray, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A [k, width_in] and B [width_out, k] of the `chosen` directions (indices, or a mask) in the balanced gauge,
    such that scale · B A is their part of ΔW.
    """
    root = np.sqrt(found.sigma[chosen] / scale)
    return root[:, None] * found.right[chosen], found.left[:, chosen] * root


def largest(found: Mapping[K, Directions], share: float, nominal: Mapping[K, int]) -> dict[K, np.ndarray]:
    """The directions with the largest σ over all matrices together, as masks [k] bool: a share of the nominal ranks,
    rounded up.
    """
    sigma = np.concatenate([each.sigma for each in found.values()]) if found else np.zeros(0)
    count = rounded_up(share * sum(nominal.values()))
    return of_all(found, np.argsort(-sigma, kind="stable")[:count])


def first(found: Mapping[K, Directions], counts: Mapping[K, float]) -> dict[K, np.ndarray]:
    """Each matrix' own first directions, as masks [k] bool: as many as `counts` says, rounded up."""
    return {key: np.arange(len(each.sigma)) < rounded_up(counts[key]) for key, each in found.items()}


def of_all(found: Mapping[K, Directions], chosen: np.ndarray) -> dict[K, np.ndarray]:
    """Indices into all directions, matrix after matrix, as a mask for each matrix."""
    sizes = [len(each.sigma) for each in found.values()]
    mask = np.zeros(sum(sizes), dtype=bool)
    mask[chosen] = True
    return dict(zip(found, np.split(mask, np.cumsum(sizes)[:-1]), strict=True)) if sizes else {}


def rounded_up(number: float) -> int:
    """The next whole number; one that is whole but for rounding stays what it is."""
    return int(np.ceil(number - 1e-9))


def cosine(one: Directions, other: Directions) -> float:
    """⟨ΔW, ΔW'⟩ / (|ΔW| |ΔW'|), Frobenius: 1 where two updates of one matrix are the same but for their size; NaN where
    one of them is 0.
    """
    if not len(one.sigma) or not len(other.sigma):
        return float("nan")
    left = one.left.T @ other.left * one.sigma[:, None] * other.sigma
    norms = np.linalg.norm(one.sigma) * np.linalg.norm(other.sigma)
    return float((left * (one.right @ other.right.T)).sum() / norms)
