"""The words that all readings share: layers as ranges, values with their interval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd


def layers_in_words(layers: Iterable[int]) -> str:
    """Layers as short ranges.

    >>> layers_in_words([0, 1, 2, 5])
    '0–2, 5'
    >>> layers_in_words([])
    'none'
    """
    runs: list[list[int]] = []
    for layer in sorted({int(layer) for layer in layers}):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ", ".join(str(a) if a == b else f"{a}–{b}" for a, b in runs) or "none"


def at(layers: Iterable[int] | pd.Series | pd.Index) -> str:
    """Where, as "no layer", "layer 3" or "layers 0–2, 5"."""
    numbers = np.unique(np.asarray(layers, dtype=int))
    if len(numbers) == 0:
        return "no layer"
    return f"{'layer' if len(numbers) == 1 else 'layers'} {layers_in_words(numbers)}"


def signed(row: dict[str, Any], name: str) -> str:
    """A change with its sign and its 95 % interval, from the columns `name`, `name_low`, `name_high`."""
    interval = f"[{row[f'{name}_low']:+.3f}, {row[f'{name}_high']:+.3f}]"
    return f"{row[name]:+.3f} {interval}".replace("-", "−")


def capital(text: str) -> str:
    """The text with its first letter in upper case, the others as they are."""
    return text[0].upper() + text[1:]
