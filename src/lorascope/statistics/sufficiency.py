"""How little of a thing is as good as all of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: A smaller adapter is as good as the whole one if the paired interval of its UAR's change reaches 0 and the loss is no
#: larger than this.
LOSS = 0.02


def as_good(rows: pd.DataFrame) -> pd.Series:
    """Which rows' UAR is not below the whole's: the interval of its change (`delta_uar_high`) reaches 0, and the loss
    (`delta_uar`) is at most `LOSS`. What has no interval is not.
    """
    # what is exactly the allowed loss must not fail by rounding
    return (rows["delta_uar_high"] >= -1e-9) & (rows["delta_uar"] >= -LOSS - 1e-9)


def least(rows: pd.DataFrame, size: str) -> pd.Series | None:
    """Of the rows the one with the smallest `size` that is as good, all larger ones being so too; None where not even
    the largest is.
    """
    falling = rows.sort_values(size, ascending=False)
    good = as_good(falling).to_numpy()
    count = len(good) if good.all() else int(np.argmin(good))
    return falling.iloc[count - 1] if count else None
