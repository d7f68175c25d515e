"""Aggregation over folds and seeds: against a plain computation, by what must hold, and on units of known spread."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from lorascope.statistics.aggregation import SUFFIXES, aggregate


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def units(values, **keys):
    """A table of `values` [rows, folds, seeds], rows told apart by `layer`."""
    index = np.indices(np.shape(values)).reshape(3, -1)
    return pd.DataFrame(dict(zip(("layer", "fold", "seed"), index, strict=True)) | {"ratio": np.ravel(values)} | keys)


def simulated(rng, rows, folds, seeds, of_fold, of_seed, mean=1.0):
    """Units whose folds correlate as the corrected t assumes, by 1 / folds: [rows, folds, seeds]."""
    varying = of_fold**2 + of_seed**2 / seeds
    shared = np.sqrt(varying / (folds - 1)) * rng.normal(size=(rows, 1, 1))
    own = of_fold * rng.normal(size=(rows, folds, 1)) + of_seed * rng.normal(size=(rows, folds, seeds))
    return mean + shared + own


class TestAgainstPlainComputation:
    def test_uneven_units_row_by_row(self, rng):
        table = units(rng.normal(0.3, 1, size=(6, 4, 3)))
        table = table[rng.random(len(table)) < 0.8].sample(frac=1, random_state=1)
        table.loc[table.index[::9], "ratio"] = np.nan
        found = aggregate(table, ["layer"], ["ratio"]).set_index("layer")
        for layer, own in table.dropna(subset="ratio").groupby("layer"):
            lists = [list(part["ratio"]) for _, part in own.groupby("fold")]
            means = [sum(part) / len(part) for part in lists]
            mean, folds = sum(means) / len(means), len(means)
            squares = sum((m - mean) ** 2 for m in means) / (folds - 1)
            reach = scipy_stats.t.ppf(0.975, folds - 1) * (squares * (1 / folds + 1 / (folds - 1))) ** 0.5
            flat = list(itertools.chain(*lists))
            within = sum((x - m) ** 2 for part, m in zip(lists, means, strict=True) for x in part) / (len(flat) - folds)
            added = squares - within * sum(1 / len(part) for part in lists) / folds
            row = found.loc[layer]
            told = [row["ratio" + suffix] for suffix in SUFFIXES]
            same = sum((x > 0) == (mean > 0) for x in flat) / len(flat)
            counts = [folds, own["seed"].nunique(), len(flat), same]
            expected = [mean, mean - reach, mean + reach, *counts, max(added, 0) ** 0.5, within**0.5]
            assert told == pytest.approx(expected)

    def test_a_given_overlap_of_none_is_the_plain_t_interval(self, rng):
        values = rng.normal(size=(1, 6, 1))
        row = aggregate(units(values), ["layer"], ["ratio"], test_over_train=0.0).iloc[0]
        interval = scipy_stats.ttest_1samp(values.ravel(), 0).confidence_interval()
        assert (row["ratio_low"], row["ratio_high"]) == pytest.approx((interval.low, interval.high))


class TestWhatMustHold:
    def test_order_and_other_columns_do_not_matter(self, rng):
        table = units(rng.normal(size=(3, 4, 2)), clips=100)
        found = aggregate(table, ["layer"], ["ratio"])
        again = aggregate(table.sample(frac=1, random_state=0), ["layer"], ["ratio"]).sort_values("layer")
        pd.testing.assert_frame_equal(found, again.reset_index(drop=True))
        assert "clips" not in found

    def test_shift_and_scale(self, rng):
        values = rng.normal(size=(3, 4, 2))
        plain, moved = (aggregate(units(x), ["layer"], ["ratio"]) for x in (values, 5 - 2 * values))
        np.testing.assert_allclose(moved["ratio"], 5 - 2 * plain["ratio"])
        np.testing.assert_allclose(moved["ratio_low"], 5 - 2 * plain["ratio_high"])
        for spread in ("ratio_sd_folds", "ratio_sd_seeds"):
            np.testing.assert_allclose(moved[spread], 2 * plain[spread])

    def test_a_fold_with_more_seeds_counts_no_more(self):
        table = pd.DataFrame({"fold": ["a", "a", "a", "b"], "seed": [1, 2, 3, 1], "x": [1.0, 1.0, 1.0, 3.0]})
        assert aggregate(table, [], ["x"])["x"].item() == 2.0

    def test_one_fold_has_no_interval_and_one_seed_no_spread_over_seeds(self, rng):
        one_fold = aggregate(units(rng.normal(size=(1, 1, 3))), ["layer"], ["ratio"]).iloc[0]
        assert np.isnan(one_fold[["ratio_low", "ratio_high", "ratio_sd_folds"]].to_numpy(dtype=float)).all()
        assert float(one_fold["ratio_sd_seeds"]) > 0
        one_seed = aggregate(units(rng.normal(size=(1, 3, 1))), ["layer"], ["ratio"]).iloc[0]
        assert np.isnan(float(one_seed["ratio_sd_seeds"]))
        assert float(one_seed["ratio_sd_folds"]) > 0

    def test_a_row_without_numbers_is_kept_as_unknown(self):
        table = units(np.array([[[np.nan], [np.nan]], [[1.0], [2.0]]]))
        found = aggregate(table, ["layer"], ["ratio"])
        assert found["ratio_units"].tolist() == [0, 2]
        rest = found.loc[0, [f"ratio{s}" for s in SUFFIXES if s not in ("_folds", "_seeds", "_units")]]
        assert np.isnan(rest.to_numpy(dtype=float)).all()

    def test_missing_keys_are_a_combination_of_their_own(self):
        table = pd.DataFrame(
            {"module": ["v_proj", None] * 2, "fold": [0, 0, 1, 1], "seed": 0, "x": [1.0, 5.0, 2.0, 6.0]}
        )
        assert aggregate(table, ["module"], ["x"])["x"].tolist() == [1.5, 5.5]

    def test_a_unit_told_twice_or_a_column_that_is_not_there_is_refused(self, rng):
        table = units(rng.normal(size=(2, 3, 1)))
        with pytest.raises(ValueError, match="fold=0, seed=0 twice"):
            aggregate(table, [], ["ratio"])
        with pytest.raises(ValueError, match="no column cosine"):
            aggregate(table, ["layer"], ["cosine"])

    def test_fifty_thousand_rows_cost_no_loop(self, rng, monkeypatch):
        calls = []
        monkeypatch.setattr(np, "bincount", lambda *args, real=np.bincount, **kw: calls.append(1) or real(*args, **kw))
        found = aggregate(units(rng.normal(size=(5000, 5, 2))), ["layer"], ["ratio"])
        assert len(found) == 5000 and len(calls) < 20


class TestUnitsOfKnownSpread:
    @pytest.mark.parametrize("folds", [2, 3, 5, 10])
    @pytest.mark.parametrize(("of_fold", "of_seed"), [(0.5, 0.2), (0.2, 0.5)])
    def test_interval_holds_the_mean(self, rng, folds, of_fold, of_seed):
        table = units(simulated(rng, 4000, folds, 3, of_fold, of_seed))
        found = aggregate(table, ["layer"], ["ratio"])
        assert 0.92 < ((found["ratio_low"] < 1) & (found["ratio_high"] > 1)).mean() < 0.98
        assert np.sqrt((found["ratio_sd_seeds"] ** 2).mean()) == pytest.approx(of_seed, rel=0.05)

    @pytest.mark.parametrize(("of_fold", "of_seed"), [(0.5, 0.2), (0.4, 0.5)])
    def test_both_spreads_are_found(self, rng, of_fold, of_seed):
        # with few folds many components of variance are cut at 0, which lifts their mean; with forty next to none
        found = aggregate(units(simulated(rng, 1000, 40, 3, of_fold, of_seed)), ["layer"], ["ratio"])
        assert (found["ratio_sd_folds"] > 0).mean() > 0.97
        assert np.sqrt((found["ratio_sd_folds"] ** 2).mean()) == pytest.approx(of_fold, rel=0.03)
        assert np.sqrt((found["ratio_sd_seeds"] ** 2).mean()) == pytest.approx(of_seed, rel=0.03)

    def test_share_of_the_sign_is_found_again(self, rng):
        # many folds, so that what they share is small and the mean's sign is that of the truth
        table = units(simulated(rng, 300, 40, 3, 0.6, 0.8, mean=1.0))
        expected = scipy_stats.norm.cdf(1.0 / np.sqrt(0.6**2 + 0.8**2))
        found = aggregate(table, ["layer"], ["ratio"])
        assert found["ratio_same_sign"].mean() == pytest.approx(expected, abs=0.015)
