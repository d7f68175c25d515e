"""Spectra of what passes through an adapter's factors, forwards and backwards (METHODS section 5; the paper's Figure 3a-d).

Streaming and exact: only Gram matrices are kept, G = Σ aᵀa of A-out (rank × rank) and H = Σ gᵀg of dLoss/dB-out (width × width).
The other two matrices are linear images of these two, so B-out and dLoss/dA-out are never asked for:

    B-out = A-out·Bᵀ             has the spectrum of R G Rᵀ, where B = QR
    dLoss/dA-out = dLoss/dB-out·B    has the spectrum of Bᵀ H B
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor

from .. import stats
from ..intervals import LOG, LeftOut
from .measure import Factors, Part, Replay, Study
from .per_clip import PerClip

#: A direction of ΔW below this share of its largest singular value is rounding of float32 factors: the balanced gauge leaves it out.
NEGLIGIBLE = 1e-6

KEYS = ["model", "layer", "module", "factor", "quantity", "variant"]


@dataclass(frozen=True)
class _View:
    """One of the four matrices in one variant: its squared singular values, and the same without each unit where known."""

    factor: str
    quantity: str
    variant: str
    power: np.ndarray
    without: np.ndarray | None = None
    note: str = ""


class Spectra:
    """Cumulative energy and effective ranks of A-out, B-out and their gradients, for the trained adapter and random ones.

    Variants: `paper` takes the factors as they are and all frames; `released` is the same, but B's gradient rows show A's
    gradients, as the authors' notebook does; `corrected` takes the valid frames; `corrected-balanced` also puts the factors into
    the balanced gauge ΔW = UΣVᵀ, A = Σ^½Vᵀ, B = UΣ^½, because (RA, BR⁻¹) is the same adapter for any invertible R and
    A's spectrum moves with R. B-out is ΔW·x up to the scale: its normalised spectrum is that of ΔW·x, and no gauge
    changes it or its gradient, so the B rows of the two corrected variants agree.

    `compute` gives `spectra` (model, layer, module, factor, quantity, variant, index from 1, energy E_k) and
    `spectra_summary` (the same keys; k90, participation, entropy_rank, rank (of the adapter), note, k90_low and k90_high,
    interval_of, trained_ratio). The 95 % interval (`intervals.LeftOut`) is that of `stats.k90_crossing`, its ends rounded up: on the log
    scale, and less its bias, since fewer speakers or clips show fewer directions. It exists for the `corrected` variant, B's
    gradient excepted, whose Gram matrices would be too large to keep per clip. `trained_ratio` is k90 of the trained adapter over
    that of the row's model, and its mean over layers the mean ratio (the released figure prints mean k90 random / mean k90 trained).
    Models without a trained head (`Study.headless`) have no loss and no gradients, so no rows of these.
    A matrix that is exactly 0 (B-out and A's gradient where B = 0) has no spectrum: NaN, and a note.

    Memory: 2 width² + rank² float64 and 2 rank² float32 a clip, for each model, layer and module.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._grams: dict[tuple[str, int, str, str, bool], stats.Gram] = {}
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
        # a frame is in one of the two sums, and all frames are their total: each costs as much as a twelfth of its block's forward
        self._grams.setdefault((*key, True), stats.Gram()).update(batch.speech(part.tensor))
        if batch.windowed:
            self._grams.setdefault((*key, False), stats.Gram()).update(batch.padding(part.tensor))
        kept = part.tensor if part.name == "lora_a" else part.tensor @ self._b_like(key[:3], part.tensor)
        valid = kept * batch.mask[..., None].to(kept.dtype)
        self._clips.setdefault(key, PerClip(self._study)).put(batch, (valid.transpose(1, 2) @ valid).float())

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `spectra` and `spectra_summary`."""
        study = self._study
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        curves, summaries = [], []
        for model, adapters in study.factors.items():
            for (layer, module), factors in adapters.items():
                for view in self._views(model, layer, module, factors, left_out.weights):
                    key = dict(zip(KEYS, (model, layer, module, view.factor, view.quantity, view.variant), strict=True))
                    energy = stats.energy(view.power)
                    curves.append(pd.DataFrame({**key, "index": np.arange(1, len(energy) + 1), "energy": energy}))
                    summaries.append({**key, **_summary(view, left_out), "rank": factors.a.shape[0]})
        columns = [
            *KEYS,
            "k90",
            "participation",
            "entropy_rank",
            "rank",
            "note",
            "k90_low",
            "k90_high",
            "interval_of",
            "trained_ratio",
        ]
        summary = pd.DataFrame(summaries, columns=columns)
        trained = summary[summary["model"] == "trained"].set_index(KEYS[1:])["k90"]
        summary["trained_ratio"] = (
            trained.reindex(pd.MultiIndex.from_frame(summary[KEYS[1:]])).to_numpy() / summary["k90"]
        )
        empty = pd.DataFrame(columns=[*KEYS, "index", "energy"])
        return {"spectra": pd.concat(curves, ignore_index=True) if curves else empty, "spectra_summary": summary}

    def _b_like(self, key: tuple[str, int, str], tensor: Tensor) -> Tensor:
        if key not in self._b:
            model, layer, module = key
            self._b[key] = self._study.factors[model][layer, module].b.to(tensor)
        return self._b[key]

    def _views(self, model: str, layer: int, module: str, factors: Factors, weights: np.ndarray) -> list[_View]:
        key = (model, layer, module)
        b = factors.b.numpy()
        r = np.linalg.qr(b).R
        zero = "" if np.any(b) else "B is 0, so this matrix is exactly 0 and has no spectrum"
        has_loss = model not in self._study.headless
        clip_g = self._without_each(key, "lora_a", weights)
        clip_h = self._without_each(key, "grad_lora_b", weights) if has_loss else None
        views = []
        for valid, variants in ((False, ("paper", "released")), (True, ("corrected",))):
            g = self._gram(key, "lora_a", valid)
            a_out, b_out = stats.power_spectrum(g), stats.power_spectrum(r @ g @ r.T)
            h = a_grad = b_grad = None
            if has_loss:
                h = self._gram(key, "grad_lora_b", valid)
                a_grad, b_grad = stats.power_spectrum(b.T @ h @ b), stats.power_spectrum(h)
            without: dict[str, np.ndarray] = {}
            if valid:
                without = {"a_out": stats.power_spectrum(clip_g), "b_out": stats.power_spectrum(r @ clip_g @ r.T)}
                if clip_h is not None:
                    without["a_grad"] = stats.power_spectrum(clip_h)
            for variant in variants:
                views += [
                    _View("A", "activation", variant, a_out, without.get("a_out")),
                    _View("B", "activation", variant, b_out, without.get("b_out"), zero),
                ]
                if a_grad is None or b_grad is None:
                    continue
                views += [
                    _View("A", "gradient", variant, a_grad, without.get("a_grad"), zero),
                    _View("B", "gradient", variant, a_grad, None, "A's gradient, as the released notebook shows")
                    if variant == "released"
                    else _View("B", "gradient", variant, b_grad),
                ]
        return views + _balanced_views(factors, g, h, b_out, b_grad, zero)

    def _gram(self, key: tuple[str, int, str], name: str, valid: bool) -> np.ndarray:
        """Gram matrix over the valid frames or over all, [width, width]."""
        held = self._grams[*key, name, True].compute()
        padding = self._grams.get((*key, name, False))
        return held if valid or padding is None else held + padding.compute()

    def _without_each(self, key: tuple[str, int, str], name: str, weights: np.ndarray) -> np.ndarray:
        """Gram matrices without each unit that `weights` [units, clips] leave out, [units, rank, rank]."""
        clips = self._clips[*key, name].compute(f"{name} of model {key[0]}, layer {key[1]}, {key[2]}")
        return np.tensordot(weights, clips, axes=1)


def balanced_gauge(factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """The change to the balanced gauge: (M, B_bal) with A_bal·x = M·(A·x), [k, rank], and B_bal [width_out, k].

    With ΔW = BA = UΣVᵀ: A_bal = Σ^½Vᵀ, B_bal = UΣ^½, so M = Σ^-½ Uᵀ B. k counts ΔW's singular values above `NEGLIGIBLE`
    of the largest, 0 where ΔW = 0. The SVD is taken of the small core R_B R_Aᵀ, with B = Q_B R_B and Aᵀ = Q_A R_A.
    """
    q_b, r_b = np.linalg.qr(factors.b.numpy())
    r_a = np.linalg.qr(factors.a.numpy().T).R
    u, sigma, _ = np.linalg.svd(r_b @ r_a.T, full_matrices=False)
    kept = sigma > NEGLIGIBLE * sigma[0]
    u, root = u[:, kept], np.sqrt(sigma[kept])
    return (u.T @ r_b) / root[:, None], q_b @ u * root


def _balanced_views(
    factors: Factors,
    g: np.ndarray,
    h: np.ndarray | None,
    b_out: np.ndarray,
    b_grad: np.ndarray | None,
    zero: str,
) -> list[_View]:
    m, b = balanced_gauge(factors)
    rank = factors.a.shape[0]
    note = "" if len(m) == rank else f"ΔW has {len(m)} of {rank} directions above {NEGLIGIBLE:g} of its largest"
    variant = "corrected-balanced"

    def spectrum(gram: np.ndarray) -> np.ndarray:
        return np.concatenate([stats.power_spectrum(gram) if len(m) else np.zeros(0), np.zeros(rank - len(m))])

    views = [
        _View("A", "activation", variant, spectrum(m @ g @ m.T), note=note),
        _View("B", "activation", variant, b_out, note=zero or "the same in every gauge: the spectrum of ΔW·x"),
    ]
    if h is None or b_grad is None:
        return views
    return [
        *views,
        _View("A", "gradient", variant, spectrum(b.T @ h @ b), note=zero or note),
        _View("B", "gradient", variant, b_grad, note="the same in every gauge"),
    ]


def _summary(view: _View, left_out: LeftOut) -> dict[str, float | str]:
    low = high = float("nan")
    if view.without is not None:
        crossing, without = float(stats.k90_crossing(view.power)), stats.k90_crossing(view.without)
        ends = left_out.interval(crossing, without, LOG, unbias=True)
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
