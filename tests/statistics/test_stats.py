"""The statistics, against published formulas written out, other libraries, and properties that they must have."""

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from sklearn.metrics import recall_score

from lorascope.statistics import stats
from lorascope.statistics.grams import Gram, power_spectra, power_spectrum


@pytest.fixture
def rng():
    return np.random.default_rng(7)


class TestSpectrum:
    def test_gram_in_blocks_gives_the_singular_values_of_all_rows(self, rng):
        x = rng.normal(size=(90, 6)) * 10.0 ** -np.arange(6)
        gram = Gram()
        for block in np.split(x, 3):
            gram.update(torch.from_numpy(block.reshape(5, 6, 6)))
        expected = np.linalg.svd(x, compute_uv=False) ** 2
        np.testing.assert_allclose(power_spectrum(gram.total), expected, rtol=1e-5, atol=1e-13 * expected[0])

    def test_gram_adds_in_float64(self):
        gram = Gram()
        for value in (1e4, *[1e-1] * 100):
            gram.update(torch.tensor([[value]]))
        assert gram.compute()[0, 0] == pytest.approx(1e8 + 1.0, rel=1e-12, abs=0.01)

    def test_gram_without_blocks_has_no_value(self):
        with pytest.raises(ValueError, match="never updated"):
            Gram().compute()

    def test_spectra_of_several_are_each_ones_own(self, rng):
        grams = [
            torch.from_numpy(x @ x.swapaxes(-1, -2)) for x in (rng.normal(size=(4, 4)), rng.normal(size=(3, 5, 5)))
        ]
        grams.append(grams[0] + torch.eye(4))
        for gram, power in zip(grams, power_spectra(grams), strict=True):
            np.testing.assert_allclose(power, np.linalg.eigvalsh(gram.numpy())[..., ::-1], rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_gram_of_half_precision_rows_is_not_rounded_to_it(self, rng, dtype):
        rows = torch.from_numpy(rng.normal(size=(50, 6))).to(dtype)
        gram = Gram()
        gram.update(rows)
        np.testing.assert_allclose(gram.compute(), (rows.double().T @ rows.double()).numpy(), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(("power", "expected"), [([90, 10], 1), ([89, 11], 2), ([1] * 10, 9), ([5, 0, 0], 1)])
    def test_k90_of_a_known_spectrum(self, power, expected):
        assert stats.k90(np.array(power, dtype=float)) == expected

    def test_k90_is_the_next_whole_number_from_where_the_energy_crosses(self, rng):
        assert stats.k90_crossing(np.array([50.0, 50.0, 0.0])) == pytest.approx(1.8)
        powers = np.sort(rng.random((50, 12)) ** 4)[:, ::-1]
        assert (np.ceil(stats.k90_crossing(powers) - 1e-9) == stats.k90(powers)).all()

    def test_equal_directions_count_fully(self):
        power = np.array([3.0] * 4 + [0.0] * 3)
        assert stats.participation_ratio(power) == pytest.approx(4)
        assert stats.entropy_rank(power) == pytest.approx(4)

    def test_nothing_has_no_spectrum(self):
        power = np.zeros(3)
        with np.errstate(all="raise"):
            for number in (stats.k90, stats.k90_crossing, stats.participation_ratio, stats.entropy_rank, stats.energy):
                assert np.isnan(number(power)).all()

    def test_energy_ends_at_one(self, rng):
        assert stats.energy(rng.random(9))[-1] == pytest.approx(1)


class TestRecall:
    def test_against_sklearn(self, rng):
        gold, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
        expected = recall_score(gold, predicted, average="macro")
        assert stats.unweighted_average_recall(gold, predicted, 4) == pytest.approx(expected)

    def test_absent_class_is_left_out(self):
        assert stats.unweighted_average_recall(np.array([0, 0, 1]), np.array([0, 2, 1]), 4) == pytest.approx(0.75)

    def test_no_clips_no_recall(self):
        assert np.isnan(stats.unweighted_average_recall(np.array([], int), np.array([], int), 3))

    def test_weights_are_repetitions(self, rng):
        gold, predicted = rng.integers(0, 3, 20), rng.integers(0, 3, 20)
        rows = rng.integers(0, 20, 30)
        weighted = stats.weighted_recall(gold, predicted, np.bincount(rows, minlength=20)[None], 3)[0]
        assert weighted == pytest.approx(stats.unweighted_average_recall(gold[rows], predicted[rows], 3))


class TestPercentiles:
    def test_interval_of_known_replicates(self):
        assert stats.percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


class TestPairedTests:
    def test_without_overlap_it_is_the_plain_t_test(self, rng):
        differences = rng.normal(0.3, 1, 12)
        expected = scipy_stats.ttest_1samp(differences, 0)
        ours = stats.corrected_resampled_t(differences, 1.0, 0.0)
        assert (ours.t, ours.p) == pytest.approx((expected.statistic, expected.pvalue))
        interval = expected.confidence_interval()
        assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))

    def test_overlap_widens_by_the_published_factor(self, rng):
        differences = rng.normal(0.3, 1, 10)
        plain = stats.corrected_resampled_t(differences, 1.0, 0.0)
        corrected = stats.corrected_resampled_t(differences, 90, 10)
        factor = np.sqrt((1 / 10 + 1 / 9) / (1 / 10))
        assert plain.t / corrected.t == pytest.approx(factor)
        assert (corrected.high - corrected.low) / (plain.high - plain.low) == pytest.approx(factor)

    def test_degenerate_differences(self):
        assert np.isnan(stats.corrected_resampled_t([0.1], 9, 1)).all()
        assert stats.corrected_resampled_t([0.0, 0.0], 9, 1) == (0, 1, 0, 0)
        assert stats.corrected_resampled_t([-0.5, -0.5], 9, 1) == (-np.inf, 0, -0.5, -0.5)

    def test_wilcoxon(self, rng):
        differences = rng.normal(0.5, 1, 10)
        expected = scipy_stats.wilcoxon(differences)
        assert stats.wilcoxon(differences) == pytest.approx((expected.statistic, expected.pvalue))
        assert stats.wilcoxon([0.0, 0.0]) == (0, 1)
