"""Orders of labels: found where they are others, never at chance."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

import numpy as np

from lorascope.examination.checks.labels import best_order, holm, misordered
from lorascope.examination.finding import ALPHA


def answers(accuracy, clips=120, classes=4, seed=0):
    random = np.random.default_rng(seed)
    gold = np.arange(clips) % classes
    right = random.random(clips) < accuracy
    predicted = np.where(right, gold, random.integers(classes, size=clips))
    return labelled(gold, predicted, np.arange(clips) // 12)


def labelled(gold, predicted, speakers):
    return SimpleNamespace(gold=gold, predicted=predicted, speakers=speakers, classes=("a", "b", "c", "d"))


def told(found):
    order, p = misordered(found)
    return order if p < ALPHA else None


def test_every_other_order_is_found_and_the_given_one_is_none():
    found = answers(0.6)
    for order in permutations(range(4)):
        moved = labelled(found.gold, np.argsort(order)[found.predicted], found.speakers)
        assert told(moved) == (None if order == (0, 1, 2, 3) else list(order))


def test_chance_has_no_order():
    assert [told(answers(0.0, seed=seed)) for seed in range(100)] == [None] * 100


def test_one_class_for_nearly_everything_has_no_order():
    # of 60 clips of class 3 it answers 1 to twenty, and 0 to all else: these fit in another order, and nothing more
    gold = np.repeat(np.arange(4), 60)
    predicted = np.where((gold == 3) & (np.arange(240) % 3 == 0), 1, 0)
    found = labelled(gold, predicted, np.arange(240) % 10)
    order, _, _ = best_order(found)
    assert order == [0, 3, 2, 1] and told(found) is None


def test_what_follows_speakers_alone_has_no_order():
    # each speaker has one label more often, and is always answered with the next one
    random = np.random.default_rng(0)
    speakers = np.repeat(np.arange(8), 40)
    gold = np.where(random.random(320) < 0.7, speakers % 4, random.integers(4, size=320))
    assert told(labelled(gold, (speakers + 1) % 4, speakers)) is None


def test_holm_is_that_of_the_textbook():
    assert np.allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
