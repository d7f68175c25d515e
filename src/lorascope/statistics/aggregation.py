"""One number of many adapters, trained and tested on the folds of a corpus from several seeds: what it is in the mean,
how certain that is, and where it varies.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from .intervals import LEVEL

#: What an interval over folds speaks of.
FOLDS = "folds"


class OverUnits(NamedTuple):
    """What is said of a number over folds and seeds, each [...]: its mean over seeds, then folds; the ends of the mean's
    95 % interval; the share of units that have the mean's sign; and its standard deviations over folds and over the
    seeds of a fold.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sign: np.ndarray
    sd_folds: np.ndarray
    sd_seeds: np.ndarray


def over_units(values: np.ndarray, trained_on: np.ndarray, tested_on: np.ndarray) -> OverUnits:
    """Aggregate numbers of units.

    `values` [..., folds, seeds] may lack any (NaN); `trained_on` and `tested_on` [folds] are the clips of each fold's
    training and test parts. The interval is Nadeau and Bengio's (2003) corrected t over the folds' means: training sets
    overlap, so that the variance of the mean is s² (1/J + tested/trained). NaN where there are fewer than two folds.
    `sd_folds` is of the folds themselves, without what seeds add to their means; `sd_seeds` NaN where no fold has two.
    """
    there = ~np.isnan(values)
    seeds = there.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_fold = np.where(there, values, 0.0).sum(axis=-1) / seeds
        folds = (seeds > 0).sum(axis=-1)
        mean = np.where(seeds > 0, by_fold, 0.0).sum(axis=-1) / folds
        between = np.where(seeds > 0, (by_fold - mean[..., None]) ** 2, 0.0).sum(axis=-1) / (folds - 1)
        within = np.where(there, (values - by_fold[..., None]) ** 2, 0.0).sum(axis=(-2, -1)) / (seeds - 1).clip(0).sum(
            axis=-1
        )
        share = np.where(there, np.sign(values) == np.sign(mean)[..., None, None], False).sum(axis=(-2, -1))
        noise = np.where(seeds > 0, within[..., None] / seeds, 0.0).sum(axis=-1) / folds
        between = np.where(folds > 1, between, np.nan)
        ratio = np.mean(tested_on) / np.mean(trained_on)
        reach = stdtrit(np.maximum(folds - 1, 1), (1 + LEVEL) / 2) * np.sqrt((1 / folds + ratio) * between)
        of_folds = np.sqrt(np.maximum(between - np.where(np.isnan(noise), 0.0, noise), 0.0))
        return OverUnits(mean, mean - reach, mean + reach, share / there.sum(axis=(-2, -1)), of_folds, np.sqrt(within))
