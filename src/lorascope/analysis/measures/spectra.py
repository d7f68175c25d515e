"""Spectra of what passes through an adapter's factors, forwards and backwards (METHODS section 5; the paper's Figure
3a-d).

Streaming and exact: only Gram matrices are kept, G = Σ aᵀa of A-out (rank × rank) and H = Σ gᵀg of dLoss/dB-out (width
× width). The other two matrices are linear images of these two, so B-out and dLoss/dA-out are never asked for:

    B-out = A-out·Bᵀ             has the spectrum of R G Rᵀ, where B = QR
    dLoss/dA-out = dLoss/dB-out·B    has the spectrum of Bᵀ H B
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...machine.environment import one_thread
from ...statistics import stats
from ...statistics.directions import NEGLIGIBLE, directions
from ...statistics.grams import Gram, power_spectra
from ...statistics.intervals import LOG, LeftOut
from ..measure import Factors, Part, Replay, Study
from ..per_clip import PerClip

#: Places whose spectra a GPU takes together.
PLACES_AT_ONCE = 256

#: What has intervals, by resampled clips.
SIDES = ("a_out", "b_out", "a_grad")

KEYS = ["model", "layer", "module", "factor", "quantity", "variant"]
SUMMARY = ["k90", "participation", "entropy_rank", "rank", "note", "k90_low", "k90_high"]
SUMMARY += ["interval_of", "trained_ratio"]


@dataclass(frozen=True)
class _View:
    """One of the four matrices in one variant: its squared singular values, and the same without each unit where
    known.
    """

    factor: str
    quantity: str
    variant: str
    power: np.ndarray
    without: np.ndarray | None = None
    note: str = ""


class Spectra:
    """Cumulative energy and effective ranks of A-out, B-out and their gradients, for the trained adapter and random
    ones.

    Variants: `paper` takes the factors as they are and all frames; `released` is the same, but B's gradient rows show
    A's gradients, as the authors' notebook does; `corrected` takes the valid frames; `corrected-balanced` also puts the
    factors into the balanced gauge ΔW = UΣVᵀ, A = Σ^½Vᵀ, B = UΣ^½, because (RA, BR⁻¹) is the same adapter for any
    invertible R and A's spectrum moves with R. B-out is ΔW·x up to the scale: its normalised spectrum is that of ΔW·x,
    and no gauge changes it or its gradient, so the B rows of the two corrected variants agree.

    `compute` gives `spectra` (model, layer, module, factor, quantity, variant, index from 1, energy E_k) and
    `spectra_summary` (the same keys; k90, participation, entropy_rank, rank (of the adapter), note, k90_low and
    k90_high, interval_of, trained_ratio). The 95 % interval (`intervals.LeftOut`) is that of `stats.k90_crossing`, its
    ends rounded up: on the log scale, and less its bias, since fewer speakers or clips show fewer directions. It exists
    for the `corrected` variant, B's gradient excepted, whose Gram matrices would be too large to keep per clip.
    `trained_ratio` is k90 of the trained adapter over that of the row's model, and its mean over layers the mean ratio
    (the released figure prints mean k90 random / mean k90 trained). Models without a trained head (`Study.headless`)
    have no loss and no gradients, so no rows of these. A matrix that is exactly 0 (B-out and A's gradient where B = 0)
    has no spectrum: NaN, and a note.

    Memory: 2 width² + rank² float64 and 2 rank² float32 a clip, for each model, layer and module.
    """

    needs = frozenset({"pairs"})

    def __init__(self, study: Study) -> None:
        self._study = study
        self._grams: dict[tuple[str, int, str, str, bool], Gram] = {}
        self._clips: dict[tuple[str, int, str, str], PerClip] = {}
        self._b: dict[tuple[str, int, str], Tensor] = {}

    def parts(self, model: str) -> frozenset[str]:
        """A-out of every model that has an adapter, and the gradient at B-out of those that have a head."""
        if not self._study.factors.get(model):
            return frozenset()
        return frozenset({"lora_a"} if model in self._study.headless else {"lora_a", "grad_lora_b"})

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Add one batch to the Gram matrices, over all frames and over the valid ones."""
        assert part.module is not None
        key = (part.model, part.layer, part.module, part.name)
        batch = part.batch
        kept = part.tensor
        if part.name == "grad_lora_b":
            # a frame is in one of the two sums, and all frames are their total: each costs as much as a twelfth of its
            # block's forward
            self._grams.setdefault((*key, True), Gram()).update(batch.speech(part.raw))
            kept = part.tensor @ self._b_like(key[:3], part.tensor)
        if batch.windowed and not batch.is_full:
            self._grams.setdefault((*key, False), Gram()).update(batch.padding(part.raw))
        valid = batch.silenced(kept)
        self._clips.setdefault(key, PerClip(self._study)).put(batch, valid.mT @ valid)

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `spectra` and `spectra_summary`."""
        study = self._study
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        places = [(model, *place) for model, adapters in study.factors.items() for place in adapters]
        # a GPU is busy only with many spectra at once; elsewhere their matrices, one place after the other, take less
        # memory
        on_gpu = any(kept.on_gpu for kept in self._clips.values())
        step = PLACES_AT_ONCE if on_gpu else 1
        views: list[tuple[tuple[str, int, str], _View]] = []
        # the host's share of a GPU's spectra is a thread for each; alone, one spectrum may have all threads
        with one_thread() if on_gpu else nullcontext():
            for first in range(0, len(places), step):
                some = places[first : first + step]
                for place, of_place in zip(some, self._views(some, left_out.weights), strict=True):
                    views += [(place, view) for view in of_place]
        summary = pd.DataFrame(
            [
                {**_key(place, view), **_summary(view, left_out), "rank": study.factors[place[0]][place[1:]].a.shape[0]}
                for place, view in views
            ],
            columns=[*KEYS, *SUMMARY],
        )
        trained = summary[summary["model"] == "trained"].set_index(KEYS[1:])["k90"]
        summary["trained_ratio"] = (
            trained.reindex(pd.MultiIndex.from_frame(summary[KEYS[1:]])).to_numpy() / summary["k90"]
        )
        return {"spectra": _curves(views), "spectra_summary": summary}

    def _b_like(self, key: tuple[str, int, str], tensor: Tensor) -> Tensor:
        if key not in self._b:
            model, layer, module = key
            self._b[key] = self._study.factors[model][layer, module].b.to(tensor)
        return self._b[key]

    def _views(self, places: list[tuple[str, int, str]], weights: np.ndarray) -> list[list[_View]]:
        """All matrices of some places; their spectra are computed together."""
        asked = [self._matrices(place, weights) for place in places]
        powers = iter(power_spectra([gram for grams in asked for gram in grams.values()], self._study.threads))
        return [
            self._views_of(place, {name: next(powers) for name in grams})
            for place, grams in zip(places, asked, strict=True)
        ]

    def _matrices(self, place: tuple[str, int, str], weights: np.ndarray) -> dict[str, Tensor]:
        """Gram matrices whose spectra make up the views of one place: by the side that they are of, over all frames and
        over the valid ones, `without` those without each unit that `weights` [units, clips] leave out.
        """
        factors = self._study.factors[place[0]][place[1:]]
        m, balanced = balanced_gauge(factors)
        clips = self._clips[*place, "lora_a"].gathered(_what("lora_a", place)).double()

        def here(array: np.ndarray | Tensor) -> Tensor:
            return torch.as_tensor(array).to(clips)

        r, b, leaving = here(np.linalg.qr(factors.b.numpy()).R), here(factors.b), here(weights)
        g = self._grams_of(place, "lora_a", clips.sum(dim=0))
        found: dict[str, Tensor] = {}
        for frames, gram in g.items():
            found |= {f"a_out, {frames}": gram, f"b_out, {frames}": r @ gram @ r.T}
        without = torch.tensordot(leaving, clips, 1)
        found |= {"a_out, without": without, "b_out, without": r @ without @ r.T}
        if len(m):
            found["a_out, balanced"] = here(m) @ g["valid"] @ here(m).T
        if place[0] in self._study.headless:
            return found
        h = self._grams_of(place, "grad_lora_b", self._grams[*place, "grad_lora_b", True].total)
        for frames, gram in h.items():
            found |= {f"b_grad, {frames}": gram, f"a_grad, {frames}": b.T @ gram @ b}
        clips = self._clips[*place, "grad_lora_b"].gathered(_what("grad_lora_b", place)).double()
        found["a_grad, without"] = torch.tensordot(leaving, clips, 1)
        if len(m):
            found["a_grad, balanced"] = here(balanced).T @ h["valid"] @ here(balanced)
        return found

    def _views_of(self, place: tuple[str, int, str], power: Mapping[str, np.ndarray]) -> list[_View]:
        """The views of one place from the squared singular values of its matrices."""
        model, layer, module = place
        factors = self._study.factors[model][layer, module]
        zero = "" if factors.b.any() else "B is 0, so this matrix is exactly 0 and has no spectrum"
        has_loss = model not in self._study.headless
        views = []
        # where there is no padding, all frames are the valid ones
        every = "all" if "a_out, all" in power else "valid"
        for frames, variants in ((every, ("paper", "released")), ("valid", ("corrected",))):
            for variant in variants:
                without = {side: power.get(f"{side}, without") if variant == "corrected" else None for side in SIDES}
                views += [
                    _View("A", "activation", variant, power[f"a_out, {frames}"], without["a_out"]),
                    _View("B", "activation", variant, power[f"b_out, {frames}"], without["b_out"], zero),
                ]
                if not has_loss:
                    continue
                a_grad, b_grad = power[f"a_grad, {frames}"], power[f"b_grad, {frames}"]
                views += [
                    _View("A", "gradient", variant, a_grad, without["a_grad"], zero),
                    _View("B", "gradient", variant, a_grad, None, "A's gradient, as the released notebook shows")
                    if variant == "released"
                    else _View("B", "gradient", variant, b_grad),
                ]
        return views + _balanced_views(factors.a.shape[0], power, zero)

    def _grams_of(self, place: tuple[str, int, str], name: str, valid: Tensor) -> dict[str, Tensor]:
        """Gram matrices over the valid frames and, where there are others, over all."""
        padding = self._grams.get((*place, name, False))
        return {"valid": valid} if padding is None else {"valid": valid, "all": valid + padding.total}


def _what(name: str, place: tuple[str, int, str]) -> str:
    model, layer, module = place
    return f"{name} of model {model}, layer {layer}, {module}"


def _key(place: tuple[str, int, str], view: _View) -> dict[str, object]:
    return dict(zip(KEYS, (*place, view.factor, view.quantity, view.variant), strict=True))


def _curves(views: list[tuple[tuple[str, int, str], _View]]) -> pd.DataFrame:
    """The table `spectra`."""
    if not views:
        return pd.DataFrame(columns=[*KEYS, "index", "energy"])
    lengths = [len(view.power) for _, view in views]
    keys = pd.DataFrame([_key(place, view) for place, view in views], columns=KEYS)
    repeated = keys.loc[keys.index.repeat(lengths)].reset_index(drop=True)
    return repeated.assign(
        index=np.concatenate([np.arange(1, length + 1) for length in lengths]),
        energy=np.concatenate([stats.energy(view.power) for _, view in views]),
    )


def balanced_gauge(factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """The change to the balanced gauge: (M, B_bal) with A_bal·x = M·(A·x), [k, rank], and B_bal [width_out, k].

    With ΔW = BA = UΣVᵀ: A_bal = Σ^½Vᵀ, B_bal = UΣ^½, so M = Σ^-½ Uᵀ B. k counts ΔW's singular values above `NEGLIGIBLE`
    of the largest, 0 where ΔW = 0.
    """
    found = directions(factors.a.numpy(), factors.b.numpy())
    root = np.sqrt(found.sigma)
    return found.left.T @ factors.b.numpy() / root[:, None], found.left * root


def _balanced_views(rank: int, power: Mapping[str, np.ndarray], zero: str) -> list[_View]:
    variant = "corrected-balanced"

    def spectrum(side: str) -> np.ndarray:
        known = power.get(f"{side}, balanced", np.zeros(0))
        return np.concatenate([known, np.zeros(rank - len(known))])

    kept = len(power.get("a_out, balanced", ()))
    note = "" if kept == rank else f"ΔW has {kept} of {rank} directions above {NEGLIGIBLE:g} of its largest"
    same = zero or "the same in every gauge: the spectrum of ΔW·x"
    views = [
        _View("A", "activation", variant, spectrum("a_out"), note=note),
        _View("B", "activation", variant, power["b_out, valid"], note=same),
    ]
    if "b_grad, valid" not in power:
        return views
    return [
        *views,
        _View("A", "gradient", variant, spectrum("a_grad"), note=zero or note),
        _View("B", "gradient", variant, power["b_grad, valid"], note="the same in every gauge"),
    ]


def crossing_interval(power: np.ndarray, without: np.ndarray, left_out: LeftOut) -> tuple[float, float]:
    """The 95 % interval of `stats.k90_crossing` of `power` [width], squared singular values that are `without` [units,
    width] where each unit is left out; not yet in whole directions.
    """
    return left_out.interval(float(stats.k90_crossing(power)), stats.k90_crossing(without), LOG, unbias=True)


def _summary(view: _View, left_out: LeftOut) -> dict[str, float | str]:
    low = high = float("nan")
    if view.without is not None:
        ends = crossing_interval(view.power, view.without, left_out)
        # rounding must not push an end that is a whole number to the next
        low, high = np.clip(np.ceil(np.array(ends) - 1e-9), 1, len(view.power)).tolist()
    note = view.note or ("" if np.any(view.power) else "this matrix is exactly 0 and has no spectrum")
    return {
        "note": note,
        "k90": float(stats.k90(view.power)),
        "participation": float(stats.participation_ratio(view.power)),
        "entropy_rank": float(stats.entropy_rank(view.power)),
        "k90_low": low,
        "k90_high": high,
        "interval_of": left_out.of if view.without is not None else "",
    }
