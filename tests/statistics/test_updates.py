"""Subspaces and intruders against dense SVDs, and planted ones."""

from __future__ import annotations

import numpy as np
import pytest

from lorascope.statistics.directions import directions
from lorascope.statistics.updates import (
    decomposed,
    mean_squared_cosine,
    nearest_cosines,
    random_update,
    shares_within,
    stable_rank,
)

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (25, 25)])
def test_decomposed_is_the_svd(shape):
    matrix = RANDOM.normal(size=shape)
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    found, few = decomposed(matrix), decomposed(matrix, 4)
    np.testing.assert_allclose(found.sigma, s)
    np.testing.assert_allclose(found.left * found.sigma @ found.right, matrix, atol=1e-10)
    np.testing.assert_allclose(np.abs((few.left * u[:, :4]).sum(0)), 1)
    np.testing.assert_allclose(np.abs((few.right * v[:4]).sum(1)), 1)


def test_shares_are_those_of_projections():
    weight, a, b = RANDOM.normal(size=(20, 30)), RANDOM.normal(size=(3, 30)), RANDOM.normal(size=(20, 3))
    u, _, v = np.linalg.svd(weight, full_matrices=False)
    update = 2.0 * b @ a
    left, right = shares_within(update, decomposed(weight), 5)
    energy = np.linalg.norm(update) ** 2
    assert left == pytest.approx(np.linalg.norm(u[:, :5].T @ update) ** 2 / energy)
    assert right == pytest.approx(np.linalg.norm(update @ v[:5].T) ** 2 / energy)
    assert shares_within(3 * u[:, :2] @ v[:2], decomposed(weight), 2) == pytest.approx((1, 1))
    assert shares_within(u[:, 5:7] @ v[5:7], decomposed(weight), 5) == pytest.approx((0, 0), abs=1e-12)


def test_a_planted_intruder_is_found_and_a_scaled_weight_has_none():
    weight = RANDOM.normal(size=(40, 60))
    whole = decomposed(weight)
    # a direction that W spreads over all of its own, louder than any of them
    stranger = np.linalg.qr(RANDOM.normal(size=(40, 1)))[0]
    planted = weight + 3 * whole.sigma[0] * stranger @ np.linalg.qr(RANDOM.normal(size=(60, 1)))[0].T
    cosines = nearest_cosines(whole, decomposed(planted, 10).left)
    assert (cosines < 0.5).sum() == 1 and cosines[0] < 0.5
    louder = weight + (whole.left[:, :4] * whole.sigma[:4]) @ whole.right[:4]
    assert nearest_cosines(whole, decomposed(louder, 10).left).min() > 1 - 1e-9
    assert nearest_cosines(whole, decomposed(1.5 * weight, 10).left).min() > 1 - 1e-9


def test_random_updates_have_the_norm_and_rank():
    like = directions(RANDOM.normal(size=(4, 30)), RANDOM.normal(size=(20, 4)))
    b, a = random_update(like, 6, RANDOM)
    assert np.linalg.norm(b @ a) == pytest.approx(np.sqrt((like.sigma**2).sum()))
    assert np.linalg.matrix_rank(b @ a) == 6


def test_angles():
    basis = np.eye(10)
    assert mean_squared_cosine(basis[:3], basis[:3]) == (1, 1)
    assert mean_squared_cosine(basis[:3], basis[3:6]) == (0, 0)
    assert mean_squared_cosine(basis[:2], basis[1:3])[0] == pytest.approx(0.5)
    one = np.linalg.qr(RANDOM.normal(size=(400, 8)))[0].T
    other = np.linalg.qr(RANDOM.normal(size=(400, 8)))[0].T
    assert mean_squared_cosine(one, other)[0] == pytest.approx(8 / 400, rel=0.5)


def test_stable_rank():
    assert stable_rank(np.array([2.0, 2.0, 2.0])) == 3
    assert stable_rank(np.array([2.0, 0.0])) == 1
    assert np.isnan(stable_rank(np.zeros(0)))
