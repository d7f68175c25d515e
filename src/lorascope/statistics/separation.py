"""How far apart the classes lie in a cloud of clips: a 2-D picture of it, and numbers that don't come from the
picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import pdist, squareform
from sklearn.decomposition import KernelPCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from . import stats
from .intervals import LeftOut
from .shuffles import shuffled_labels

NEIGHBOURS = 5
FOLDS = 5
#: Shuffles of the labels that are scored at once: what is held for each grows with the clips.
LABELINGS_AT_ONCE = 64
#: The paper's t-SNE: seed, iterations, and the perplexity that fewer clips bring down.
TSNE_SEED, TSNE_ITERATIONS, TSNE_PERPLEXITY = 42, 1000, 30.0
#: Norm of t-SNE's gradient, times clips, at which a picture is as good as done: what the Barnes-Hut approximation
#: leaves of it is about .03 (100 clips).
TSNE_STILL = 0.05


class Separation(NamedTuple):
    """How well classes are told apart; every field in its own unit, NaN where it can't be had.

    `silhouette` in [-1, 1] (Rousseeuw 1987); `knn` leave-one-out accuracy of 5 nearest neighbours; `probe_uar` the UAR
    of a cross-validated linear probe with its 95 % interval, the probes' answers held fixed. `*_null` and `*_null_high`
    are the mean and the 95th percentile with labels shuffled within speakers. The probe's folds share speakers: it
    tells what is in the space, not how well an unseen speaker would do.
    """

    silhouette: float = float("nan")
    knn: float = float("nan")
    probe_uar: float = float("nan")
    probe_low: float = float("nan")
    probe_high: float = float("nan")
    silhouette_null: float = float("nan")
    silhouette_null_high: float = float("nan")
    knn_null: float = float("nan")
    knn_null_high: float = float("nan")


@dataclass(frozen=True)
class Wide:
    """Features with more columns than clips, some columns at a time: `pieces()` gives [clips, some columns] until all
    have come, every time it is called.

    A piece is an array, or a tensor where it lies.
    """

    pieces: Callable[[], Iterable[Any]]


class Products(NamedTuple):
    """Inner products of wide features, which is all that is needed of them: standardised by all clips, and by each
    training set of the probe, [clips, clips] float64.
    """

    whole: np.ndarray
    trained: tuple[np.ndarray, ...] = ()


def prepared(features: np.ndarray | Wide, labels: np.ndarray, seed: int) -> np.ndarray | Products:
    """What `standardised` and `separation` need of features [clips, columns]; those wide are read once, and are small
    afterwards.
    """
    if isinstance(features, np.ndarray) and features.shape[1] <= len(features):
        return features
    pieces = features.pieces if isinstance(features, Wide) else lambda: (features,)
    return _products(pieces(), [train for train, _ in probe_folds(labels, seed)])


def standardised(features: np.ndarray | Products) -> np.ndarray:
    """Columns of [clips, columns] at mean 0 and variance 1, [clips, at most clips]; constant columns become 0.

    With more columns than clips the cloud is turned into as many dimensions as its clips span, which leaves all
    distances as they are.
    """
    if isinstance(features, Products):
        return _row_space().fit_transform(features.whole)
    # the mean of equal numbers is not always that number, and the leftover would be blown up to a signal
    centred = np.where(np.ptp(features, axis=0) > 0, features - features.mean(axis=0), 0.0)
    return StandardScaler().fit_transform(centred)


def embedding_2d(cloud: np.ndarray) -> tuple[np.ndarray, float, str]:
    """t-SNE of [clips, columns] as the paper has it: points [clips, 2], the perplexity used, and a note where there is
    no picture.

    The perplexity is 30, or (clips - 1) / 3 where that is less. Of the 1000 iterations those are left out that move
    nothing any more (`TSNE_STILL`).
    """
    n = len(cloud)
    perplexity = min(TSNE_PERPLEXITY, (n - 1) / 3)
    if n < 4:
        return np.full((n, 2), np.nan), float("nan"), f"{n} clips are too few for a t-SNE: it needs 4"
    if not np.any(cloud):
        return np.full((n, 2), np.nan), float("nan"), "all clips are alike: there is nothing to see"
    init = "pca" if cloud.shape[1] > 1 else "random"
    tsne = TSNE(
        2,
        perplexity=perplexity,
        max_iter=TSNE_ITERATIONS,
        min_grad_norm=TSNE_STILL / n,
        random_state=TSNE_SEED,
        init=init,
    )
    return tsne.fit_transform(cloud).astype(float), perplexity, ""


def separation(
    features: np.ndarray | Products, cloud: np.ndarray, labels: np.ndarray, speakers: np.ndarray, draws: int, seed: int
) -> tuple[Separation, str]:
    """How well `labels` [clips] are told apart, and a note on what could not be had; arguments as for `probed`."""
    return probed(features, cloud, labels, speakers, draws, seed)[:2]


def probed(
    features: np.ndarray | Products, cloud: np.ndarray, labels: np.ndarray, speakers: np.ndarray, draws: int, seed: int
) -> tuple[Separation, str, np.ndarray | None]:
    """How well `labels` [clips] are told apart, a note on what could not be had, and the class, as `labels` call it,
    that the cross-validated probe gives each clip, [clips]; None where there was no probe.

    `features` [clips, columns] are the raw ones as `prepared` gives them, on which the probe standardises each of its
    own training sets; `cloud` the same standardised. `speakers` [clips] names each clip's speaker; `draws` counts the
    shuffles of the labels.
    """
    classes, labels = np.unique(labels, return_inverse=True)
    sizes = np.bincount(labels)
    if not np.any(cloud):
        return Separation(), "all clips are alike: there is nothing to separate", None
    if len(classes) < 2:
        return Separation(), "all clips are of one class: there is nothing to separate", None
    distances = squareform(pdist(cloud))
    shuffled = np.vstack([labels, shuffled_labels(labels, speakers, draws, seed)])
    found = {}
    some = np.array_split(shuffled, -(-len(shuffled) // LABELINGS_AT_ONCE))
    for name, score in (("silhouette", silhouette), ("knn", knn_accuracy)):
        scores = np.concatenate([score(distances, part) for part in some])
        found |= {name: float(scores[0]), f"{name}_null": float(scores[1:].mean())}
        found[f"{name}_null_high"] = float(np.quantile(scores[1:], 0.95))
    note, answers = "", None
    if sizes.min() < 2:
        note = "a class has a single clip: no cross-validated probe"
    else:
        predicted = probe_predictions(features, labels, seed)
        found["probe_uar"] = stats.unweighted_average_recall(labels, predicted, len(classes))
        interval = LeftOut(speakers, labels).of_recall(labels, predicted, len(classes))
        found["probe_low"], found["probe_high"] = interval
        answers = classes[predicted]
    return Separation(**found), note, answers


def silhouette(distances: np.ndarray, labelings: np.ndarray) -> np.ndarray:
    """Mean silhouette (Rousseeuw 1987) under each of several labelings, [labelings].

    `distances` [clips, clips]; `labelings` [labelings, clips] hold class indices, every class in each. A clip alone in
    its class counts 0.
    """
    member = np.eye(labelings.max() + 1)[labelings]
    sizes = member.sum(axis=1, keepdims=True)
    to_class = distances @ member
    own_size = (member * sizes).sum(axis=-1)
    within = (to_class * member).sum(axis=-1) / np.maximum(own_size - 1, 1)
    nearest = np.where(member > 0, np.inf, to_class / sizes).min(axis=-1)
    larger = np.maximum(within, nearest)
    scores = np.where(own_size > 1, (nearest - within) / np.where(larger > 0, larger, 1.0), 0.0)
    return scores.mean(axis=-1)


def knn_accuracy(distances: np.ndarray, labelings: np.ndarray) -> np.ndarray:
    """Leave-one-out accuracy of the 5 nearest neighbours under each of several labelings, [labelings].

    `distances` [clips, clips]; `labelings` [labelings, clips]. Of classes with as many votes the one with the nearer
    voters wins.
    """
    others = distances + np.diag(np.full(len(distances), np.inf))
    neighbours = np.argsort(others, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(distances) - 1)]
    # Small enough to decide ties only: five of them don't reach one vote.
    votes = 1.0 + 0.01 * np.arange(neighbours.shape[1])[::-1]
    member = np.eye(labelings.max() + 1)[labelings]
    predicted = np.einsum("lnkc,k->lnc", member[:, neighbours], votes).argmax(axis=-1)
    return (predicted == labelings).mean(axis=-1)


def probe_folds(labels: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Clips to train the probe on, and those to try it on: stratified, five or as many as the smallest class has clips;
    none where that is one.
    """
    fewest = int(np.unique(labels, return_counts=True)[1].min())
    if fewest < 2:
        return []
    return list(StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=seed).split(labels, labels))


def probe_predictions(features: np.ndarray | Products, labels: np.ndarray, seed: int) -> np.ndarray:
    """Each clip's class by a logistic regression fitted on the other folds (`probe_folds`), [clips].

    Standardised on the training folds; scikit-learn's default penalty. With more columns than clips the training cloud
    is turned into its own row space first, where the penalised solution lies anyway, so that the result is the same and
    soon there.
    """
    split = probe_folds(labels, seed)
    probe = LogisticRegression(max_iter=5000, solver="newton-cholesky")
    if not isinstance(features, Products):
        return np.asarray(cross_val_predict(make_pipeline(StandardScaler(), probe), features, labels, cv=split))
    predicted = np.empty_like(labels)
    for (train, test), products in zip(split, features.trained, strict=True):
        space = _row_space()
        probe.fit(space.fit_transform(products[np.ix_(train, train)]), labels[train])
        predicted[test] = probe.predict(space.transform(products[np.ix_(test, train)]))
    return predicted


def _products(pieces: Iterable[Any], trained: Sequence[np.ndarray]) -> Products:
    """Inner products of all clips, standardised by all of them and by each of several sets; no more than a piece of the
    columns is held.
    """
    # processes that only draw and probe need no torch, which takes longer to import than they work
    from . import kernels

    totals: list[Any] = [0.0] * (1 + len(trained))
    for piece in pieces:
        centred = kernels.centred_columns(kernels.tensor_of(piece))
        for number, rows in enumerate([slice(None), *trained]):
            scaled = kernels.standardised_by(centred, rows)
            totals[number] = totals[number] + scaled @ scaled.mT
    whole, *rest = (total.cpu().numpy() for total in totals)
    return Products(whole, tuple(rest))


def _row_space() -> KernelPCA:
    """Principal components of few rows with many columns, by way of their inner products: no matrix as wide as the
    columns is taken apart.
    """
    return KernelPCA(kernel="precomputed", eigen_solver="dense", remove_zero_eig=True)
