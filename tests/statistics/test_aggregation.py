"""Numbers over folds and seeds: against plain loops, by properties, and by simulation from a known distribution."""

from __future__ import annotations

import numpy as np
import pytest

from lorascope.statistics.aggregation import over_units
from lorascope.statistics.stats import corrected_resampled_t

RNG = np.random.default_rng(7)
VALUES = RNG.normal(0.4, 1.0, size=(6, 5, 3))
TRAINED, TESTED = np.array([90.0, 80, 85, 70, 95]), np.array([20.0, 30, 25, 40, 15])


def test_it_is_what_plain_loops_give() -> None:
    found = over_units(VALUES, TRAINED, TESTED)
    for place, values in enumerate(VALUES):
        by_fold = [np.mean(of_fold) for of_fold in values]
        expected = corrected_resampled_t(by_fold, float(TRAINED.mean()), float(TESTED.mean()))
        assert found.mean[place] == pytest.approx(np.mean(by_fold))
        assert (found.low[place], found.high[place]) == pytest.approx((expected.low, expected.high))
        mean = np.mean(by_fold)
        assert found.sign[place] == sum(np.sign(value) == np.sign(mean) for value in values.flat) / 15
        within = np.mean([np.var(of_fold, ddof=1) for of_fold in values])
        assert found.sd_seeds[place] == pytest.approx(np.sqrt(within))
        between = max(0.0, np.var(by_fold, ddof=1) - within / 3)
        assert found.sd_folds[place] == pytest.approx(np.sqrt(between))


def test_a_fold_with_more_seeds_weighs_no_more() -> None:
    values = np.array([[1.0, 1.0, 1.0], [3.0, np.nan, np.nan]])
    assert over_units(values, TRAINED[:2], TESTED[:2]).mean == pytest.approx(2.0)


def test_a_unit_that_lacks_a_number_is_left_out() -> None:
    values = VALUES.copy()
    values[:, 4] = np.nan
    found, without = over_units(values, TRAINED[:5], TESTED[:5]), over_units(VALUES[:, :4], TRAINED, TESTED)
    for one, other in zip(found, without, strict=True):
        assert one == pytest.approx(other)


def test_units_and_signs_turn_with_the_number() -> None:
    found, turned, scaled = (over_units(values, TRAINED, TESTED) for values in (VALUES, -VALUES, 10 * VALUES + 3))
    assert turned.mean == pytest.approx(-found.mean) and turned.sign == pytest.approx(found.sign)
    assert turned.low == pytest.approx(-found.high)
    assert scaled.mean == pytest.approx(10 * found.mean + 3) and scaled.sd_folds == pytest.approx(10 * found.sd_folds)
    assert scaled.high - scaled.low == pytest.approx(10 * (found.high - found.low))


def test_one_fold_has_no_interval_and_one_seed_no_spread_of_seeds() -> None:
    one = over_units(VALUES[:, :1], TRAINED[:1], TESTED[:1])
    assert np.isnan(one.low).all() and np.isnan(one.sd_folds).all() and not np.isnan(one.sd_seeds).any()
    single = over_units(VALUES[:, :, :1], TRAINED, TESTED)
    assert np.isnan(single.sd_seeds).all() and not np.isnan(single.low).any() and not np.isnan(single.sd_folds).any()
    none = over_units(np.full((2, 3, 2), np.nan), TRAINED[:3], TESTED[:3])
    assert all(np.isnan(values).all() for values in none)


@pytest.mark.parametrize("folds", [3, 5, 10])
@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_intervals_hold_the_truth_and_both_spreads_are_found_again(folds: int, noise: float) -> None:
    # by cross-validation folds share training clips: their results correlate by tested / (tested + trained)
    rng, repeats, seeds, truth = np.random.default_rng(folds), 4000, 2, 0.5
    share = 1 / folds
    common, own = rng.normal(size=(repeats, 1)), rng.normal(size=(repeats, folds))
    of_folds = np.sqrt(share) * common + np.sqrt(1 - share) * own
    values = truth + of_folds[..., None] + noise * rng.normal(size=(repeats, folds, seeds))
    found = over_units(values, np.full(folds, folds - 1.0), np.ones(folds))
    held = np.mean((found.low <= truth) & (truth <= found.high))
    assert 0.92 <= held <= 0.98
    assert np.sqrt(np.mean(found.sd_seeds**2)) == pytest.approx(noise, rel=0.05)
    # what lies between folds that share some of their clips
    assert np.sqrt(np.mean(found.sd_folds**2)) == pytest.approx(np.sqrt(1 - share), rel=0.1)


def test_the_share_of_signs_is_that_of_the_distribution() -> None:
    rng = np.random.default_rng(3)
    # of a normal number with mean 1 and standard deviation 1, 84.13 % are positive
    found = over_units(rng.normal(1.0, 1.0, size=(200, 10, 10)), np.full(10, 9.0), np.ones(10))
    assert found.sign.mean() == pytest.approx(0.8413, abs=0.01)
