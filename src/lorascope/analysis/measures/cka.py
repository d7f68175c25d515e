"""Whether two views of the same clips tell the clips apart alike: CKA (METHODS section 6; the paper's Figure 3e)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...machine.environment import one_thread
from ...statistics import kernels
from ...statistics.intervals import CORRELATION, SPEAKERS, LeftOut
from ..clip_views import ClipViews
from ..kept_frames import KeptFrames
from ..measure import Part, Replay, Study

#: From 2 on the table has the variance over halves of the clips.
VERSION = 2
#: Halves of the clips over which a value's own variance is taken.
HALVES = 100
#: With fewer clips what is left without one speaker is too little for the debiased estimator, which needs four.
FEWEST_CLIPS = 8

#: Bytes of kernels whose values, intervals and nulls a GPU takes together; on a CPU it is those of a place.
TOGETHER = 1 << 28

COLUMNS = ["layer", "module", "pair", "quantity", "kernel", "estimator", "variant", "value"]
COLUMNS += ["ci_low", "ci_high", "interval_of", "null_low", "null_high", "model", "clips", "draws", "note"]
COLUMNS += ["half_variance"]

Quantity = Literal["activation", "gradient"]
PART_OF: dict[Quantity, str] = {"activation": "lora_a", "gradient": "grad_lora_b"}
#: What the released notebook's figure shows, by pair and quantity: kernel and the name it has there.
RELEASED = {
    ("A:trained~gaussian", "activation"): ("linear", "forward, trained"),
    ("B:trained~gaussian", "activation"): ("rbf", "forward, untrained"),
    ("A~B:trained", "gradient"): ("rbf", "backward, trained"),
    ("A~B:gaussian", "gradient"): ("rbf", "backward, untrained"),
}


class _View(NamedTuple):
    """One side of a pair."""

    model: str
    factor: Literal["A", "B"]


@dataclass(frozen=True)
class _Pair:
    name: str
    model: str
    first: _View
    second: _View


@dataclass
class _Row:
    """A row of the table, and the two kernels that it compares: whose they are, and what they are, [clips, clips] each;
    none where there are too few clips.
    """

    cells: dict[str, object]
    estimator: kernels.Estimator
    sides: tuple[str, str]
    compared: tuple[Tensor, ...]


class Cka:
    """Centred kernel alignment of A with B, and of the trained adapter with each random one, forwards and backwards.

    Pairs: `A~B:MODEL` (A-out with B-out, or their gradients, in one model), `A:trained~MODEL` and `B:trained~MODEL`.
    Variants:

    - `paper`: linear kernel, biased HSIC, a clip is its flattened frames × width values, all frames.
    - `released`: the four curves of the released figure, flattened and biased, RBF with γ = 1/columns, in float64. The
      note names the curve.
    - `corrected`: debiased HSIC, a clip is the mean of its valid frames, linear kernel and RBF with the median
      heuristic.

    B-out and dLoss/dA-out are never asked for, being linear maps of A-out and dLoss/dB-out. For the flattened variants
    all frames of those two are kept, for the models in `flattened` only, in the study's `space` (memory up to a budget,
    past that a temporary file). Shorter clips are padded with 0.

    `compute` gives `cka`: layer, module, pair, quantity (activation, gradient), kernel, estimator, variant, value, its
    95 % interval (`intervals.LeftOut`, on Fisher's z) and what it speaks of, the central 95 % of the null in which
    clips are shuffled within speakers, model (the one after `:` or `~`), clips, draws and a note; half_variance, the
    variance over random halves of the clips (about that of the value itself over draws of clips). Biased values of few
    clips with many columns lie near 1 whatever the data, and their null shows it; B-out being a linear map of A-out,
    even a random B comes near 1. Debiased values may be negative. A view that is the same in all clips, and fewer than
    eight clips, give NaN and a note.
    """

    needs = frozenset({"pairs"})

    def __init__(self, study: Study, flattened: Collection[str] = ("trained", "gaussian")) -> None:
        self._study = study
        self._flattened = frozenset(flattened)
        self._views = ClipViews(study, flattened)
        self._left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        self._halves = halves_of(len(study.clips), study.seed)

    def parts(self, model: str) -> frozenset[str]:
        """A-out of every model that has an adapter, and the gradient at B-out of those that have a head."""
        if not self._study.factors.get(model):
            return frozenset()
        return frozenset({"lora_a"} if model in self._study.headless else PART_OF.values())

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Keep the clips' means over valid frames; of the models that are flattened, the frames."""
        self._views.put(part)

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """The table `cka`."""
        places = dict.fromkeys(key for adapters in self._study.factors.values() for key in adapters)
        rows: list[_Row] = []
        found: list[dict[str, object]] = []
        # on a CPU kernels of a hundred clips are small: threads would wait for each other
        with one_thread():
            for layer, module in places:
                for quantity in PART_OF:
                    rows += self._rows(layer, module, quantity)
                held = [kernel for row in rows for kernel in row.compared]
                if sum(kernel.nbytes for kernel in held) >= TOGETHER * any(kernel.is_cuda for kernel in held):
                    found += self._computed(rows)
                    rows = []
            found += self._computed(rows)
        return {"cka": pd.DataFrame(found, columns=COLUMNS)}

    def _computed(self, rows: list[_Row]) -> list[dict[str, object]]:
        """The rows with their values, intervals and nulls: those of one estimator together."""
        having: dict[kernels.Estimator, list[_Row]] = {}
        for row, lacking in zip(rows, _lacking(rows), strict=True):
            if not row.compared:
                row.cells["note"] = f"{len(self._study.clips)} clips are too few for CKA: it needs {FEWEST_CLIPS}"
            elif lacking is not None:
                row.cells["note"] = f"{row.sides[lacking]} is the same in all, or in most, clips: no CKA"
            else:
                having.setdefault(row.estimator, []).append(row)
        for estimator, some in having.items():
            for row, numbers in zip(some, self._numbers(estimator, some), strict=True):
                row.cells |= numbers
                if np.isnan(numbers["ci_low"]):
                    unit = "speaker" if self._left_out.of == SPEAKERS else "clip"
                    told = f"no interval: without some {unit} the clips are all alike, or too few"
                    row.cells["note"] = "; ".join(filter(None, (str(row.cells["note"]), told)))
        return [row.cells for row in rows]

    def _numbers(self, estimator: kernels.Estimator, rows: list[_Row]) -> list[dict[str, float]]:
        """Value, interval and central 95 % of the null of each row."""
        study = self._study
        speakers = study.clips["speaker"].to_numpy()
        first, second = (torch.stack(side) for side in zip(*(row.compared for row in rows), strict=True))
        value = kernels.cka(first, second, estimator)
        subsets = np.vstack([self._left_out.left, self._halves])
        without = kernels.cka_of_subsets(first, second, estimator, subsets)
        null = kernels.permutation_null(first, second, estimator, study.draws, study.seed, speakers)
        # the device is asked once for all
        found = torch.cat([value[:, None], without, torch.stack(kernels.interval_of(null), dim=1)], dim=1).cpu().numpy()
        left, halves = np.split(found[:, 1:-2], [len(self._left_out.left)], axis=1)
        low, high = self._left_out.ends(found[:, 0], left.T, CORRELATION, weighted=False)
        columns = {"value": found[:, 0], "ci_low": low, "ci_high": high}
        columns |= {"null_low": found[:, -2], "null_high": found[:, -1], "half_variance": halves.var(axis=1, ddof=1)}
        return pd.DataFrame(columns).to_dict(orient="records")  # pyright: ignore[reportReturnType]

    def _rows(self, layer: int, module: str, quantity: Quantity) -> Iterator[_Row]:
        # every kernel serves several pairs
        pooled = cache(lambda view: self._pooled_kernel(view, layer, module, quantity))
        pooled_rbf = cache(lambda view: kernels.rbf_kernel(pooled(view), kernels.median_gamma(pooled(view))))
        flat = cache(lambda view: self._flat_kernel(view, layer, module, quantity))
        flat_rbf = cache(lambda view: self._released_rbf(view, flat(view), layer, module, quantity))
        for pair in self._pairs(layer, module):
            # without a head there is no loss, and no gradient of it
            if quantity == "gradient" and {pair.first.model, pair.second.model} & self._study.headless:
                continue
            shared = {"layer": layer, "module": module, "quantity": quantity, "pair": pair.name, "model": pair.model}
            for name, kernel in (("linear", pooled), ("rbf", pooled_rbf)):
                yield self._row(shared, pair, kernel, name, "debiased", "corrected", "")
            if not {pair.first.model, pair.second.model} <= self._flattened:
                continue
            yield self._row(shared, pair, flat, "linear", "biased", "paper", "")
            if (pair.name, quantity) in RELEASED:
                name, curve = RELEASED[pair.name, quantity]
                kernel = flat if name == "linear" else flat_rbf
                yield self._row(shared, pair, kernel, name, "biased", "released", f"released figure: {curve}")

    def _pairs(self, layer: int, module: str) -> Iterator[_Pair]:
        models = [model for model, adapters in self._study.factors.items() if (layer, module) in adapters]
        for model in models:
            yield _Pair(f"A~B:{model}", model, _View(model, "A"), _View(model, "B"))
        for model in models:
            if "trained" in models and model != "trained":
                yield _Pair(f"A:trained~{model}", model, _View("trained", "A"), _View(model, "A"))
                yield _Pair(f"B:trained~{model}", model, _View("trained", "B"), _View(model, "B"))

    def _row(
        self,
        shared: dict[str, object],
        pair: _Pair,
        kernel_of: Callable[[_View], Tensor],
        kernel: str,
        estimator: kernels.Estimator,
        variant: str,
        note: str,
    ) -> _Row:
        cells: dict[str, object] = {"kernel": kernel, "estimator": estimator, "variant": variant, "note": note}
        cells |= {"clips": len(self._study.clips), "draws": self._study.draws, "interval_of": self._left_out.of}
        views = (pair.first, pair.second)
        compared = tuple(kernel_of(view) for view in views) if len(self._study.clips) >= FEWEST_CLIPS else ()
        sides = (f"{pair.first.factor} of {pair.first.model}", f"{pair.second.factor} of {pair.second.model}")
        return _Row(shared | cells, estimator, sides, compared)

    def _pooled_kernel(self, view: _View, layer: int, module: str, quantity: Quantity) -> Tensor:
        features = self._views.means((view.model, layer, module, PART_OF[quantity]))
        change = self._map(view, layer, module, quantity)
        return kernels.linear_kernel(features if change is None else features @ change.to(features))

    def _flat_kernel(self, view: _View, layer: int, module: str, quantity: Quantity) -> Tensor:
        change = self._map(view, layer, module, quantity)
        pieces = self._kept(view, layer, module, quantity).pieces()
        return kernels.linear_kernel_of_pieces(
            (piece if change is None else piece @ change.to(piece)).flatten(1) for piece in pieces
        )

    def _map(self, view: _View, layer: int, module: str, quantity: Quantity) -> Tensor | None:
        """What turns the stored part into this view by a product from the right; None where it is this view itself."""
        b = self._study.factors[view.model][layer, module].b
        if quantity == "activation":
            # B-out = A-out·Bᵀ; with B = QR the columns A-out·Rᵀ have the same inner products and are fewer.
            return torch.linalg.qr(b).R.T if view.factor == "B" else None
        return b if view.factor == "A" else None

    def _released_rbf(self, view: _View, kernel: Tensor, layer: int, module: str, quantity: Quantity) -> Tensor:
        factors = self._study.factors[view.model][layer, module]
        width = factors.a.shape[0] if view.factor == "A" else factors.b.shape[0]
        return kernels.rbf_kernel(kernel, 1.0 / (self._kept(view, layer, module, quantity).longest * width))

    def _kept(self, view: _View, layer: int, module: str, quantity: Quantity) -> KeptFrames:
        frames = self._views.frames((view.model, layer, module, PART_OF[quantity]))
        assert frames is not None, view
        return frames


def halves_of(clips: int, seed: int) -> np.ndarray:
    """Random halves of so many clips, [halves, clips], 1 for those of each."""
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(clips), (HALVES, 1)), axis=1)
    return (orders < clips // 2).astype(float)


def _lacking(rows: list[_Row]) -> list[int | None]:
    """Which of each row's kernels tells no clips apart or is no number, None where both are well; the device is asked
    once.
    """
    compared = [kernel for row in rows for kernel in row.compared]
    well = iter(torch.stack([k.isfinite().all() & k.any() for k in compared]).tolist() if compared else [])
    found = [[next(well) for _ in row.compared] for row in rows]
    return [good.index(False) if False in good else None for good in found]
