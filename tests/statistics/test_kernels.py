"""Kernels, HSIC and CKA against the published formulas, and what must hold of them."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel as sklearn_rbf

from lorascope.statistics import kernels
from lorascope.statistics.shuffles import clip_orders


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def hsic_1(k, m):
    """Song et al. (2012), eq. 5, term by term."""
    n = len(k)
    k, m = np.asarray(k), np.asarray(m)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def hsic_u_statistic(k, m):
    """The same as the plain U-statistic over quadruples of different clips, ignoring no symmetry."""
    n = len(k)
    k, m = np.asarray(k), np.asarray(m)
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


class TestCka:
    def test_debiased_is_the_published_unbiased_hsic(self, rng):
        k, m = (kernels.linear_kernel(rng.normal(size=(8, 5))) for _ in range(2))
        assert kernels.hsic_debiased(k, m) == pytest.approx(hsic_1(k, m), rel=1e-10)
        assert kernels.hsic_debiased(k, m) == pytest.approx(hsic_u_statistic(k, m), rel=1e-9)

    def test_debiased_cka_is_made_of_it(self, rng):
        k, m = (kernels.linear_kernel(rng.normal(size=(20, 5))) for _ in range(2))
        expected = hsic_1(k, m) / np.sqrt(hsic_1(k, k) * hsic_1(m, m))
        assert float(kernels.cka(k, m, "debiased")) == pytest.approx(expected, rel=1e-10)

    def test_biased_linear_is_the_formula_in_feature_space(self, rng):
        x = rng.normal(size=(30, 6)) + 50
        y = x[:, :4] @ rng.normal(size=(4, 9)) + rng.normal(size=(30, 9))
        value = kernels.cka(kernels.linear_kernel(x), kernels.linear_kernel(y), "biased")
        assert float(value) == pytest.approx(linear_cka_in_feature_space(x, y), rel=1e-10)
        k = x @ x.T
        h = np.eye(30) - 1 / 30
        assert kernels.hsic_biased(k, y @ y.T) == pytest.approx(np.trace(k @ h @ (y @ y.T) @ h) / 29**2, rel=1e-9)

    def test_the_origin_does_not_matter(self, rng):
        x, y = rng.normal(size=(12, 4)) + 3, rng.normal(size=(12, 4)) - 8
        for estimator in ("biased", "debiased"):
            plain = float(kernels.cka(x @ x.T, y @ y.T, estimator))
            moved = kernels.cka(kernels.linear_kernel(x), kernels.linear_kernel(y), estimator)
            assert float(moved) == pytest.approx(plain, rel=1e-9)

    @pytest.mark.parametrize("estimator", ["biased", "debiased"])
    def test_a_view_equals_itself_rotated_and_scaled(self, rng, estimator):
        x = rng.normal(size=(25, 7))
        rotation, _ = np.linalg.qr(rng.normal(size=(7, 7)))
        k = kernels.linear_kernel(x)
        assert float(kernels.cka(k, k, estimator)) == pytest.approx(1)
        assert float(kernels.cka(k, kernels.linear_kernel(3.7 * x @ rotation), estimator)) == pytest.approx(1)

    def test_independent_wide_data_fools_only_the_biased_estimator(self, rng):
        k, m = (kernels.linear_kernel(rng.normal(size=(60, 20_000))) for _ in range(2))
        assert kernels.cka(k, m, "biased") > 0.98
        assert abs(kernels.cka(k, m, "debiased")) < 0.1

    def test_the_debiased_estimator_averages_to_zero_on_independent_data(self, rng):
        values = [
            kernels.cka(*(kernels.linear_kernel(rng.normal(size=(12, 3))) for _ in range(2)), "debiased")
            for _ in range(300)
        ]
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
        assert np.min(values) < 0

    def test_rbf_matches_sklearn_up_to_its_constant(self, rng):
        x = rng.normal(size=(15, 4)) + 9
        np.testing.assert_allclose(kernels.rbf_kernel(x @ x.T, 0.3) + 1, sklearn_rbf(x, gamma=0.3), atol=1e-12)

    @pytest.mark.parametrize("estimator", ["biased", "debiased"])
    def test_the_constant_that_rbf_leaves_off_changes_nothing(self, rng, estimator):
        x, y = rng.normal(size=(15, 4)), rng.normal(size=(15, 4))
        ours = [kernels.rbf_kernel(kernels.linear_kernel(v), 0.2) for v in (x, y)]
        theirs = [sklearn_rbf(v, gamma=0.2) for v in (x, y)]
        assert float(kernels.cka(*ours, estimator)) == pytest.approx(float(kernels.cka(*theirs, estimator)), rel=1e-9)

    def test_rbf_of_tiny_values_tends_to_linear_on_squared_distances(self, rng):
        x, y = rng.normal(size=(15, 4)), rng.normal(size=(15, 4))
        tiny = [kernels.rbf_kernel(kernels.linear_kernel(1e-9 * v), 0.25) for v in (x, y)]
        exact = kernels.cka(kernels.linear_kernel(x), kernels.linear_kernel(y), "biased")
        assert float(kernels.cka(*tiny, "biased")) == pytest.approx(float(exact), rel=1e-9)

    def test_median_heuristic(self):
        points = np.array([[0.0], [1.0], [3.0]])
        assert kernels.median_gamma(kernels.linear_kernel(points)) == pytest.approx(1 / (2 * 2.0**2))
        assert kernels.median_gamma(np.zeros((3, 3))).isnan()

    def test_constant_features_have_no_cka(self, rng):
        flat = kernels.linear_kernel(np.full((10, 3), 0.1))
        k = kernels.linear_kernel(rng.normal(size=(10, 3)))
        for estimator in ("biased", "debiased"):
            assert kernels.cka(k, flat, estimator).isnan()
            assert kernels.cka(k, np.full((10, 10), 0.1), estimator).isnan()
            assert kernels.permutation_null(k, flat, estimator, 5, 0).isnan().all()
            assert kernels.cka_of_subsets(k, flat, estimator, 1 - np.eye(10)).isnan().all()

    def test_null_is_cka_of_shuffled_clips(self, rng):
        x = rng.normal(size=(9, 3))
        y = x + 0.1 * rng.normal(size=(9, 3))
        k, m = kernels.linear_kernel(x), kernels.linear_kernel(y)
        null = kernels.permutation_null(k, m, "debiased", 40, 1)
        order = clip_orders(None, 9, 40, 1)[0]
        first = kernels.cka(k, kernels.linear_kernel(y[order]), "debiased")
        assert null[0] == pytest.approx(float(first))
        assert null.max() < kernels.cka(k, m, "debiased")

    @pytest.mark.parametrize("estimator", ["biased", "debiased"])
    @pytest.mark.parametrize("clips", [9, 24])
    def test_subsets_have_the_cka_of_their_own_kernels(self, rng, estimator, clips):
        x, y = rng.normal(size=(clips, 4)) + 3, rng.normal(size=(clips, 6))
        k, m = kernels.linear_kernel(x), kernels.rbf_kernel(kernels.linear_kernel(y), 0.1)
        # of different sizes, as speakers are
        subsets = [rng.permutation(clips)[: rng.integers(4, clips)] for _ in range(20)]
        member = np.array([np.isin(np.arange(clips), subset) for subset in subsets], float)
        direct = [float(kernels.cka(k[np.ix_(h, h)], m[np.ix_(h, h)], estimator)) for h in subsets]
        np.testing.assert_allclose(kernels.cka_of_subsets(k, m, estimator, member), direct, rtol=1e-9, atol=1e-12)

    def test_a_subset_too_small_for_the_estimator_has_no_cka(self, rng):
        k = kernels.linear_kernel(rng.normal(size=(9, 4)))
        member = np.tril(np.ones((9, 9)))
        found = kernels.cka_of_subsets(k, k, "debiased", member[1:]).numpy()
        assert np.isnan(found[:2]).all() and found[2:] == pytest.approx(1)

    def test_null_keeps_what_only_the_speakers_have_in_common(self, rng):
        """Views that share but two far-apart voices are alike, and remain so when clips are
        shuffled within speakers.
        """
        speakers = np.repeat(["a", "b"], 12)
        voice = 20.0 * (speakers == "b")[:, None]
        k, m = (kernels.linear_kernel(rng.normal(size=(24, 3)) + voice) for _ in range(2))
        value = float(kernels.cka(k, m, "debiased"))
        within = kernels.permutation_null(k, m, "debiased", 100, 1, speakers).numpy()
        over_all = kernels.permutation_null(k, m, "debiased", 100, 1).numpy()
        assert value > 0.9 and within.min() > 0.9 and np.quantile(over_all, 0.975) < 0.5

    @pytest.mark.parametrize("estimator", ["biased", "debiased"])
    def test_many_pairs_at_once_are_each_ones_own(self, rng, estimator):
        first, second = (
            torch.stack([kernels.linear_kernel(rng.normal(size=(12, 3))) for _ in range(6)]).reshape(3, 2, 12, 12)
            for _ in range(2)
        )
        nulls = kernels.permutation_null(first, second, estimator, 30, 2)
        without = kernels.cka_of_subsets(first, second, estimator, 1 - np.eye(12))
        values = kernels.cka(first, second, estimator)
        assert nulls.shape == (3, 2, 30) and without.shape == (3, 2, 12) and values.shape == (3, 2)
        for place in np.ndindex(3, 2):
            pair = (first[place], second[place], estimator)
            np.testing.assert_allclose(nulls[place], kernels.permutation_null(*pair, 30, 2), rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(
                without[place], kernels.cka_of_subsets(*pair, 1 - np.eye(12)), rtol=1e-12, atol=1e-14
            )
            assert float(values[place]) == pytest.approx(float(kernels.cka(*pair)))

    def test_wide_features_in_pieces_have_the_kernel_of_the_whole(self, rng, monkeypatch):
        monkeypatch.setattr(kernels, "COLUMNS", 16)
        x = rng.normal(size=(9, 70)) + 4
        pieces = [torch.from_numpy(piece) for piece in np.split(x, [3, 50], axis=1)]
        moved = x - x[0]
        np.testing.assert_allclose(kernels.linear_kernel_of_pieces(pieces), moved @ moved.T, rtol=1e-12, atol=1e-12)

    def test_null_is_the_same_in_pieces(self, rng, monkeypatch):
        k, m = (kernels.linear_kernel(rng.normal(size=(12, 3))) for _ in range(2))
        at_once = kernels.permutation_null(k, m, "biased", 50, 3)
        monkeypatch.setitem(kernels.AT_ONCE, "cpu", 200)
        np.testing.assert_allclose(kernels.permutation_null(k, m, "biased", 50, 3), at_once, rtol=1e-12)
