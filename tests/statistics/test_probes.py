"""Probes against scikit-learn's own pipelines, planted targets, and targets that are not there."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lorascope.statistics.probes import classified, determination, fit_logistic, held_out, regressed, split

RANDOM = np.random.default_rng(0)


def test_a_split_holds_out_whole_groups_and_every_clip_once():
    for names in (3, 5, 12):
        groups = RANDOM.integers(names, size=80)
        parts = split(groups, 1)
        assert sorted(np.concatenate([test for _, test in parts])) == list(range(80))
        assert len(parts) == min(names, 5)
        for train, test in parts:
            assert not set(groups[train]) & set(groups[test]) and len(train) + len(test) == 80
    assert split(np.zeros(9), 1) == []


@pytest.mark.parametrize("columns", [6, 200])
def test_classified_is_the_penalised_regression_on_all_columns(columns):
    labels = RANDOM.integers(3, size=60)
    features = RANDOM.normal(size=(60, columns)) + 0.8 * np.eye(3)[labels] @ RANDOM.normal(size=(3, columns))
    parts = split(RANDOM.integers(4, size=60), 0)
    labelings = np.vstack([labels, RANDOM.permutation(labels)])
    found = classified(held_out(features, parts), labelings)
    for labels, ours in zip(labelings, found, strict=True):
        for train, test in parts:
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, tol=1e-8))
            assert (model.fit(features[train], labels[train]).predict(features[test]) == ours[test]).all()


def test_weights_are_those_of_scikit_learn():
    features = np.linalg.qr(RANDOM.normal(size=(50, 12)) - 0)[0] * np.linspace(1, 30, 12)
    features -= features.mean(axis=0)
    u, sigma, _ = np.linalg.svd(features, full_matrices=False)
    labels = RANDOM.integers(4, size=50)
    theirs = LogisticRegression(max_iter=10_000, tol=1e-10).fit(u * sigma, labels)
    ours = fit_logistic(u * sigma, np.eye(4)[labels][None])[0]
    np.testing.assert_allclose(ours[:-1].T, theirs.coef_, atol=2e-3)
    np.testing.assert_allclose(ours[-1] - ours[-1].mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-3)


def test_a_planted_number_is_read_and_noise_is_not():
    features = RANDOM.normal(size=(80, 150))
    values = np.column_stack([features[:, 3] * 2 + 7, RANDOM.normal(size=80)])
    parts = held_out(features * np.where(np.arange(150) == 3, 9, 1) + 5, split(np.arange(80) // 16, 0))
    # standardised columns are alike, so the planted one must stand out by itself
    alone = held_out(features[:, :8], split(np.arange(80) // 16, 0))
    found = regressed(alone, values)
    assert r2_score(values[:, 0], found[:, 0]) > 0.95
    assert r2_score(values[:, 1], found[:, 1]) < 0.2
    assert np.isfinite(regressed(parts, values)).all()


def test_determination_is_r2():
    values, predicted = RANDOM.normal(size=30) + 9, RANDOM.normal(size=30) + 9
    weights = np.vstack([np.ones(30), RANDOM.integers(0, 3, size=30)])
    found = determination(values, predicted, weights)
    assert found[0] == pytest.approx(r2_score(values, predicted))
    assert found[1] == pytest.approx(r2_score(values, predicted, sample_weight=weights[1]))
    assert np.isnan(determination(np.full(30, 4.0), predicted, weights[:1])).all()


def test_a_constant_column_and_a_class_that_is_alone_are_no_error():
    features = np.column_stack([np.ones(20), RANDOM.normal(size=20)])
    labels = np.repeat([0, 1], 10)
    found = classified(held_out(features, split(labels, 0)), labels[None])[0]
    # held out whole, each class is only ever called the other one
    assert (found != labels).all()
