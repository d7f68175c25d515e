"""What the update ΔW is as a matrix, beside the weight W that it changes; no clip is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from ...statistics import stats
from ...statistics.directions import Directions, directions, directions_of
from ...statistics.updates import (
    Decomposed,
    decomposed,
    mean_squared_cosine,
    nearest_cosines,
    random_cosines,
    random_update,
    shares_within,
    stable_rank,
)
from ..measure import Part, Replay, Study

#: Leading singular vectors of W + ΔW that are looked at for intruders (Shuttleworth et al. 2024), and the curve of ε.
LEADING = 10
EPSILONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
#: The ε whose count stands in the table of matrices.
EPSILON = 0.5
#: Random updates of equal norm and rank.
DRAWS = 5
#: No decomposition of W where its shorter side is longer.
WIDEST = 2048

KEYS = ["layer", "module"]
COLUMNS = [*KEYS, "width_out", "width_in", "nominal_rank", "rank", "norm", "relative_norm", "spectral_norm"]
COLUMNS += ["relative_spectral", "stable_rank", "entropy_rank", "participation", "k", "left_share", "left_null"]
COLUMNS += ["left_null_high", "right_share", "right_null", "right_null_high", "intruders", "intruders_null", "note"]
INTRUDERS = [*KEYS, "leading", "epsilon", "count", "null", "null_low", "null_high"]
DIRECTIONS = [*KEYS, "index", "vector"]
ANGLES = ["module", "layer", "other", "mean_cos2", "null", "null_high", "largest_cos", "largest_null", "dimensions"]


class Matrix(NamedTuple):
    """W [width_out, width_in], float64, the directions of ΔW, the rank that its factors have (NaN without them), and
    how many of W's directions, and of ΔW's, its subspaces are.
    """

    weight: np.ndarray
    update: Directions
    nominal: float
    k: int


class Weights:
    """Norms, ranks, subspaces and intruder dimensions of every adapted matrix of the trained adapter.

    ΔW = s·BA = U Σ Vᵀ (directions below 1e-6 of the largest are rounding and left out). Every number is of ΔW, so none
    depends on the gauge of A and B. Where the update is no pair of factors (LoHa, OFT, DoRA, IA3, changed weights), ΔW
    is the matrix that the layer computes less the one that it computes with the adapter off.

    `compute` gives five tables. `weights`: layer, module, widths, nominal_rank (NaN without factors), rank (directions
    that are no rounding), norm |ΔW| and relative_norm |ΔW|/|W| (Frobenius), spectral_norm σ₁ and relative_spectral
    σ₁(ΔW)/σ₁(W), stable_rank Σσ²/σ₁², entropy_rank and participation of σ²; left_share (right_share): the share of
    |ΔW|² within the span of W's first `k` left (right) singular vectors, k = nominal rank, or without factors the
    number of ΔW's own directions that hold 90 % of |ΔW|²; intruders at ε = .5; `*_null`: the mean of random updates of
    equal norm and rank, `*_null_high` the largest of the five. `weight_spectra`: layer, module, index (from 1), sigma.
    `intruders`: how many of the first 10 left singular vectors of W + ΔW have max |cos| < ε to all of W's own (count),
    by ε, and the same of the random updates (null: mean, lowest, highest). `weight_angles`: of two layers' input
    directions V (without factors the first k), of one kind of module: mean cos² of their principal angles and their
    largest cosine, beside random subspaces (mean and 97.5th percentile): is the same direction learnt again?
    `weight_directions`: the same V, layer, module, index (from 1, by falling σ), vector [width_in] float32, by which
    adapters of other folds and seeds are compared (`findings.recurrence`).

    A matrix is no sample of anything, so these numbers have no interval: what varies is the training, and that is
    told by other folds and seeds. Costs no forward; for each matrix seven decompositions of its shorter side.
    """

    needs = frozenset({"updates"})
    keys: ClassVar = {
        "weights": ("layer", "module"),
        "weight_spectra": ("layer", "module", "index"),
        "intruders": ("layer", "module", "epsilon"),
        "weight_angles": ("module", "layer", "other"),
        "weight_directions": ("layer", "module", "index"),
    }

    def __init__(self, study: Study) -> None:
        self._study = study

    def parts(self, model: str) -> frozenset[str]:
        """None: the factors are known."""
        return frozenset()

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Nothing comes."""

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `weights`, `weight_spectra`, `intruders`, `weight_angles` and `weight_directions`."""
        rows, curves, spectra, vectors, leading = [], [], [], [], {}
        random = np.random.default_rng(self._study.seed)
        for key, matrix in self._matrices():
            row, curve = _described(key, matrix, random)
            rows.append(row)
            curves += curve
            at = dict(zip(KEYS, key, strict=True))
            update = matrix.update
            spectra += [at | {"index": index, "sigma": float(sigma)} for index, sigma in enumerate(update.sigma, 1)]
            leading[key] = update.right[: matrix.k]
            kept = leading[key].astype(np.float32)
            vectors += [at | {"index": index, "vector": vector} for index, vector in enumerate(kept, 1)]
        return {
            "weights": pd.DataFrame(rows, columns=COLUMNS),
            "weight_spectra": pd.DataFrame(spectra, columns=[*KEYS, "index", "sigma"]),
            "intruders": pd.DataFrame(curves, columns=INTRUDERS),
            "weight_angles": pd.DataFrame(_angles(leading, random), columns=ANGLES),
            "weight_directions": pd.DataFrame(vectors, columns=DIRECTIONS),
        }

    def _matrices(self) -> Iterator[tuple[tuple[int, str], Matrix]]:
        """Every adapted matrix, one after the other: of an encoder they would be gigabytes."""
        for key, each in self._study.factors.get("trained", {}).items():
            update = directions(each.a.numpy(), each.b.numpy(), each.scale)
            rank = len(each.a)
            yield key, Matrix(self._study.weights[key].detach().double().cpu().numpy(), update, rank, rank)
        for key, of in self._study.updates.items():
            weight, dense = (tensor.numpy() for tensor in of())
            update = directions_of(dense)
            k = int(stats.k90(update.sigma**2)) if len(update.sigma) else 0
            yield key, Matrix(weight, update, np.nan, k)


def _described(
    key: tuple[int, str], matrix: Matrix, random: np.random.Generator
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of one matrix and its curve of intruders."""
    weight, update, nominal, k = matrix
    power = update.sigma**2
    norm = float(np.sqrt(power.sum()))
    row: dict[str, Any] = dict(zip(KEYS, key, strict=True))
    row |= {"width_out": weight.shape[0], "width_in": weight.shape[1], "nominal_rank": nominal, "k": k}
    row |= {"rank": len(update.sigma), "norm": norm, "relative_norm": norm / float(np.linalg.norm(weight))}
    row |= {"spectral_norm": float(update.sigma[0]) if len(update.sigma) else 0.0}
    row |= {"stable_rank": stable_rank(update.sigma)}
    some = power if len(power) else np.zeros(1)
    row |= {"entropy_rank": float(stats.entropy_rank(some))}
    row |= {"participation": float(stats.participation_ratio(some)), "note": ""}
    if not len(power):
        return row | {"note": "ΔW is 0, so it has no directions"}, []
    if min(weight.shape) > WIDEST:
        return row | {"note": f"W is wider than {WIDEST}: not decomposed"}, []
    whole = decomposed(weight)
    row["relative_spectral"] = row["spectral_norm"] / float(whole.sigma[0])
    dense = (update.left * update.sigma) @ update.right
    of_random, chances = [], []
    for _ in range(DRAWS):
        b, a = random_update(update, len(update.sigma), random)
        chances.append(shares_within(b @ a, whole, k))
        of_random.append(_known(whole, weight, b @ a))
    own, chance = shares_within(dense, whole, k), np.array(chances)
    for number, side in enumerate(("left", "right")):
        row |= {f"{side}_share": own[number], f"{side}_null": float(chance[:, number].mean())}
        row[f"{side}_null_high"] = float(chance[:, number].max())
    known = _known(whole, weight, dense)
    curve = []
    for epsilon in EPSILONS:
        counts = [int((cosines < epsilon).sum()) for cosines in of_random]
        count = int((known < epsilon).sum())
        point = {"leading": len(known), "epsilon": epsilon, "count": count, "null": float(np.mean(counts))}
        curve.append(dict(zip(KEYS, key, strict=True)) | point | {"null_low": min(counts), "null_high": max(counts)})
        if epsilon == EPSILON:
            row |= {"intruders": count, "intruders_null": float(np.mean(counts))}
    return row, curve


def _known(whole: Decomposed, weight: np.ndarray, update: np.ndarray) -> np.ndarray:
    """How known each leading left singular vector of W + ΔW is to W, [leading]."""
    return nearest_cosines(whole, decomposed(weight + update, LEADING).left)


def _angles(found: dict[tuple[int, str], np.ndarray], random: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Every two layers of one kind of module, given their input directions [k, width_in]."""
    nulls: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}
    keys = list(found)
    for place, one in enumerate(keys):
        for other in keys[place + 1 :]:
            left, right = found[one], found[other]
            if one[1] != other[1] or not len(left) or not len(right):
                continue
            shape = (len(left), len(right), left.shape[1])
            if shape not in nulls:
                nulls[shape] = random_cosines(shape, random)
            mean, largest = mean_squared_cosine(left, right)
            chance, largest_chance = nulls[shape]
            yield {
                **{"module": one[1], "layer": one[0], "other": other[0], "mean_cos2": mean, "largest_cos": largest},
                **{"null": float(chance.mean()), "null_high": float(np.quantile(chance, 0.975))},
                **{"largest_null": float(np.quantile(largest_chance, 0.975)), "dimensions": min(shape[:2])},
            }
