"""Many tests at once, what could have been found, and an order of groups: against other computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import page_trend_test, spearmanr

from lorascope.statistics.decisions import holm, least_difference, ordered, page
from lorascope.statistics.stats import corrected_resampled_t


def test_holm_goes_down_step_by_step() -> None:
    # Holm 1979: .01 against .05/4, .02 against .05/3, ...
    found = holm(np.array([0.02, 0.01, 0.5, 0.04]))
    assert found == pytest.approx([0.06, 0.04, 0.5, 0.08])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([0.04, np.nan])) == pytest.approx([0.04, np.nan], nan_ok=True)


def test_the_least_difference_is_found_in_four_of_five_draws() -> None:
    rng, folds, ratio = np.random.default_rng(0), 10, 1 / 9
    sd = 2.0
    shift = least_difference(sd, folds, ratio)
    # folds that correlate as the corrected t takes it
    shared = ratio / (1 + ratio)
    draws = np.sqrt(shared) * rng.normal(size=(4000, 1)) + np.sqrt(1 - shared) * rng.normal(size=(4000, folds))
    spread = sd / np.sqrt(1 - shared)
    found = [corrected_resampled_t(shift + spread * each, 9, 1).p < 0.05 for each in draws]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)
    assert least_difference(sd, folds, ratio, tests=4) > shift
    assert np.isnan(least_difference(sd, 1, ratio)) and least_difference(0.0, 5, ratio) == 0


def test_ordered_is_spearmans_and_ties_are_shared() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        values = rng.normal(size=5)
        assert ordered(values) == pytest.approx(spearmanr(values, range(5)).statistic)
    assert (ordered(np.arange(4.0)), ordered(-np.arange(4.0)), ordered(np.zeros(4))) == (1, -1, 0)
    assert np.isnan(ordered(np.array([1.0, np.nan, 2.0])))


def test_page_is_that_of_scipy_on_both_sides() -> None:
    rng = np.random.default_rng(2)
    for sign in (1, -1, 0):
        data = rng.normal(size=(8, 4)) + sign * 0.6 * np.arange(4)
        sides = [page_trend_test(data * way, method="exact").pvalue for way in (1, -1)]
        assert page(np.array([ordered(row) for row in data]), 4) == pytest.approx(min(1, 2 * min(sides)))


def test_page_is_wrong_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    p = np.array([page(np.array([ordered(row) for row in rng.normal(size=(6, 4))]), 4) for _ in range(1500)])
    assert np.mean(p < 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(p))
