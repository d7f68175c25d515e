"""The statistics, against published formulas written out, other libraries, and properties that they must have."""

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from sklearn.metrics import recall_score
from sklearn.metrics.pairwise import rbf_kernel as sklearn_rbf

from lorascope import stats


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def hsic_1(k, m):
    """Song et al. (2012), eq. 5, term by term."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def hsic_u_statistic(k, m):
    """The same as the plain U-statistic over quadruples of different clips, ignoring no symmetry."""
    n = len(k)
    total = count = 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                        count += 1
    return total / count


def linear_cka_in_feature_space(x, y):
    """Kornblith et al. (2019): |Yᵀ X|² / (|Xᵀ X| |Yᵀ Y|) on centred columns."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


class TestSpectrum:
    def test_gram_in_blocks_gives_the_singular_values_of_all_rows(self, rng):
        x = rng.normal(size=(90, 6)) * 10.0 ** -np.arange(6)
        gram = stats.Gram()
        for block in np.split(x, 3):
            gram.update(torch.from_numpy(block.reshape(5, 6, 6)))
        expected = np.linalg.svd(x, compute_uv=False) ** 2
        np.testing.assert_allclose(stats.power_spectrum(gram.compute()), expected, rtol=1e-5, atol=1e-13 * expected[0])

    def test_gram_adds_in_float64(self):
        gram = stats.Gram()
        for value in (1e4, *[1e-1] * 100):
            gram.update(torch.tensor([[value]]))
        assert gram.compute()[0, 0] == pytest.approx(1e8 + 1.0, rel=1e-12, abs=0.01)

    def test_gram_without_blocks_has_no_value(self):
        with pytest.raises(ValueError, match="never updated"):
            stats.Gram().compute()

    @pytest.mark.parametrize(("power", "expected"), [([90, 10], 1), ([89, 11], 2), ([1] * 10, 9), ([5, 0, 0], 1)])
    def test_k90_of_a_known_spectrum(self, power, expected):
        assert stats.k90(np.array(power, dtype=float)) == expected

    def test_equal_directions_count_fully(self):
        power = np.array([3.0] * 4 + [0.0] * 3)
        assert stats.participation_ratio(power) == pytest.approx(4)
        assert stats.entropy_rank(power) == pytest.approx(4)

    def test_nothing_has_no_spectrum(self):
        power = np.zeros(3)
        with np.errstate(all="raise"):
            for number in (stats.k90, stats.participation_ratio, stats.entropy_rank, stats.energy):
                assert np.isnan(number(power)).all()

    def test_energy_ends_at_one(self, rng):
        assert stats.energy(rng.random(9))[-1] == pytest.approx(1)


class TestCka:
    def test_debiased_is_the_published_unbiased_hsic(self, rng):
        k, m = (stats.linear_kernel(rng.normal(size=(8, 5))) for _ in range(2))
        assert stats.hsic_debiased(k, m) == pytest.approx(hsic_1(k, m), rel=1e-10)
        assert stats.hsic_debiased(k, m) == pytest.approx(hsic_u_statistic(k, m), rel=1e-9)

    def test_debiased_cka_is_made_of_it(self, rng):
        k, m = (stats.linear_kernel(rng.normal(size=(20, 5))) for _ in range(2))
        expected = hsic_1(k, m) / np.sqrt(hsic_1(k, k) * hsic_1(m, m))
        assert float(stats.cka(k, m, "debiased")) == pytest.approx(expected, rel=1e-10)

    def test_biased_linear_is_the_formula_in_feature_space(self, rng):
        x = rng.normal(size=(30, 6)) + 50
        y = x[:, :4] @ rng.normal(size=(4, 9)) + rng.normal(size=(30, 9))
        value = stats.cka(stats.linear_kernel(x), stats.linear_kernel(y), "biased")
        assert float(value) == pytest.approx(linear_cka_in_feature_space(x, y), rel=1e-10)
        k = x @ x.T
        h = np.eye(30) - 1 / 30
        assert stats.hsic_biased(k, y @ y.T) == pytest.approx(np.trace(k @ h @ (y @ y.T) @ h) / 29**2, rel=1e-9)

    def test_the_origin_does_not_matter(self, rng):
        x, y = rng.normal(size=(12, 4)) + 3, rng.normal(size=(12, 4)) - 8
        for estimator in ("biased", "debiased"):
            plain = stats.cka(x @ x.T, y @ y.T, estimator)
            assert stats.cka(stats.linear_kernel(x), stats.linear_kernel(y), estimator) == pytest.approx(
                plain, rel=1e-9
            )

    @pytest.mark.parametrize("estimator", ["biased", "debiased"])
    def test_a_view_equals_itself_rotated_and_scaled(self, rng, estimator):
        x = rng.normal(size=(25, 7))
        rotation, _ = np.linalg.qr(rng.normal(size=(7, 7)))
        k = stats.linear_kernel(x)
        assert float(stats.cka(k, k, estimator)) == pytest.approx(1)
        assert float(stats.cka(k, stats.linear_kernel(3.7 * x @ rotation), estimator)) == pytest.approx(1)

    def test_independent_wide_data_fools_only_the_biased_estimator(self, rng):
        k, m = (stats.linear_kernel(rng.normal(size=(60, 20_000))) for _ in range(2))
        assert stats.cka(k, m, "biased") > 0.98
        assert abs(stats.cka(k, m, "debiased")) < 0.1

    def test_the_debiased_estimator_averages_to_zero_on_independent_data(self, rng):
        values = [
            stats.cka(*(stats.linear_kernel(rng.normal(size=(12, 3))) for _ in range(2)), "debiased")
            for _ in range(300)
        ]
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
        assert np.min(values) < 0

    def test_rbf_matches_sklearn_up_to_its_constant(self, rng):
        x = rng.normal(size=(15, 4)) + 9
        np.testing.assert_allclose(stats.rbf_kernel(x @ x.T, 0.3) + 1, sklearn_rbf(x, gamma=0.3), atol=1e-12)

    @pytest.mark.parametrize("estimator", ["biased", "debiased"])
    def test_the_constant_that_rbf_leaves_off_changes_nothing(self, rng, estimator):
        x, y = rng.normal(size=(15, 4)), rng.normal(size=(15, 4))
        ours = [stats.rbf_kernel(stats.linear_kernel(v), 0.2) for v in (x, y)]
        theirs = [sklearn_rbf(v, gamma=0.2) for v in (x, y)]
        assert float(stats.cka(*ours, estimator)) == pytest.approx(float(stats.cka(*theirs, estimator)), rel=1e-9)

    def test_rbf_of_tiny_values_tends_to_linear_on_squared_distances(self, rng):
        x, y = rng.normal(size=(15, 4)), rng.normal(size=(15, 4))
        tiny = [stats.rbf_kernel(stats.linear_kernel(1e-9 * v), 0.25) for v in (x, y)]
        exact = stats.cka(stats.linear_kernel(x), stats.linear_kernel(y), "biased")
        assert float(stats.cka(*tiny, "biased")) == pytest.approx(float(exact), rel=1e-9)

    def test_median_heuristic(self):
        points = np.array([[0.0], [1.0], [3.0]])
        assert stats.median_gamma(stats.linear_kernel(points)) == pytest.approx(1 / (2 * 2.0**2))
        assert np.isnan(stats.median_gamma(np.zeros((3, 3))))

    def test_constant_features_have_no_cka(self, rng):
        flat = stats.linear_kernel(np.full((10, 3), 0.1))
        k = stats.linear_kernel(rng.normal(size=(10, 3)))
        with np.errstate(all="raise"):
            for estimator in ("biased", "debiased"):
                assert np.isnan(stats.cka(k, flat, estimator))
                assert np.isnan(stats.cka(k, np.full((10, 10), 0.1), estimator))
                assert np.isnan(stats.permutation_null(k, flat, estimator, 5, 0)).all()
                assert np.isnan(stats.half_sample_interval(k, flat, estimator, 5, 0)).all()

    def test_null_is_cka_of_shuffled_clips(self, rng):
        x = rng.normal(size=(9, 3))
        y = x + 0.1 * rng.normal(size=(9, 3))
        k, m = stats.linear_kernel(x), stats.linear_kernel(y)
        null = stats.permutation_null(k, m, "debiased", 40, 1)
        order = np.random.default_rng(1).permutation(9)
        first = stats.cka(k, stats.linear_kernel(y[order]), "debiased")
        assert null[0] == pytest.approx(float(first))
        assert null.max() < stats.cka(k, m, "debiased")

    def test_half_samples_cover_the_true_value(self):
        """Of 95 % intervals about 95 % must hold what very many clips give."""
        rng = np.random.default_rng(3)
        mix = rng.normal(size=(4, 4))

        def views(n):
            x = rng.normal(size=(n, 4))
            return stats.linear_kernel(x), stats.linear_kernel(x @ mix + 2 * rng.normal(size=(n, 4)))

        truth = stats.cka(*views(2000), "debiased")
        trials = 150
        held = 0
        for trial in range(trials):
            low, high = stats.half_sample_interval(*views(40), "debiased", 200, trial)
            held += low <= truth <= high
        assert 0.85 < held / trials <= 1.0


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
        weighted = stats.weighted_recall(gold, predicted, stats.counts([rows], 20), 3)[0]
        assert weighted == pytest.approx(stats.unweighted_average_recall(gold[rows], predicted[rows], 3))


class TestResampling:
    speakers = ("a",) * 3 + ("b",) * 5 + ("c",) * 2

    def test_speakers_come_whole(self):
        sizes = {"a": 3, "b": 5, "c": 2}
        for rows in stats.speaker_bootstrap(self.speakers, 20, 0):
            for name, size in sizes.items():
                picked = [row for row in rows if self.speakers[row] == name]
                assert len(picked) % size == 0
                assert len(set(picked)) in (0, size)

    def test_clips_are_drawn_within_drawn_speakers(self):
        samples = stats.bootstrap_rows(self.speakers, 200, 0)
        assert {len(rows) for rows in samples} >= {9, 15, 6}
        assert any(len(set(rows)) < len(rows) for rows in samples)

    def test_one_speaker_leaves_a_plain_bootstrap(self):
        values = np.random.default_rng(0).normal(size=50)
        means = [values[rows].mean() for rows in stats.bootstrap_rows(["x"] * 50, 2000, 0)]
        assert np.std(means) == pytest.approx(values.std() / np.sqrt(50), rel=0.08)

    def test_seed_decides(self):
        first, again, other = (stats.bootstrap_rows(self.speakers, 5, seed) for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))

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
