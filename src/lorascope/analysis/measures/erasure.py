"""What the model loses when a block is skipped (METHODS section 7; in the released code, not in the paper's text)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import log_softmax
from torch import Tensor

from ...statistics import stats
from ...statistics.intervals import LeftOut, clips_in_a_recall
from ..measure import Batch, Part, Replay, Study
from ..per_clip import PerClip

METRICS = ("accuracy", "uar", "loss", "confidence")
WITH_INTERVAL = ("accuracy", "uar", "delta_accuracy", "delta_uar", "delta_loss")

COLUMNS = ["model", "layer", "mode", *METRICS, *(f"delta_{name}" for name in METRICS)]
COLUMNS += [f"{name}_{end}" for name in WITH_INTERVAL for end in ("low", "high")] + ["interval_of", "clips"]


class Erasure:
    """Accuracy, UAR, loss and confidence with blocks skipped (a skipped block's output is its input).

    Modes: `single` skips block l alone, `progressive` blocks 0 to l; `none`, layer -1, is the intact model. It is done to the
    trained model and to the frozen one where that has a head of its own.

    `compute` gives `erasure`: model, layer, mode, accuracy, uar, loss (cross-entropy, nats), confidence (mean of the largest
    probability, as in the released code), their changes against the intact model (delta_*, negative accuracy is a loss), and
    95 % intervals, the changes' paired by clip, and what they speak of (`intervals.LeftOut`).

    Costs about `layers` forwards of the encoder a batch.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._logits: dict[tuple[str, str, int], PerClip] = {}

    def parts(self, model: str) -> frozenset[str]:
        """The logits of the intact model."""
        return frozenset({"logits"}) if self.replays(model) else frozenset()

    def replays(self, model: str) -> frozenset[str]:
        """The own stream of the trained model, and of the frozen one with a head."""
        erased = model in ("trained", "frozen") and model not in self._study.headless
        return frozenset({"own"} if erased else ())

    def update(self, part: Part) -> None:
        """Keep the intact model's logits."""
        self._keep(part.model, "none", -1, part.tensor, part.batch)

    def replay(self, replay: Replay) -> None:
        """Run the model from behind each skipped block."""
        embedding = replay.resid_pre[0]
        for layer, stream in enumerate(replay.resid_pre):
            # a skipped block's output is its input, also at the depths that a head sums over
            single = replay.from_layer(layer + 1, stream, replay.resid_pre[: layer + 1])
            skipped = [embedding] * (layer + 1)
            progressive = replay.from_layer(layer + 1, embedding, skipped) if layer else single
            for mode, logits in (("single", single), ("progressive", progressive)):
                self._keep(replay.model, mode, layer, logits, replay.batch)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The table `erasure`."""
        study = self._study
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        return {"erasure": pd.DataFrame(self._rows(left_out), columns=COLUMNS)}

    def _keep(self, model: str, mode: str, layer: int, logits: Tensor, batch: Batch) -> None:
        self._logits.setdefault((model, mode, layer), PerClip(self._study)).put(batch, logits)

    def _rows(self, left_out: LeftOut) -> Iterator[dict[str, object]]:
        labels = self._study.labels
        # the first row counts every clip once: the estimate itself
        weights = np.vstack([np.ones(len(labels)), left_out.weights])
        clips = {"accuracy": float(len(labels)), "uar": clips_in_a_recall(labels)}
        metrics = {
            (model, mode, layer): self._metrics(
                kept.compute(f"logits of model {model}, erasure {mode} {layer}"), weights
            )
            for (model, mode, layer), kept in self._logits.items()
        }
        about = {"interval_of": left_out.of, "clips": len(labels)}
        for (model, mode, layer), found in metrics.items():
            intact = metrics[model, "none", -1]
            found = found | {f"delta_{name}": found[name] - intact[name] for name in METRICS}
            ends: dict[str, float] = {}
            for name in WITH_INTERVAL:
                value, without = float(found[name][0]), found[name][1:]
                share = name in clips
                interval = (
                    left_out.share_interval(value, without, clips[name]) if share else left_out.interval(value, without)
                )
                ends |= dict(zip((f"{name}_low", f"{name}_high"), interval, strict=True))
            values = {name: float(draws[0]) for name, draws in found.items()}
            yield {"model": model, "layer": layer, "mode": mode, **values, **ends} | about

    def _metrics(self, logits: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Every metric for each row of `weights` [rows, clips], [rows]."""
        labels = self._study.labels
        log_p = log_softmax(logits, axis=1)
        predicted = log_p.argmax(axis=1)
        per_clip = {
            "accuracy": (predicted == labels).astype(float),
            "loss": -log_p[np.arange(len(labels)), labels],
            "confidence": np.exp(log_p.max(axis=1)),
        }
        totals = weights.sum(axis=1)
        totals = np.where(totals > 0, totals, np.nan)
        found = {name: weights @ values / totals for name, values in per_clip.items()}
        return found | {"uar": stats.weighted_recall(labels, predicted, weights, logits.shape[1])}
