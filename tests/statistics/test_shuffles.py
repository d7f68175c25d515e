"""Shuffles move clips within their speaker, and nothing else."""

import numpy as np
import pytest

from lorascope.statistics.shuffles import clip_orders, shuffled_labels

SPEAKERS = np.array(list("abbacacbab"))


def test_every_order_is_one_and_keeps_speakers():
    orders = clip_orders(SPEAKERS, 10, 40, 0)
    assert orders.shape == (40, 10)
    assert (np.sort(orders, axis=1) == np.arange(10)).all()
    assert (SPEAKERS[orders] == SPEAKERS).all()
    assert len(np.unique(orders, axis=0)) > 30


def test_places_within_a_speaker_are_equally_likely():
    own = np.flatnonzero(SPEAKERS == "a")
    found = clip_orders(SPEAKERS, 10, 4000, 3)[:, own]
    shares = np.array([(found == clip).mean(axis=0) for clip in own])
    np.testing.assert_allclose(shares, 1 / len(own), atol=4 * np.sqrt(0.25 * 0.75 / 4000))


@pytest.mark.parametrize("speakers", [None, list("abcdefghij")])
def test_over_all_where_no_speaker_has_two(speakers):
    orders = clip_orders(speakers, 10, 200, 1)
    assert all(len(np.unique(column)) == 10 for column in orders.T)


def test_labels_stay_with_their_speaker():
    labels = np.random.default_rng(0).integers(0, 3, 10)
    for shuffled in shuffled_labels(labels, SPEAKERS, 30, 0):
        for name in "abc":
            own = name == SPEAKERS
            assert sorted(shuffled[own]) == sorted(labels[own])


def test_speakers_exchange_labels_where_each_has_one():
    labels = np.searchsorted(["a", "b", "c"], SPEAKERS) % 2
    found = {tuple(row) for row in shuffled_labels(labels, SPEAKERS, 60, 0)}
    # one of three speakers has the other label
    assert len(found) == 3
    for row in found:
        assert all(len(set(np.array(row)[name == SPEAKERS])) == 1 for name in "abc")


def test_seed_decides():
    first, again, other = (shuffled_labels(np.arange(10), SPEAKERS, 5, seed) for seed in (1, 1, 2))
    assert (first == again).all() and not (first == other).all()
