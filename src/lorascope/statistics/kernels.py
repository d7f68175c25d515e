"""Kernels over clips and how far two of them agree: HSIC and CKA, without some of the clips, and with clips shuffled.

Everything here is float64: RBF kernels of tiny values break down in less. Arrays and tensors are taken, tensors on
their device are returned, and all that is computed of kernels can be computed of many pairs of them at once, [...,
clips, clips].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .shuffles import clip_orders

Estimator = Literal["biased", "debiased"]

#: Numbers that are held at once where pairs of kernels are many: on a CPU what its caches hold, on a GPU what keeps it
#: busy.
AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 27}
#: Columns over which a product of features is summed in their own precision; what comes after that is summed in
#: float64.
COLUMNS = 1 << 14


def tensor_of(values: Any) -> Tensor:
    """The same as a float64 tensor, where it lies."""
    return torch.as_tensor(values).double()


def linear_kernel(features: Any) -> Tensor:
    """Inner products of the rows of [clips, columns], the mean row taken off, [clips, clips] float64.

    HSIC and distances don't move with the origin, so the mean is taken off first, where that loses no digits.
    """
    features = centred_columns(tensor_of(features))
    return features @ features.mT


def linear_kernel_of_pieces(pieces: Iterable[Tensor]) -> Tensor:
    """Inner products of the rows of wide features that come some columns at a time, [clips, some columns] each, in a
    frame where the first clip is the origin.

    Products are taken in the features' precision, over few columns; their sum is float64.
    """
    total: Tensor | None = None
    for piece in pieces:
        # Any clip may be the origin; with this one, columns that are the same in all clips become exactly 0.
        flat = piece - piece[:1]
        whole = flat.shape[1] // COLUMNS * COLUMNS
        found = (flat[:, whole:] @ flat[:, whole:].T).double()
        if whole:
            parts = flat[:, :whole].unflatten(1, (-1, COLUMNS)).transpose(0, 1)
            found += torch.bmm(parts, parts.mT).double().sum(dim=0)
        total = found if total is None else total + found
    assert total is not None, "features without columns"
    return total


def centred_columns(features: Tensor) -> Tensor:
    """[clips, columns] less its mean row; a column that is the same in all clips becomes exactly 0."""
    # The mean of equal numbers is not always that number, and the leftover would pass for a signal once it is
    # normalised.
    low, high = features.aminmax(dim=0)
    return torch.where(high > low, features - features.mean(dim=0), 0.0)


def standardised_by(features: Tensor, rows: Any) -> Tensor:
    """[clips, columns] at mean 0 and variance 1 of the clips `rows`, as scikit-learn's StandardScaler has it: a
    constant column is left as wide as it is.
    """
    chosen = features[rows]
    variance, mean = torch.var_mean(chosen, dim=0, correction=0)
    n, epsilon = len(chosen), torch.finfo(features.dtype).eps
    constant = variance <= n * epsilon * variance + (n * mean * epsilon) ** 2
    return (features - mean) / torch.where(constant, 1.0, variance.sqrt())


def squared_distances(gram: Any) -> Tensor:
    """Squared Euclidean distances [..., clips, clips] of the points whose inner products are `gram`."""
    gram = tensor_of(gram)
    norms = gram.diagonal(dim1=-2, dim2=-1)
    distances = (norms[..., :, None] + norms[..., None, :] - 2 * gram).clamp(min=0.0)
    distances.diagonal(dim1=-2, dim2=-1).zero_()
    return distances


def rbf_kernel(gram: Any, gamma: float | Tensor) -> Tensor:
    """exp(-γ |x_i - x_j|²) - 1 of the points whose inner products are `gram`, [clips, clips].

    The constant 1 is left off because both ways of centring remove it, and because without it a kernel whose values all
    lie near 1 (tiny gradients) keeps its digits.
    """
    return torch.expm1(-gamma * squared_distances(gram))


def median_gamma(gram: Any) -> Tensor:
    """The median heuristic: γ = 1 / (2 m²) with m the median distance between two different clips; NaN where m is 0."""
    distances = squared_distances(gram)
    rows, columns = torch.triu_indices(*distances.shape, offset=1, device=distances.device)
    ordered = distances[rows, columns].sort().values
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return torch.where(median > 0, 1.0 / (2.0 * median), torch.nan)


def centred(kernel: Any, estimator: Estimator) -> Tensor:
    """A kernel [..., clips, clips] centred so that HSIC is an inner product of two such kernels.

    `biased`: HKH (Gretton et al. 2005), HSIC = ⟨K̃, L̃⟩ / (n - 1)². `debiased`: U-centring (Székely & Rizzo 2014), HSIC
    = ⟨K̃, L̃⟩ / (n (n - 3)), which equals the unbiased estimator HSIC₁ of Song et al. (2012), eq. 5. The latter needs n
    ≥ 4.
    """
    kernel = tensor_of(kernel)
    n = kernel.shape[-1]
    if estimator == "biased":
        rows = kernel.mean(dim=-1, keepdim=True)
        return kernel - rows - rows.mT + rows.mean(dim=-2, keepdim=True)
    if n < 4:
        raise ValueError(f"debiased HSIC needs at least 4 clips, got {n}")
    kernel = _without_diagonal(kernel)
    rows = kernel.sum(dim=-1, keepdim=True)
    total = rows.sum(dim=-2, keepdim=True)
    return _without_diagonal(kernel - (rows + rows.mT) / (n - 2) + total / ((n - 1) * (n - 2)))


def hsic_biased(first: Any, second: Any) -> float:
    """tr(KHLH) / (n - 1)² of two kernels [clips, clips] (Gretton et al. 2005, eq. 9)."""
    return float((centred(first, "biased") * centred(second, "biased")).sum() / (len(first) - 1) ** 2)


def hsic_debiased(first: Any, second: Any) -> float:
    """HSIC₁, the unbiased estimator, of two kernels [clips, clips] (Song et al. 2012, eq. 5); may be negative."""
    return float((centred(first, "debiased") * centred(second, "debiased")).sum() / (len(first) * (len(first) - 3)))


def cka(first: Any, second: Any, estimator: Estimator) -> Tensor:
    """HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) of kernels [..., clips, clips] (Kornblith et al. 2019, eq. 4), [...].

    `debiased` puts HSIC₁ in all three places (Nguyen et al. 2021, section 2) and may be negative. NaN where a kernel is
    constant, that is where all clips are alike on one side.
    """
    a, b = centred(first, estimator), centred(second, estimator)
    return (a * b).sum(dim=(-2, -1)) / (_norm(a, first) * _norm(b, second))


def permutation_null(
    first: Any,
    second: Any,
    estimator: Estimator,
    draws: int,
    seed: int,
    speakers: Sequence[str] | np.ndarray | None = None,
) -> Tensor:
    """CKA of kernels [..., clips, clips] after shuffling the clips of the second within their speaker, [..., draws];
    all pairs after the same shuffles.
    """
    a, b = centred(first, estimator), centred(second, estimator)
    shape, n = a.shape[:-2], a.shape[-1]
    norms = (_norm(a, first) * _norm(b, second)).reshape(-1)
    a, b = a.reshape(-1, n, n), b.reshape(-1, n, n)
    orders = torch.from_numpy(clip_orders(speakers, n, draws, seed)).to(a.device)
    # Centring commutes with a shuffle of the clips, so it is done once; a shuffle leaves the norm as it is. Kernels are
    # symmetric, so each pair of clips is looked up once, and where it is found serves all pairs of kernels.
    rows, columns = torch.triu_indices(n, n, offset=1, device=a.device)
    # All kernels' values of one pair of clips lie side by side, so that one look-up copies them in one go.
    weights = 2 * a[:, rows, columns].T
    own = b.diagonal(dim1=-2, dim2=-1)[:, orders] @ a.diagonal(dim1=-2, dim2=-1)[:, :, None]
    null = own[..., 0].T.contiguous()
    flat = b.reshape(len(b), n * n).T.contiguous()
    limit, pairs = AT_ONCE[a.device.type], max(1, len(rows))
    kernels_at_once = max(1, min(len(b), limit // pairs))
    draws_at_once = max(1, limit // (pairs * kernels_at_once))
    for start in range(0, draws, draws_at_once):
        chosen = slice(start, start + draws_at_once)
        places = (orders[chosen][:, rows] * n + orders[chosen][:, columns]).flatten()
        for first_kernel in range(0, len(b), kernels_at_once):
            some = slice(first_kernel, first_kernel + kernels_at_once)
            found = flat[:, some].index_select(0, places).unflatten(0, (-1, len(rows)))
            null[chosen, some] += (found * weights[:, some]).sum(dim=1)
    null = null.T
    return (null / norms[:, None]).reshape(*shape, draws)


def cka_of_subsets(first: Any, second: Any, estimator: Estimator, subsets: np.ndarray) -> Tensor:
    """CKA of the clips in each subset, [..., subsets], of kernels [..., clips, clips]; `subsets` [subsets, clips] holds
    1 for the clips of each.

    An RBF kernel keeps the γ of all clips. NaN where a subset's clips are all alike on one side, or fewer than the
    estimator needs.
    """
    # Centring all clips first changes no subset's value, and leaves smaller sums to take from each other.
    a, b = centred(first, estimator), centred(second, estimator)
    shape, n = a.shape[:-2], a.shape[-1]
    a, b = a.reshape(-1, n, n), b.reshape(-1, n, n)
    member = tensor_of(subsets).to(a.device)
    step = max(1, AT_ONCE[a.device.type] // (n * len(subsets)))
    found = []
    for start in range(0, len(a), step):
        k, l = a[start : start + step], b[start : start + step]  # noqa: E741
        norms = (_hsic_of_subsets(k, k, member, estimator) * _hsic_of_subsets(l, l, member, estimator)).sqrt()
        found.append(_hsic_of_subsets(k, l, member, estimator, nan=False) / norms)
    return torch.cat(found).reshape(*shape, len(subsets))


def interval_of(replicates: Tensor, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """The central `level` of replicates [..., draws] by their percentiles, [...] each end; NaN where one is NaN."""
    tail = (1 - level) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=replicates.dtype, device=replicates.device)
    low, high = torch.quantile(replicates, ends, dim=-1)
    return low, high


def _hsic_of_subsets(first: Tensor, second: Tensor, subsets: Tensor, estimator: Estimator, nan: bool = True) -> Tensor:
    """HSIC, up to its constant, of the clips in each subset of kernels [pairs, clips, clips], [pairs, subsets]; NaN, if
    asked for, where it is but rounding.

    `subsets` [subsets, clips] holds 1 for the clips of a subset. Both estimators are sums of k_ij l_ij, of k_i l_i and
    of the two totals, where k_i = Σ_j k_ij; over a subset each of them is a product with `subsets`, so no subset's own
    kernels are ever made.
    """
    m = subsets.sum(dim=1)
    # with fewer than four clips the debiased constants are 0 or infinite
    m = torch.where(m > 3, m, torch.nan) if estimator == "debiased" else m
    if estimator == "debiased":
        first, second = (_without_diagonal(kernel) for kernel in (first, second))
        rows_weigh, totals_weigh = 2 / (m - 2), 1 / ((m - 1) * (m - 2))
    else:
        rows_weigh, totals_weigh = 2 / m, 1 / m**2
    products = ((subsets @ (first * second)) * subsets).sum(dim=-1)
    k, l = ((subsets @ kernel) * subsets for kernel in (first, second))  # noqa: E741
    found = products - rows_weigh * (k * l).sum(dim=-1) + totals_weigh * k.sum(dim=-1) * l.sum(dim=-1)
    return torch.where(found > 1e-12 * products.abs(), found, torch.nan) if nan else found


def _without_diagonal(kernel: Tensor) -> Tensor:
    return kernel * (1.0 - torch.eye(kernel.shape[-1], dtype=kernel.dtype, device=kernel.device))


def _norm(centred_kernel: Tensor, kernel: Any) -> Tensor:
    """Frobenius norm of a centred kernel; NaN where centring leaves but rounding of the kernel it was made from."""
    largest = centred_kernel.abs().amax(dim=(-2, -1))
    norm = centred_kernel.square().sum(dim=(-2, -1)).sqrt()
    return torch.where(largest > 1e-13 * tensor_of(kernel).abs().amax(dim=(-2, -1)), norm, torch.nan)
