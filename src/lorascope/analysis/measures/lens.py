"""What the model's own head would say of each layer's residual stream (METHODS section 3; the paper's Figure 2a)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax
from torch import Tensor

from ...statistics import stats
from ...statistics.information import kl_divergence
from ...statistics.intervals import LOG, LeftOut
from ..measure import Part, Replay, Study
from ..per_clip import PerClip

#: From this share of one class on, a lens says the same of nearly every clip and its overlap means nothing.
DOMINANT = 0.95

#: Nats below which a lens's answer is the model's own but for rounding.
SAME = 1e-6

COLUMNS = ["model", "layer", "variant", "kl", "jsd", "overlap", "accuracy", "uar", "entropy", "top_class_share"]
INTERVALS = [f"{name}_{end}" for name in ("kl", "overlap", "accuracy", "uar") for end in ("low", "high")]
COLUMNS += [*INTERVALS, "interval_of", "chance_overlap", "top_class", "clips", "warning"]


class Lens:
    """The logit lens: z_l = head(h_l) against the model's own final prediction, for l = 0 (embedding) to L.

    π_l = softmax(z_l), π_L the model's own final softmax. The head is linear, then pooled, so it is given the pooled
    stream. Variants:

    - `paper`: no final LayerNorm on h_l, KL(π_l ‖ π_L);
    - `released`: no final LayerNorm, KL(π_L ‖ π_l), as the swapped arguments in the authors' code have it;
    - `corrected`: the final LayerNorm before the head, KL(π_l ‖ π_L); so layer L is the model's own output, with KL 0
      and overlap 1.

    Where the head sums over depths (SUPERB's), `corrected` is cumulative: the head on Σ_{k≤l} w_k h_k / Σ_{k≤l} w_k,
    which is what it would say if the sum ended at depth l; layer L is the model's own output again. `alone` is the head
    on depth l as that enters the sum, as if it had all the weight. The table `layer_weights` (depth, weight) then has
    the w.

    `compute` gives `lens`: model, layer, variant; kl and jsd (nats), overlap (share of clips with the same class),
    accuracy and uar against the gold label, entropy (nats, mean over clips), top_class_share; 95 % intervals and what
    they speak of (`intervals.LeftOut`); chance_overlap, the overlap if the lens's classes had nothing to do with the
    final ones, Σ_c p_l(c) p_L(c); top_class, clips, and a warning where one class takes 95 % of the clips or more.
    Models without a trained head (`Study.headless`) are left out.
    """

    needs = frozenset({"head", "depth"})

    def __init__(self, study: Study) -> None:
        self._study = study
        #: model -> logits of every kind of lens and layer, the model's own last, [clips, lenses, classes]
        self._logits: dict[str, PerClip] = {}
        self._lenses: list[tuple[str, int]] = []
        # of one model on one batch, until its logits come
        self._pooled: dict[tuple[str, int], Tensor] = {}

    def parts(self, model: str) -> frozenset[str]:
        """The residual stream after each block (the last one's output, the others' as the next one's input) and the
        logits.
        """
        return frozenset() if model in self._study.headless else frozenset({"resid_pre", "resid_post", "logits"})

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Pool each layer's stream with and without the final LayerNorm; with the logits, which come last, apply the
        head to all of them at once.
        """
        layers = self._study.layers
        if part.name == "logits":
            self._ask(part)
            return
        if part.name == "resid_post" and part.layer < layers - 1:
            return  # the next block's input is the same tensor
        layer = part.layer if part.name == "resid_pre" else layers
        with torch.no_grad():
            self._pooled["plain", layer] = part.batch.pool(part.tensor)
            if self._study.depth_weights is None or layer == layers:
                self._pooled["normed", layer] = part.batch.pool(part.final_norm(part.tensor))
            if self._study.depth_weights is not None:
                own = "normed" if layer == layers and self._study.sums_normed else "plain"
                self._pooled["alone", layer] = self._pooled[own, layer]
                self._pooled["normed", layer] = self._sum_to(layer, part.model)

    def _sum_to(self, last: int, model: str) -> Tensor:
        """The mean of the depths up to one, weighted as the model's own head weighs them."""
        own = self._study.frozen_depth_weights if model == "frozen" else None
        every = self._study.depth_weights if own is None else own
        assert every is not None
        depths = [self._pooled["alone", depth] for depth in range(last + 1)]
        weights = torch.as_tensor(every[: last + 1]).to(depths[0])
        return (weights[:, None, None] * torch.stack(depths)).sum(dim=0) / weights.sum()

    def _ask(self, part: Part) -> None:
        pooled, self._pooled = self._pooled, {}
        with torch.no_grad():
            logits = part.head(torch.stack(list(pooled.values())))
        self._lenses = [*pooled, ("final", self._study.layers)]
        together = torch.cat([logits, part.tensor[None]]).transpose(0, 1)
        self._logits.setdefault(part.model, PerClip(self._study)).put(part.batch, together)

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """The table `lens`."""
        study = self._study
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        tables = {"lens": pd.DataFrame(self._rows(left_out), columns=COLUMNS)}
        weights = study.depth_weights
        if weights is not None:
            tables["layer_weights"] = pd.DataFrame({"depth": range(len(weights)), "weight": weights})
        return tables

    def _rows(self, left_out: LeftOut) -> Iterator[dict[str, object]]:
        layers = self._study.layers
        log_p = {
            (model, *lens): of_lens
            for model, kept in self._logits.items()
            for lens, of_lens in zip(
                self._lenses,
                log_softmax(kept.compute(f"lens of model {model}"), axis=-1).transpose(1, 0, 2),
                strict=True,
            )
        }
        for model in self._study.models:
            if (model, "final", layers) not in log_p:
                continue
            final = log_p[model, "final", layers]
            for layer in range(layers + 1):
                for variant, kind in self._variants():
                    row = self._row(log_p[model, kind, layer], final, variant == "released", left_out)
                    yield {"model": model, "layer": layer, "variant": variant, **row}

    def _variants(self) -> list[tuple[str, str]]:
        """Every variant with the kind of lens that it takes."""
        variants = [("paper", "plain"), ("released", "plain"), ("corrected", "normed")]
        return variants if self._study.depth_weights is None else [*variants, ("alone", "alone")]

    def _row(self, lens: np.ndarray, final: np.ndarray, swapped: bool, left_out: LeftOut) -> dict[str, object]:
        """All numbers of one layer from the log probabilities of lens and model, [clips, classes] each."""
        study = self._study
        n, classes = lens.shape
        predicted, output = lens.argmax(axis=1), final.argmax(axis=1)
        middle = np.logaddexp(lens, final) - np.log(2)
        shares, output_shares = (np.bincount(x, minlength=classes) / n for x in (predicted, output))
        per_clip = {
            "kl": kl_divergence(final, lens) if swapped else kl_divergence(lens, final),
            "jsd": (kl_divergence(lens, middle) + kl_divergence(final, middle)) / 2,
            "overlap": (predicted == output).astype(float),
            "accuracy": (predicted == study.labels).astype(float),
            "entropy": -(np.exp(lens) * lens).sum(axis=1),
        }
        means = {name: float(values.mean()) for name, values in per_clip.items()}
        # the model's own output agrees with itself whatever the clips
        by_construction = per_clip["kl"].max() < SAME
        ends = [
            *left_out.interval(means["kl"], left_out.mean(per_clip["kl"]), LOG),
            *((1.0, 1.0) if by_construction else left_out.of_accuracy(per_clip["overlap"])),
            *left_out.of_accuracy(per_clip["accuracy"]),
            *left_out.of_recall(study.labels, predicted, classes),
        ]
        top = int(shares.argmax())
        warning = (
            f"{shares[top]:.0%} of the clips get {study.classes[top]}: overlap and accuracy say nothing here"
            if shares[top] >= DOMINANT
            else ""
        )
        return {
            **means,
            **dict(zip(INTERVALS, ends, strict=True)),
            "interval_of": left_out.of,
            "uar": stats.unweighted_average_recall(study.labels, predicted, classes),
            "top_class_share": float(shares[top]),
            "chance_overlap": float(shares @ output_shares),
            "top_class": study.classes[top],
            "clips": n,
            "warning": warning,
        }
