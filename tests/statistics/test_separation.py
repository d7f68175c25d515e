"""The numbers beside a picture, against scikit-learn, and on clouds whose answer is known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.model_selection import LeaveOneOut, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lorascope.statistics.separation import (
    Wide,
    embedding_2d,
    knn_accuracy,
    prepared,
    probe_folds,
    probe_predictions,
    separation,
    silhouette,
    standardised,
)

LABELS = np.arange(24) % 3


def cloud_of(gap, seed=0, columns=4):
    """24 clips of 3 classes, `gap` standard deviations apart."""
    return np.random.default_rng(seed).normal(size=(24, columns)) + gap * np.eye(3, columns)[LABELS]


def distances(cloud):
    return np.linalg.norm(cloud[:, None] - cloud[None], axis=-1)


def score(features, labels=LABELS, draws=50):
    speakers = np.array(["a", "b"])[np.arange(24) // 12]
    features = prepared(features, labels, 0)
    return separation(features, standardised(features), labels, speakers, draws, 0)


def test_silhouette_is_sklearns():
    cloud = cloud_of(1.0)
    shuffled = np.random.default_rng(1).permutation(LABELS)
    ours = silhouette(distances(cloud), np.stack([LABELS, shuffled]))
    assert ours == pytest.approx([silhouette_score(cloud, LABELS), silhouette_score(cloud, shuffled)])
    alone = np.where(np.arange(24) == 3, 2, LABELS % 2)
    assert silhouette(distances(cloud), alone[None])[0] == pytest.approx(silhouette_score(cloud, alone))


def test_knn_is_sklearns_where_nothing_ties():
    two = LABELS % 2
    cloud = cloud_of(0.0) + two[:, None]
    theirs = cross_val_predict(KNeighborsClassifier(5), cloud, two, cv=LeaveOneOut())
    assert knn_accuracy(distances(cloud), two[None])[0] == np.mean(theirs == two)


def test_knn_tie_goes_to_the_nearer():
    line = np.array([[0.0], [1.0], [1.1], [2.0], [2.1]])
    labels = np.array([0, 0, 0, 1, 1])
    # four neighbours of the first clip: two of each class, those of its own nearer
    assert knn_accuracy(distances(line), labels[None])[0] >= 1 / 5
    assert knn_accuracy(distances(line)[:5, :5], labels[None])[0] == pytest.approx(3 / 5)


def test_standardised_keeps_distances_of_wide_features():
    wide = np.random.default_rng(0).normal(size=(10, 50)) * np.arange(1, 51)
    turned = standardised(prepared(wide, np.arange(10) % 2, 0))
    # ten centred rows span nine dimensions
    assert turned.shape == (10, 9)
    np.testing.assert_allclose(distances(turned), distances(StandardScaler().fit_transform(wide)), atol=1e-9)


def test_probe_in_its_row_space_is_the_plain_probe():
    wide = cloud_of(0.7, columns=60)
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    theirs = cross_val_predict(plain, wide, LABELS, cv=StratifiedKFold(5, shuffle=True, random_state=0))
    np.testing.assert_array_equal(probe_predictions(prepared(wide, LABELS, 0), LABELS, 0), theirs)


def test_features_in_pieces_are_the_features():
    wide = cloud_of(0.7, columns=60)
    wide[:, 3], wide[:, 4] = 0.1, np.where(np.arange(24) == 5, 1.0, 0.0)
    pieces = prepared(Wide(lambda: np.split(wide, [1, 4, 30], axis=1)), LABELS, 0)
    whole = prepared(wide, LABELS, 0)
    # signs of principal components are free
    np.testing.assert_allclose(distances(standardised(pieces)), distances(standardised(whole)), atol=1e-9)
    np.testing.assert_array_equal(probe_predictions(pieces, LABELS, 0), probe_predictions(whole, LABELS, 0))


def test_the_probe_has_as_many_folds_as_the_smallest_class_allows():
    assert [len(probe_folds(labels, 0)) for labels in (LABELS, np.repeat([0, 1], [20, 3]), np.arange(3))] == [5, 3, 0]


def test_apart_and_mixed():
    apart, note = score(cloud_of(30.0, columns=3))
    assert note == ""
    assert apart.silhouette > 0.9 and apart.knn == apart.probe_uar == apart.probe_high == 1
    # of 24 clips that are all right, fewer could be
    assert 0.8 < apart.probe_low < 0.9
    assert apart.silhouette_null_high < 0.2 and apart.knn_null_high < 0.7
    mixed, _ = score(cloud_of(0.0))
    assert abs(mixed.silhouette) < 0.1 and mixed.probe_low < mixed.probe_uar < mixed.probe_high < 0.8
    assert mixed.knn_null == pytest.approx(7 / 23, abs=0.06)


def test_what_cannot_be_had_is_nan_with_a_reason():
    with np.errstate(all="raise"):
        numbers, note = score(np.full((24, 3), 0.1))
        assert np.isnan(numbers).all() and "alike" in note
        numbers, note = score(cloud_of(1.0), np.zeros(24, int))
        assert np.isnan(numbers).all() and "one class" in note
        numbers, note = score(cloud_of(1.0), (np.arange(24) == 0).astype(int))
        assert np.isnan(numbers.probe_uar) and not np.isnan(numbers.silhouette) and "single clip" in note


def test_class_numbers_need_not_be_dense():
    assert score(cloud_of(2.0), LABELS * 3 + 1) == score(cloud_of(2.0), LABELS)


def test_embedding():
    cloud = standardised(cloud_of(30.0))
    points, perplexity, note = embedding_2d(cloud)
    assert points.shape == (24, 2) and perplexity == pytest.approx(23 / 3) and note == ""
    assert silhouette(distances(points), LABELS[None])[0] > 0.5
    np.testing.assert_array_equal(points, embedding_2d(cloud)[0])
    assert not np.isnan(embedding_2d(cloud[:, :1])[0]).any()


def test_no_picture_of_too_few_or_equal_clips():
    for cloud, reason in ((cloud_of(1.0)[:3], "3 clips are too few"), (np.zeros((9, 2)), "alike")):
        points, perplexity, note = embedding_2d(cloud)
        assert np.isnan(points).all() and np.isnan(perplexity) and reason in note
