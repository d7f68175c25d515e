"""Orders of labels: found where they are others, never at chance."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

import numpy as np

from lorascope.examination.checks.labels import agreement_p, best_order, holm, order_p
from lorascope.examination.finding import ALPHA


def answers(accuracy, clips=120, classes=4, seed=0):
    random = np.random.default_rng(seed)
    gold = np.arange(clips) % classes
    right = random.random(clips) < accuracy
    predicted = np.where(right, gold, random.integers(classes, size=clips))
    return SimpleNamespace(gold=gold, predicted=predicted, classes=tuple("abcd"[:classes]))


def told(found):
    order, _, _ = best_order(found)
    other = order != list(range(len(found.classes)))
    return order if other and max(holm([agreement_p(found), order_p(found, order)])) < ALPHA else None


def test_every_other_order_is_found_and_the_given_one_is_none():
    found = answers(0.6)
    for order in permutations(range(4)):
        moved = SimpleNamespace(gold=found.gold, predicted=np.argsort(order)[found.predicted], classes=found.classes)
        assert told(moved) == (None if order == (0, 1, 2, 3) else list(order))


def test_chance_has_no_order():
    assert [told(answers(0.0, seed=seed)) for seed in range(100)] == [None] * 100


def test_holm_is_that_of_the_textbook():
    assert np.allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
