"""How much arithmetic a call is, and how much of it this machine can do at most, so that one can
be held against the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from measure import timed
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

#: Sides of the square matrices that the peak is looked for with.
SIDES = (512, 1024, 2048)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    # five products of the same size, where forward has two: the scores are computed again
    return sdpa_flop_count(query, key, value) * 5 // 2


def _on_cpu() -> dict[Any, Callable[..., int]]:
    """Formulas for the attention kernel of CPUs, which torch's counter leaves out."""
    aten = torch.ops.aten
    found = {}
    for name, formula in (("", _attention), ("_backward", _attention_backward)):
        kernel = getattr(aten, f"_scaled_dot_product_flash_attention_for_cpu{name}", None)
        if kernel is not None:
            found[kernel] = formula
    return found


def flops(function: Callable[[], Any]) -> int:
    """Floating-point operations (a multiplication and an addition are two) of the matrix products, convolutions and
    attention that a call makes.
    """
    with FlopCounterMode(display=False, custom_mapping=_on_cpu()) as counter:
        function()
    return counter.get_total_flops()


def peak(dtype: torch.dtype = torch.float32, repeats: int = 4) -> float:
    """Largest FLOP/s that a product of two square matrices reaches here, over a few sizes, with the threads that
    are set: wall clock, best of `repeats`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    best = 0.0
    for side in SIDES if device == "cpu" else (2048, 4096, 8192):
        one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        torch.mm(one, other)
        best = max(best, *(2 * side**3 / timed(lambda a=one, b=other: torch.mm(a, b))[0] for _ in range(repeats)))
    return best
