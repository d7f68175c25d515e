"""When in its training an adapter became what it is: the epoch at which each number is half way to its last value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ..statistics.curves import half_way
from ..store.finished import FinishedAnalysis

#: What is followed: its table, the rows of it, and the column. A layer's modules are followed one by one.
FOLLOWED: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "norm": ("weights", {}, "relative_norm"),
    "direction": ("direction", {}, "cosine"),
    "contribution": (
        "contribution",
        {"model": "difference", "component": "block", "variant": "same-input", "frames": "valid"},
        "ratio",
    ),
    "lens": ("lens", {"model": "trained", "variant": "corrected"}, "uar"),
}
COLUMNS = ["quantity", "layer", "module", "half"]


def half_ways(units: Sequence[FinishedAnalysis]) -> pd.DataFrame:
    """The moments of one adapter, in any order: quantity (of `FOLLOWED`), layer, module ("" where it has none) and
    half, the epoch at which the number is first half way from its first to its last value (between two moments it is
    taken to go straight). NaN where it ends where it began.
    """
    units = sorted(units, key=lambda unit: unit.epoch or 0.0)
    rows = [row for quantity in FOLLOWED for row in _followed(quantity, units)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _followed(quantity: str, units: Sequence[FinishedAnalysis]) -> Iterator[tuple[str, int, str, float]]:
    stem, wanted, column = FOLLOWED[quantity]
    parts = []
    for unit in units:
        table = unit.table(stem)
        if table is None:
            return
        chosen = np.logical_and.reduce([np.ones(len(table), dtype=bool), *(table[k] == v for k, v in wanted.items())])
        parts.append(table[chosen].assign(epoch=unit.epoch))
    table = pd.concat(parts, ignore_index=True)
    if "module" not in table:
        table = table.assign(module="")
    for (layer, module), rows in table.groupby(["layer", "module"], sort=False):
        yield (
            quantity,
            int(layer),
            str(module),
            half_way_at(rows["epoch"].to_numpy(), rows[column].to_numpy(dtype=float)),
        )


def half_way_at(epochs: np.ndarray, values: np.ndarray) -> float:
    """The epoch at which `values` [moments] at rising `epochs` [moments] are first half way from the first to the last
    of them; NaN where these are the same or not known.
    """
    if not np.isfinite(values).all():
        return float("nan")
    return float(np.interp(half_way(values[:, None])[0], np.arange(len(epochs)), epochs))
