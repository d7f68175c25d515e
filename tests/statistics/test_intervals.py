"""Intervals against textbook ones where the textbook has any, and what must hold of them whatever the data."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lorascope.statistics import stats
from lorascope.statistics.intervals import (
    CLIPS,
    CORRELATION,
    LOG,
    PLAIN,
    SPEAKERS,
    LeftOut,
    clips_in_a_recall,
    proportion,
)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def of_speakers(sizes, classes=None):
    """Speakers with so many clips each, and what is left out; all clips of one class unless each speaker's is told."""
    speakers = np.repeat([f"s{number}" for number in range(len(sizes))], sizes)
    labels = np.zeros(len(speakers), int) if classes is None else np.repeat(classes, sizes)
    return speakers, LeftOut(speakers, labels)


class TestWhatItSpeaksOf:
    def test_of_speakers_from_three_on(self):
        for count, of, units in ((1, CLIPS, 5), (2, CLIPS, 10), (3, SPEAKERS, 3), (6, SPEAKERS, 6)):
            _, left_out = of_speakers([5] * count)
            assert left_out.of == of and left_out.weights.shape == (units, 5 * count)

    def test_each_unit_is_left_out_once(self):
        speakers, left_out = of_speakers([2, 5, 3])
        for number, (row, left) in enumerate(zip(left_out.weights, left_out.left, strict=True)):
            assert set(speakers[~left]) == {f"s{number}"} and ((row > 0) == left).all()

    def test_the_others_of_a_stratum_count_for_who_is_left_out(self):
        _, left_out = of_speakers([3, 3, 3, 3, 3], [0, 0, 1, 1, 1])
        first, last = left_out.weights[0], left_out.weights[4]
        assert first.tolist() == [0] * 3 + [2] * 3 + [1] * 9
        assert last.tolist() == [1] * 6 + [1.5] * 6 + [0] * 3

    def test_nameless_clips_are_one_speaker(self):
        assert len(LeftOut([None, "a", float("nan"), "b", None, "b"], [0] * 6).weights) == 4

    def test_one_clip_has_no_interval(self):
        left_out = LeftOut(["a"], [0])
        with np.errstate(all="raise"):
            assert np.isnan(left_out.of_accuracy(np.array([True]))).all()


class TestOfMeans:
    def test_speakers_with_as_many_clips_give_the_t_interval_of_their_means(self, rng):
        _, left_out = of_speakers([4] * 7)
        values = rng.normal(size=28) + np.repeat(rng.normal(size=7), 4)
        expected = scipy_stats.ttest_1samp(values.reshape(7, 4).mean(axis=1), 0).confidence_interval()
        assert left_out.interval(values.mean(), left_out.mean(values)) == pytest.approx(tuple(expected))

    def test_clips_of_one_speaker_and_class_give_the_t_interval(self, rng):
        _, left_out = of_speakers([15])
        values = rng.normal(size=15)
        expected = scipy_stats.ttest_1samp(values, 0).confidence_interval()
        assert left_out.interval(values.mean(), left_out.mean(values)) == pytest.approx(tuple(expected))

    def test_two_speakers_are_strata(self, rng):
        """How far apart the two speakers lie is no uncertainty of theirs; Welch's test has the same width."""
        _, left_out = of_speakers([9, 9])
        values = rng.normal(size=18) * np.repeat([1, 3], 9)
        low, high = left_out.interval(values.mean(), left_out.mean(values))
        welch = scipy_stats.ttest_ind(values[:9], values[9:], equal_var=False).confidence_interval()
        assert high - low == pytest.approx((welch.high - welch.low) / 2)
        moved = values + np.repeat([0, 50], 9)
        low_moved, high_moved = left_out.interval(moved.mean(), left_out.mean(moved))
        assert high_moved - low_moved == pytest.approx(high - low)

    def test_speakers_who_carry_the_class_are_strata(self, rng):
        speakers, left_out = of_speakers([6] * 9, [0, 0, 0, 0, 1, 1, 1, 1, 1])
        gold = np.repeat([0, 0, 0, 0, 1, 1, 1, 1, 1], 6)
        shares = rng.random(54)
        ends = left_out.interval(shares.mean(), left_out.mean(shares))
        # the mean over all is that of the classes' means, by their clips
        first, second = shares[:24].reshape(4, 6).mean(axis=1), shares[24:].reshape(5, 6).mean(axis=1)
        assert len(left_out.weights) == len(set(speakers)) and gold.sum() == 30
        variance = (4 / 9) ** 2 * first.var(ddof=1) / 4 + (5 / 9) ** 2 * second.var(ddof=1) / 5
        assert ends[1] - ends[0] == pytest.approx(2 * np.sqrt(variance) * 2.37, rel=0.06)

    def test_bias_is_taken_off(self, rng):
        """The jackknife turns the variance with n in its denominator into the one with n - 1."""
        _, left_out = of_speakers([1] * 12)
        values = rng.normal(size=12)
        without = np.array([values[row > 0].var() for row in left_out.weights])
        low, high = left_out.interval(values.var(), without, unbias=True)
        assert (low + high) / 2 == pytest.approx(values.var(ddof=1))

    def test_a_lost_replicate_is_no_interval(self):
        _, left_out = of_speakers([2, 2, 2])
        assert np.isnan(left_out.interval(0.5, np.array([0.4, np.nan, 0.6]))).all()


class TestScales:
    @pytest.mark.parametrize(
        ("scale", "values"),
        [
            (PLAIN, [-3, 0, 2.0]),
            (LOG, [0, 1e-9, 4.0]),
            (CORRELATION, [-0.999, 0, 0.9]),
            (proportion(40), [0, 0.3, 1.0]),
        ],
    )
    def test_there_and_back(self, scale, values):
        changed = scale.to(np.array(values))
        assert np.isfinite(changed).all() and (np.diff(changed) > 0).all()
        np.testing.assert_allclose(scale.back(changed), values, atol=1e-12, rtol=1e-9)

    def test_intervals_stay_where_the_number_can_be(self, rng):
        _, left_out = of_speakers([8] * 3)
        for right in rng.random((50, 24)) < 0.93:
            low, high = left_out.of_accuracy(right)
            assert 0 <= low <= right.mean() <= high <= 1


class TestShares:
    def test_clips_in_a_recall(self):
        assert clips_in_a_recall(np.repeat([0, 1, 2], 7)) == pytest.approx(21)
        # the mean of two shares of 3 and 48 clips varies as one of so many would: (1/3 + 1/48) / 4 = 1 / n
        assert clips_in_a_recall(np.repeat([0, 1], [3, 48])) == pytest.approx(4 / (1 / 3 + 1 / 48))

    @pytest.mark.parametrize("right", [True, False])
    def test_of_one_speaker_all_or_none_is_clopper_and_pearsons(self, right):
        _, left_out = of_speakers([20])
        expected = scipy_stats.binomtest(20 * right, 20).proportion_ci(method="exact")
        assert left_out.of_accuracy(np.full(20, right)) == pytest.approx((expected.low, expected.high))

    def test_all_right_is_less_certain_by_few_speakers(self):
        low, high = of_speakers([10] * 4)[1].of_accuracy(np.ones(40))
        exact = scipy_stats.binomtest(40, 40).proportion_ci(method="exact")
        assert high == 1 and 0.7 < low < exact.low

    def test_recall_is_the_shares_where_there_is_one_class(self, rng):
        _, left_out = of_speakers([6] * 5)
        predicted = (rng.random(30) < 0.3).astype(int)
        gold = np.zeros(30, int)
        assert left_out.of_recall(gold, predicted, 2) == pytest.approx(left_out.of_accuracy(predicted == gold))


class TestLostClasses:
    """A model that gives every clip the same answer has a UAR of 1 / classes, whoever speaks."""

    def of_constant(self, speakers, gold, n_classes):
        left_out = LeftOut(speakers, gold)
        return left_out.of_recall(gold, np.zeros(len(gold), int), n_classes)

    def test_a_constant_answer_in_a_corpus_of_two_languages(self):
        """37 clips, each speaker of one language: resampled speakers once gave .500 [.500, 1.000]."""
        sizes, languages = [6, 4, 5, 7, 5, 4, 6], [0, 0, 0, 0, 1, 1, 1]
        speakers, _ = of_speakers(sizes)
        gold = np.repeat(languages, sizes)
        assert len(gold) == 37
        assert self.of_constant(speakers, gold, 2) == pytest.approx((0.5, 0.5))

    @pytest.mark.parametrize("speakers", [1, 2, 3, 8])
    @pytest.mark.parametrize("classes", [2, 3, 5])
    def test_never_above_what_is_possible(self, rng, speakers, classes):
        gold = np.concatenate([np.arange(classes).repeat(2), rng.integers(0, classes, 40)])
        names = np.concatenate([np.tile(np.arange(2), classes), rng.integers(0, 40, 40)]) % speakers
        low, high = self.of_constant(names.astype(str), gold, classes)
        assert low == pytest.approx(1 / classes) and high == pytest.approx(1 / classes)

    def test_a_class_that_one_speaker_has_leaves_no_interval(self):
        gold = np.array([0, 0, 0, 0, 0, 0, 1, 1])
        assert np.isnan(self.of_constant(list("aabbccdd"), gold, 2)).all()
        # its share of right clips has one: no class is lost from that
        low, high = LeftOut(list("aabbccdd"), gold).of_accuracy(gold == 0)
        assert low < 0.75 < high

    def test_draws_that_lose_a_class_have_no_recall(self):
        gold, predicted = np.array([0, 0, 1]), np.array([0, 0, 0])
        weights = np.array([[1, 1, 1], [1, 2, 0], [0, 0, 3]])
        found = stats.weighted_recall(gold, predicted, weights, 4)
        assert found[0] == 0.5 and np.isnan(found[1:]).all()
