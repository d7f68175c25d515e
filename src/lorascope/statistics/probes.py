"""Linear probes with control tasks: how well a target can be read off features, on groups that the probe was not
fitted on.

A probe is as good as its split: what is asked of emotion is asked of speakers who were held out, of the speaker on
sentences that were. The control task (Hewitt & Liang 2019) is the same probe on labels shuffled within the groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import RidgeCV

#: Groups are left out one at a time up to this many, else dealt into as many parts.
PARTS = 5
#: scikit-learn's own penalty of the logistic regression, on standardised features.
C = 1.0
#: Steps of the logistic regression, and the (scaled) gradient at which it is done: no held-out answer changes any more.
ITERATIONS, STILL = 1000, 1e-4
#: Candidates of the ridge regression's penalty, chosen by leaving out one training clip at a time.
PENALTIES = np.logspace(0, 6, 13)


@dataclass(frozen=True)
class Held:
    """Training and held-out clips of each part, and the features of both in the training clips' own row space."""

    train: np.ndarray
    test: np.ndarray
    fitted: np.ndarray
    asked: np.ndarray


def split(groups: Sequence[object] | np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Clips to fit on and clips to ask, whole groups each time; none where there is one group only."""
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        return []
    parts = np.arange(len(names))
    if len(names) > PARTS:
        # the largest groups are dealt first, so that parts are of about one size
        order = np.random.default_rng(seed).permutation(len(names))
        sizes = np.bincount(codes)
        filled = np.zeros(PARTS)
        for group in order[np.argsort(-sizes[order], kind="stable")]:
            parts[group] = int(filled.argmin())
            filled[parts[group]] += sizes[group]
    held = parts[codes]
    return [(np.flatnonzero(held != part), np.flatnonzero(held == part)) for part in np.unique(held)]


def held_out(features: np.ndarray, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Held]:
    """[clips, columns] standardised by each part's training clips and turned into their row space, where a penalised
    solution lies anyway: the result is the same, and as small as there are clips.
    """
    found = []
    for train, test in parts:
        mean, spread = features[train].mean(axis=0), features[train].std(axis=0)
        scaled = (features - mean) / np.where(spread > 0, spread, np.inf)
        u, sigma, v = np.linalg.svd(scaled[train], full_matrices=False)
        found.append(Held(train, test, u * sigma, scaled[test] @ v.T))
    return found


def classified(parts: Sequence[Held], labelings: np.ndarray) -> np.ndarray:
    """Each clip's class by a multinomial logistic regression on the other parts, under each of several labelings.

    `labelings` [labelings, clips] are class indices; the result has their shape.
    """
    classes = int(labelings.max()) + 1
    predicted = np.empty_like(labelings)
    for part in parts:
        weights = fit_logistic(part.fitted, np.eye(classes)[labelings[:, part.train]])
        asked = np.column_stack([part.asked, np.ones(len(part.asked))])
        predicted[:, part.test] = (asked @ weights).argmax(axis=-1)
    return predicted


def fit_logistic(features: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Weights [labelings, columns + 1, classes] (the last row: intercepts) of penalised multinomial regressions.

    They minimise Σ cross-entropy + |w|² / (2 C), the intercepts free, as scikit-learn's do. `features` [clips, columns]
    have mean 0 and orthogonal columns (a row space), so Böhning's (1992) bound on the Hessian, (XᵀX / 2 + 1 / C), is
    diagonal: its steps, with Nesterov's momentum and restarts, cost two products each for all `wanted`
    [labelings, clips, classes] at once.
    """
    inputs = np.column_stack([features, np.ones(len(features))])
    penalty = np.append(np.full(features.shape[1], 1 / C), 0.0)[:, None]
    step = 1 / ((inputs**2).sum(axis=0)[:, None] / 2 + penalty)
    weights = ahead = np.zeros((len(wanted), inputs.shape[1], wanted.shape[2]))
    momentum = np.ones((len(wanted), 1, 1))
    for _ in range(ITERATIONS):
        gradient = inputs.T @ (softmax(inputs @ ahead, axis=-1) - wanted) + penalty * ahead
        moved = ahead - step * gradient
        # where momentum points uphill it starts anew
        uphill = (gradient * (moved - weights)).sum(axis=(1, 2), keepdims=True) > 0
        after = np.where(uphill, 1.0, (1 + np.sqrt(1 + 4 * momentum**2)) / 2)
        ahead = moved + np.where(uphill, 0.0, (momentum - 1) / after) * (moved - weights)
        weights, momentum = moved, after
        if np.abs(gradient * np.sqrt(step)).max() < STILL:
            break
    return weights


def regressed(parts: Sequence[Held], targets: np.ndarray) -> np.ndarray:
    """Each clip's value by ridge regression on the other parts, [clips, targets]; each target has its own penalty."""
    found = np.full(targets.shape, np.nan)
    for part in parts:
        model = RidgeCV(PENALTIES, alpha_per_target=True).fit(part.fitted, targets[part.train])
        found[part.test] = model.predict(part.asked).reshape(len(part.test), -1)
    return found


def determination(values: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """R² = 1 - Σw(y - ŷ)² / Σw(y - ȳ)² for each row of `weights` [rows, clips], [rows]; NaN where all values are
    alike.
    """
    totals = weights.sum(axis=1)
    mean = weights @ values / totals
    spread = weights @ values**2 - totals * mean**2
    error = weights @ (values - predicted) ** 2
    return 1 - error / np.where(spread > 1e-12 * np.maximum(totals, 1.0) * (values**2).mean(), spread, np.nan)
