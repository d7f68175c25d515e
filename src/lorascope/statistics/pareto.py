"""Which of several things are not beaten in both of two ways."""

from __future__ import annotations

import numpy as np


def frontier(gain: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Which of `gain`, `cost` [things] are on the Pareto frontier, [things] bool: no other has a gain as high and a
    cost as low, and one of them better. What is NaN is on none, and beats nothing.

    >>> frontier(np.array([0.9, 0.8, 0.8, 0.5]), np.array([0.3, 0.1, 0.2, 0.1]))
    array([ True,  True, False, False])
    """
    as_good = (gain[None, :] >= gain[:, None]) & (cost[None, :] <= cost[:, None])
    better = (gain[None, :] > gain[:, None]) | (cost[None, :] < cost[:, None])
    return np.isfinite(gain) & np.isfinite(cost) & ~(as_good & better).any(axis=1)
