"""Where a curve of values, step by step, has gone how far."""

from __future__ import annotations

import numpy as np


def half_way(curve: np.ndarray) -> np.ndarray:
    """Where each column of [steps, columns] first reaches the middle between its first and last value, [columns].

    Linear between steps; NaN where first and last value are alike.
    """
    first, last = curve[0], curve[-1]
    span = np.where(last == first, np.nan, last - first)
    progress = (curve - first) / span
    step = np.argmax(progress >= 0.5, axis=0)
    columns = np.arange(curve.shape[1])
    # where nothing is NaN the first value is 0, so the step that reaches the middle has one below it
    below, above = progress[np.maximum(step - 1, 0), columns], progress[step, columns]
    return np.where(np.isnan(span), np.nan, step - 1 + (0.5 - below) / np.where(above > below, above - below, 1.0))
