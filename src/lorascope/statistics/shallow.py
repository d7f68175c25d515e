"""Classifiers without gradient steps: standardised logistic regression and support vector machines, as plain arrays.

scikit-learn fits them; what is kept is the arrays that give their logits again, [clips, classes], without scikit-learn
and without pickle. Means and spreads for standardising are those of the training clips.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from ..errors import LorascopeError

#: What OpenBLAS maps for each thread, bytes (32 MiB by numpy's library and as much by scipy's), at the first call of
#: each.
BUFFERS = 2 * 32 * 2**20
#: Iterations of L-BFGS within which the logistic regressions converge.
ITERATIONS = 5000


@dataclass(frozen=True)
class Shallow:
    """A standardised linear or kernel classifier of [clips, features].

    `weight` [outputs, inputs] and `bias` [outputs] act on the standardised features or, with `support` [vectors,
    features] (standardised training clips), on their kernel values exp(-gamma |x - support|²). A logistic regression's
    outputs are its logits (one alone where there are two classes); those of a support vector machine, `votes`, are the
    decisions between every two classes.
    """

    classes: int
    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    votes: bool = False
    support: np.ndarray | None = None
    gamma: float = 0.0

    @property
    def parameters(self) -> int:
        """Numbers that were fitted to the labels: weights (of support vectors, where there are any) and biases."""
        return self.weight.size + self.bias.size

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits [clips, classes] of features [clips, features]; for support vector machines the decisions of one class
        against the rest.
        """
        inputs = (features.astype(np.float64) - self.mean) / self.scale
        if self.support is not None:
            squares = (inputs**2).sum(1)[:, None] + (self.support**2).sum(1) - 2 * inputs @ self.support.T
            inputs = np.exp(-self.gamma * squares)
        outputs = inputs @ self.weight.T + self.bias
        if self.classes == 2:
            # one decision d for the second class: the softmax of (-d/2, d/2) is its logistic function
            return np.hstack([-outputs / 2, outputs / 2])
        return one_against_rest(outputs, self.classes) if self.votes else outputs

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight [classes, features] and bias [classes] on features as they are, which give a logistic regression's
        logits.
        """
        assert self.support is None and not self.votes, "no linear function gives its logits"
        weight = self.weight / self.scale
        bias = self.bias - weight @ self.mean
        if self.classes == 2:
            return np.vstack([-weight / 2, weight / 2]), np.hstack([-bias / 2, bias / 2])
        return weight, bias

    def tensors(self) -> dict[str, np.ndarray]:
        """All that `from_tensors` needs, by name."""
        found = {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}
        found |= {"classes": np.array(self.classes), "votes": np.array(int(self.votes))}
        if self.support is not None:
            found |= {"support": self.support, "gamma": np.array(self.gamma)}
        return found

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> Shallow:
        """The classifier whose `tensors` these are."""
        support = tensors.get("support")
        return cls(
            classes=int(tensors["classes"]),
            votes=bool(tensors["votes"]),
            gamma=0.0 if support is None else float(tensors["gamma"]),
            support=support,
            **{name: tensors[name] for name in ("mean", "scale", "weight", "bias")},
        )


def one_against_rest(decisions: np.ndarray, classes: int) -> np.ndarray:
    """Decisions between every two classes [clips, pairs] (positive: the first) as one score a class, [clips, classes].

    Votes, and ties among them broken by the sum of the decisions squeezed to less than half a vote: scikit-learn's
    `decision_function_shape="ovr"`.
    """
    votes, sums = (np.zeros((len(decisions), classes)) for _ in range(2))
    for pair, (one, other) in enumerate(combinations(range(classes), 2)):
        decision = decisions[:, pair]
        votes[:, one] += decision >= 0
        votes[:, other] += decision < 0
        sums[:, one] += decision
        sums[:, other] -= decision
    return votes + sums / (3 * (np.abs(sums) + 1))


def fit_logistic(features: np.ndarray, labels: np.ndarray, classes: int, C: float) -> Shallow:
    """Multinomial logistic regression with an L2 penalty of inverse strength `C` on standardised features [clips,
    features]; every class must occur.
    """
    scaler, inputs = _standardised(features)
    model = LogisticRegression(C=C, max_iter=ITERATIONS).fit(inputs, labels)
    return Shallow(classes, _array(scaler.mean_), _array(scaler.scale_), _array(model.coef_), _array(model.intercept_))


def fit_svc(features: np.ndarray, labels: np.ndarray, classes: int, C: float, kernel: str) -> Shallow:
    """Support vector machine with a "linear" or "rbf" kernel on standardised features [clips, features]; every class
    must occur.

    The width of the rbf kernel is scikit-learn's "scale": gamma = 1 / (features · variance).
    """
    scaler, inputs = _standardised(features)
    gamma = 1 / (inputs.shape[1] * inputs.var())
    model = SVC(C=C, kernel=kernel, gamma=gamma, random_state=0).fit(inputs, labels)  # pyright: ignore[reportArgumentType]
    mean, scale, bias = _array(scaler.mean_), _array(scaler.scale_), _array(model.intercept_)
    if kernel == "linear":
        return Shallow(classes, mean, scale, _array(model.coef_), bias, votes=True)
    weight = _pair_weights(_array(model.dual_coef_), model.n_support_)
    return Shallow(classes, mean, scale, weight, bias, True, _array(model.support_vectors_), gamma)


def _pair_weights(dual: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Weights of the support vectors (in the order of their classes, `counts` each) for every pair of classes, [pairs,
    vectors], from libsvm's [classes - 1, vectors].
    """
    if len(counts) == 2:
        return dual
    ends = np.cumsum(counts)
    own = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = list(combinations(range(len(counts)), 2))
    weight = np.zeros((len(pairs), dual.shape[1]))
    for row, (one, other) in enumerate(pairs):
        # libsvm has no row for a class against itself
        weight[row, own[one]] = dual[other - 1, own[one]]
        weight[row, own[other]] = dual[one, own[other]]
    return weight


def _standardised(features: np.ndarray) -> tuple[StandardScaler, np.ndarray]:
    _room_for_buffers()
    scaler = StandardScaler()
    return scaler, scaler.fit_transform(features.astype(np.float64))


@cache
def _room_for_buffers() -> None:
    """Raise `LorascopeError` where a limit on memory leaves no room for OpenBLAS's buffers: for want of them it tries
    for ever.

    Once is enough, since the buffers are kept.
    """
    try:
        import resource
    except ImportError:  # no limits of this kind
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    size = BUFFERS * (1 + threads)
    try:
        mmap.mmap(-1, size).close()
    except OSError as error:
        raise LorascopeError(
            f"memory: linear algebra needs {size / 2**20:.0f} MiB for its buffers, which the limit of "
            f"{limit / 2**20:.0f} MiB (ulimit -v) leaves no room for; raise the "
            f"limit{', or give OMP_NUM_THREADS=1' if threads > 1 else ''}"
        ) from error


def _array(values: object) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float64)
