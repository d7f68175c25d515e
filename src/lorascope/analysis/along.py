"""What an adapter was on the way against what it became."""

from __future__ import annotations

import pandas as pd

from ..models.parts import EncoderParts
from ..statistics.directions import Directions, cosine, directions

KEYS = ("layer", "module")


def directions_to(now: EncoderParts, end: EncoderParts) -> pd.DataFrame:
    """The table `direction`: layer, module, and cosine, that of ΔW now with ΔW at the end (Frobenius; 0 where there is
    no ΔW yet, NaN where there is none at the end). No row where the updates are no plain low-rank pairs.
    """
    rows = []
    for layer, module in now.adapted():
        own, last = (_directions(parts, layer, module) for parts in (now, end))
        found = 0.0 if not len(own.sigma) and len(last.sigma) else cosine(own, last)
        rows.append({"layer": layer, "module": module, "cosine": found})
    return pd.DataFrame(rows, columns=[*KEYS, "cosine"])


def _directions(parts: EncoderParts, layer: int, module: str) -> Directions:
    a, b, scale = parts.factors(layer, module)
    return directions(a.detach().double().cpu().numpy(), b.detach().double().cpu().numpy(), scale)
