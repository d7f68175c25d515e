"""What a model answers when something is changed in it: logits kept setting by setting, and what they amount to.

Every measure that intervenes keeps its answers here, so that all of them speak of the same numbers with the same
intervals.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import log_softmax
from torch import Tensor

from ..errors import LorascopeError
from ..statistics import stats
from ..statistics.information import kl_divergence
from ..statistics.intervals import LOG, LeftOut, clips_in_a_recall
from .measure import Batch, Study
from .per_clip import PerClip

#: What an answer amounts to; those that compare it with the intact model's are 0 for the intact model itself.
METRICS = ("accuracy", "uar", "loss", "confidence", "kl", "flipped")
DELTAS = ("accuracy", "uar", "loss", "confidence")


@dataclass(frozen=True)
class Answer:
    """Every metric of one setting: the estimate first, then without each unit, [1 + units]; deltas are
    `delta_<name>`. `certain` says that it is compared with itself.
    """

    draws: dict[str, np.ndarray]
    certain: bool

    def value(self, name: str) -> float:
        """The estimate."""
        return float(self.draws[name][0])


class Answers:
    """Logits of every clip by setting, any hashable key; one of the settings is what the others are compared with.

    accuracy and UAR against the gold label; loss, the cross-entropy in nats; confidence, the mean of the largest
    probability; kl, KL(π ‖ π_intact) in nats; flipped, the share of clips whose class is not the intact model's.
    `delta_<name>` is the change against the intact model, paired by clip.
    """

    def __init__(self, study: Study, what: str) -> None:
        self._study, self._what = study, what
        self._logits: dict[Hashable, PerClip] = {}
        self._known: dict[Hashable, np.ndarray] = {}

    def put(self, setting: Hashable, logits: Tensor, batch: Batch) -> None:
        """Keep one batch's logits [clips, classes]."""
        self._logits.setdefault(setting, PerClip(self._study)).put(batch, logits)

    def give(self, setting: Hashable, logits: np.ndarray) -> None:
        """Keep all clips' logits at once, [clips, classes] in the study's order. Raises LorascopeError where a clip's
        are not finite.
        """
        finite = np.isfinite(logits).all(axis=1)
        if not finite.all():
            clip = self._study.clips["clip"].iloc[int(np.argmin(finite))]
            raise LorascopeError(f"logits of {self._what}, {setting}: not finite for clip '{clip}'; leave the clip out")
        self._known[setting] = logits.astype(np.float64)

    @property
    def settings(self) -> list[Any]:
        """All settings in the order of their coming."""
        return list(self._logits)

    @cached_property
    def left_out(self) -> LeftOut:
        """The units that are left out for the intervals."""
        return LeftOut(self._study.clips["speaker"].to_numpy(), self._study.labels)

    def logits(self, setting: Hashable) -> np.ndarray:
        """[clips, classes] float64. Raises LorascopeError where a clip's are not finite."""
        if setting not in self._known:
            self._known[setting] = self._logits[setting].compute(f"logits of {self._what}, {setting}")
        return self._known[setting]

    def answer(self, setting: Hashable, intact: Hashable) -> Answer:
        """The metrics of one setting, compared with another one's."""
        labels = self._study.labels
        weights = np.vstack([np.ones(len(labels)), self.left_out.weights])
        (log_p, own), (log_q, other) = (self._metrics(each, weights) for each in (setting, intact))
        other_class = log_p.argmax(axis=1) != log_q.argmax(axis=1)
        divergence = np.maximum(kl_divergence(log_p, log_q), 0.0)
        found = own | {"kl": _mean(weights, divergence), "flipped": _mean(weights, other_class.astype(float))}
        found |= {f"delta_{name}": own[name] - other[name] for name in DELTAS}
        # the intact model agrees with itself whatever the clips
        return Answer(found, setting == intact)

    def ends(self, answer: Answer, name: str) -> dict[str, float]:
        """`<name>_low` and `<name>_high`, the 95 % interval of one metric."""
        value, without = answer.value(name), answer.draws[name][1:]
        clips = float(len(self._study.labels))
        if answer.certain and name in ("kl", "flipped"):
            low, high = 0.0, 0.0
        elif name in ("accuracy", "flipped"):
            low, high = self.left_out.share_interval(value, without, clips)
        elif name == "uar":
            low, high = self.left_out.share_interval(value, without, clips_in_a_recall(self._study.labels))
        elif name in ("kl", "loss"):
            low, high = self.left_out.interval(value, without, LOG)
        else:
            low, high = self.left_out.interval(value, without)
        return {f"{name}_low": low, f"{name}_high": high}

    def row(self, answer: Answer, names: tuple[str, ...], with_interval: tuple[str, ...]) -> dict[str, Any]:
        """Columns of a table: the metrics `names`, intervals of those in `with_interval`, what these speak of, and
        the number of clips.
        """
        row: dict[str, Any] = {name: answer.value(name) for name in names}
        for name in with_interval:
            row |= self.ends(answer, name)
        return row | {"interval_of": self.left_out.of, "clips": len(self._study.labels)}

    def _metrics(self, setting: Hashable, weights: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Log probabilities [clips, classes], and every metric for each row of `weights` [rows, clips], [rows]."""
        labels, logits = self._study.labels, self.logits(setting)
        log_p = log_softmax(logits, axis=1)
        predicted = log_p.argmax(axis=1)
        per_clip = {
            "accuracy": (predicted == labels).astype(float),
            "loss": -log_p[np.arange(len(labels)), labels],
            "confidence": np.exp(log_p.max(axis=1)),
        }
        found = {name: _mean(weights, values) for name, values in per_clip.items()}
        return log_p, found | {"uar": stats.weighted_recall(labels, predicted, weights, logits.shape[1])}


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    totals = weights.sum(axis=1)
    return weights @ values / np.where(totals > 0, totals, np.nan)
