"""Sums of xᵀx over any number of rows, and their spectra."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

#: Bytes of Gram matrices whose spectra a GPU takes at once; its library needs thirty times as many.
TOGETHER = 1 << 26
#: Width from which on a GPU is no faster with several at once.
LARGE = 256
#: Cores that are as fast as a GPU at the spectra of large matrices (an H100: 14 ms at width 1280; a core of its host:
#: .26 s).
AS_FAST_AS = 16


class Gram:
    """Running sum of xᵀx over the rows of every block given, in float64; its memory is constant in the number of rows.

    A block's own product is taken on its device in float32 or more (of half-precision blocks, whose products are exact
    there, too); only the sum is float64.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def update(self, block: Tensor) -> None:
        """Add a block [..., width]; all but the last axis count rows."""
        product = _product(block.reshape(-1, block.shape[-1]))
        self._sum = product.double() if self._sum is None else self._sum.add_(product)

    @property
    def total(self) -> Tensor:
        """The sum where it was made, [width, width] float64. Raises ValueError before the first update."""
        if self._sum is None:
            raise ValueError("a Gram that was never updated has no value")
        return self._sum

    def compute(self) -> np.ndarray:
        """The same on the host."""
        return self.total.cpu().numpy()


def _product(rows: Tensor) -> Tensor:
    """xᵀx of [rows, width] with sums in float32 or more."""
    if rows.element_size() >= 4:
        return rows.T @ rows
    if rows.is_cuda:
        # tensor cores multiply these exactly and add in float32, at many times the speed of float32 products
        return torch.mm(rows.T, rows, out_dtype=torch.float32)
    rows = rows.float()
    return rows.T @ rows


def power_spectrum(gram: Tensor) -> np.ndarray:
    """Squared singular values, largest first, of matrices whose Gram matrix is `gram` [..., width, width], computed on
    its device.

    What rounding leaves below zero is set to 0, which is what an exact Gram matrix (positive semi-definite) has there.
    """
    values = torch.linalg.eigvalsh((gram + gram.mT) / 2).flip(-1).clamp(min=0.0)
    return values.cpu().numpy()


def power_spectra(grams: Sequence[Tensor], threads: int = 1) -> list[np.ndarray]:
    """`power_spectrum` of each of several Gram matrices.

    On a GPU small ones of one shape are taken together, since one alone leaves it idle. Large ones it takes one by one,
    about as fast as `threads` cores of the host would, so these take their share meanwhile.
    """
    large = [number for number, gram in enumerate(grams) if gram.is_cuda and gram.dim() == 2 and len(gram) >= LARGE]
    hosts = large[: int(len(large) * threads / (threads + AS_FAST_AS))]
    found: dict[int, np.ndarray] = {}
    with ThreadPoolExecutor(max(1, threads)) as pool:
        # before the GPU is busy: what is copied waits for all that was asked of it
        copies = [grams[number].cpu() for number in hosts]
        futures = [pool.submit(power_spectrum, copy) for copy in copies]
        by_shape: dict[tuple[torch.Size, torch.device], list[int]] = {}
        for number in sorted(set(range(len(grams))) - set(hosts)):
            by_shape.setdefault((grams[number].shape, grams[number].device), []).append(number)
        for (_, device), numbers in by_shape.items():
            step = max(1, TOGETHER // grams[numbers[0]].nbytes) if device.type == "cuda" else 1
            for first in range(0, len(numbers), step):
                some = numbers[first : first + step]
                found |= zip(some, power_spectrum(torch.stack([grams[number] for number in some])), strict=True)
        found |= {number: future.result() for number, future in zip(hosts, futures, strict=True)}
    return [found[number] for number in range(len(grams))]
