"""What can be read off the stream: emotion, speaker, sentence, gender, language, acoustics, at every depth, frozen
and adapted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from ...statistics import stats
from ...statistics.intervals import CLIPS, LeftOut, clips_in_a_recall
from ...statistics.probes import classified, determination, held_out, regressed, split
from ...statistics.shuffles import clip_orders, shuffled_labels
from ..measure import Part, Replay, Study
from ..per_clip import PerClip

#: From 2 on the control task's score has a name that no table of several units takes for its own.
VERSION = 2
#: Shuffled labelings of a control task.
CONTROLS = 10
#: Fewer clips than these of a target say nothing.
FEWEST = 12

COLUMNS = [
    "target",
    "model",
    "depth",
    "metric",
    "score",
    "score_low",
    "score_high",
    "control_task",
    "control_task_high",
]
COLUMNS += ["selectivity", "selectivity_low", "selectivity_high", "chance", "classes", "held_out", "groups"]
COLUMNS += ["clips", "interval_of"]
REASONS = ["target", "reason"]


class Target(NamedTuple):
    """What is read off: its column among the clips, what is held out whole, and whether it is a number."""

    column: str
    held_out: str
    numeric: bool = False


TARGETS = {
    "emotion": Target("label", "speaker"),
    "speaker": Target("speaker", "text"),
    "sentence": Target("text", "speaker"),
    "gender": Target("gender", "speaker"),
    "language": Target("language", "speaker"),
    "f0_mean": Target("f0_mean", "speaker", True),
    "f0_range": Target("f0_range", "speaker", True),
    "intensity": Target("intensity", "speaker", True),
    "rate": Target("rate", "speaker", True),
}


class Probes:
    """Linear probes on the mean of each clip's valid frames at depths 0 to L, of the frozen and the trained model.

    Depth l < L is what block l takes, depth L the encoder's output after its final LayerNorm. Classes (emotion,
    speaker, sentence, gender, language): standardised multinomial logistic regression, UAR. Acoustics (mean and range
    of F0 in semitones, loudness, loudness peaks a second; eGeMAPS): ridge regression, R². Speakers are held out, of
    the speaker probe the sentences; a class that lies in one group only cannot be asked and is left out, with its
    clips. Both models have the same clips, splits and shuffles. The control task is the same probe on labels shuffled
    within the groups (10 draws), or between them where every group has one label.

    `compute` gives `probes`: target, model (frozen, trained, difference: trained less frozen, paired by clip), depth,
    metric (uar, r2), score, control_task (mean over draws) and control_task_high (their 95th percentile), selectivity
    = score less control, 95 % intervals (the probes' answers and the control held fixed) and what they speak of,
    chance, classes, what was held out, groups and clips. And `probe_reasons`: targets that could not be had, and why.

    A probe says what can be read off linearly, not what the model uses. Costs no forward beyond the pass.
    """

    keys: ClassVar = {"probes": ("target", "model", "depth", "metric"), "probe_reasons": ("target",)}

    def __init__(self, study: Study) -> None:
        self._study = study
        self._means: dict[tuple[str, int], PerClip] = {}

    def parts(self, model: str) -> frozenset[str]:
        """The stream at every depth, of the frozen and the trained model."""
        return frozenset({"resid_pre", "final_norm"} if model in ("frozen", "trained") else ())

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Keep each clip's mean over its valid frames."""
        kept = self._means.setdefault((part.model, part.layer), PerClip(self._study))
        kept.put(part.batch, part.batch.mean(part.tensor, valid=True))

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `probes` and `probe_reasons`."""
        features = {
            (model, depth): kept.compute(f"stream of model {model} at depth {depth}")
            for (model, depth), kept in self._means.items()
        }
        rows: list[dict[str, Any]] = []
        reasons = []
        for name, target in TARGETS.items():
            asked = asked_of(self._study.clips, target)
            if isinstance(asked, str):
                reasons.append({"target": name, "reason": asked})
            else:
                rows += self._rows(name, target, asked, features)
        return {
            "probes": pd.DataFrame(rows, columns=COLUMNS),
            "probe_reasons": pd.DataFrame(reasons, columns=REASONS),
        }

    def _rows(
        self, name: str, target: Target, asked: pd.DataFrame, features: dict[tuple[str, int], np.ndarray]
    ) -> Iterator[dict[str, Any]]:
        probe = _Probe(target, asked, self._study.seed)
        about = {"target": name, "metric": probe.metric, "chance": probe.chance, "classes": probe.classes}
        about |= {"held_out": {"text": "sentence"}.get(target.held_out, target.held_out), "groups": probe.groups}
        about |= {"clips": len(asked), "interval_of": probe.of}
        draws: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = {}
        for (model, depth), of_all in features.items():
            draws[model, depth] = probe.scores(of_all[asked.index])
            yield about | {"model": model, "depth": depth} | probe.row(*draws[model, depth])
        for depth in range(self._study.layers + 1):
            if ("frozen", depth) in draws and ("trained", depth) in draws:
                (trained, own), (frozen, other) = draws["trained", depth], draws["frozen", depth]
                row = probe.difference(trained - frozen, own - other)
                yield about | {"model": "difference", "depth": depth, "chance": np.nan} | row


def asked_of(clips: pd.DataFrame, target: Target) -> pd.DataFrame | str:
    """The clips that a target can be asked of, with `value` and `group`; or why there are none."""
    for column in (target.column, target.held_out):
        if column not in clips or clips[column].isna().all():
            return f"the clips have no {'acoustics' if target.numeric and column == target.column else column}"
    known = clips[[target.column, target.held_out]].notna().all(axis=1)
    found = pd.DataFrame({"value": clips[target.column], "group": clips[target.held_out].astype(str)})[known]
    found = found.assign(speaker=clips["speaker"][known])
    if not target.numeric:
        groups = found.groupby("value")["group"].nunique()
        found = found[found["value"].isin(groups.index[groups > 1])]
        if found["value"].nunique() < 2:
            return f"fewer than two classes lie in two groups that can be held out ({target.held_out})"
    if found["group"].nunique() < 2:
        return f"there is one group only that could be held out ({target.held_out})"
    if len(found) < FEWEST:
        return f"{len(found)} clips are too few"
    if target.numeric and not found["value"].std() > 0:
        return "all clips have the same value"
    return found


class _Probe:
    """One target on its clips: splits, shuffles and weights that all depths and models share."""

    def __init__(self, target: Target, asked: pd.DataFrame, seed: int) -> None:
        self._target = target
        groups = asked["group"].to_numpy()
        self.groups = len(np.unique(groups))
        self._parts = split(groups, seed)
        self.metric = "r2" if target.numeric else "uar"
        if target.numeric:
            self.classes, self.chance = 0, 0.0
            values = asked["value"].to_numpy(dtype=float)
            orders = clip_orders(groups, len(values), CONTROLS, seed)
            self._values = np.vstack([values, values[orders]])
            strata = np.zeros(len(values), dtype=int)
        else:
            names, strata = np.unique(asked["value"].to_numpy(), return_inverse=True)
            self.classes, self.chance = len(names), 1 / len(names)
            self._values = np.vstack([strata, shuffled_labels(strata, groups, CONTROLS, seed)])
        # of the speaker, speakers are the classes, and what could have been others are the sentences
        units = groups if target.column == "speaker" else asked["speaker"].to_numpy()
        self._left_out = LeftOut(units, strata)
        self.of = "sentences" if target.column == "speaker" and self._left_out.of != CLIPS else self._left_out.of
        self._weights = np.vstack([np.ones(len(asked)), self._left_out.weights])

    def scores(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The score and the same without each unit, [1 + units], and that of every control, [draws]."""
        parts = held_out(features, self._parts)
        whole = self._weights[:1]
        if self._target.numeric:
            predicted = regressed(parts, self._values.T).T
            controls = [determination(y, p, whole)[0] for y, p in zip(self._values[1:], predicted[1:], strict=True)]
            return determination(self._values[0], predicted[0], self._weights), np.array(controls)
        classes = self.classes
        predicted = classified(parts, self._values)
        own = stats.weighted_recall(self._values[0], predicted[0], self._weights, classes)
        others = zip(self._values[1:], predicted[1:], strict=True)
        return own, np.array([stats.weighted_recall(y, p, whole, classes)[0] for y, p in others])

    def row(self, draws: np.ndarray, controls: np.ndarray) -> dict[str, float]:
        """The columns of one model at one depth."""
        value, without = float(draws[0]), draws[1:]
        if self._target.numeric:
            low, high = self._left_out.interval(value, without)
            # no R² is larger
            high = min(high, 1.0)
        else:
            low, high = self._left_out.share_interval(value, without, clips_in_a_recall(self._values[0]))
        return _with_control(value, low, high, controls)

    def difference(self, draws: np.ndarray, controls: np.ndarray) -> dict[str, float]:
        """The columns of trained less frozen, whose draws and controls these are."""
        value = float(draws[0])
        return _with_control(value, *self._left_out.interval(value, draws[1:]), controls)


def _with_control(value: float, low: float, high: float, controls: np.ndarray) -> dict[str, float]:
    mean = float(controls.mean())
    row = {"score": value, "score_low": low, "score_high": high, "control_task": mean}
    row |= {"control_task_high": float(np.quantile(controls, 0.95)), "selectivity": value - mean}
    return row | {"selectivity_low": low - mean, "selectivity_high": high - mean}
