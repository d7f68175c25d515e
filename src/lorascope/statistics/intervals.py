"""95 % intervals by leaving out one speaker, or one clip, at a time: the jackknife, on a scale where the number is
symmetric.

With three speakers or more the interval speaks of speakers: where the number would lie for other speakers of this kind.
With fewer nothing can be said of others, and the interval speaks of these clips: where the number would lie for other
clips of the same speakers. `LeftOut.of` says which. How often both hold the truth is simulated in
`benchmarks/coverage.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit, stdtrit

from .stats import weighted_recall

#: With fewer speakers no interval speaks of speakers: of two, t's quantile is 12.7.
FEWEST_SPEAKERS = 3
#: What an interval can speak of.
SPEAKERS, CLIPS, FOLDS = "speakers", "these clips", "folds"

LEVEL = 0.95
#: Below this a number that is positive by its nature is rounding.
ROUNDING = 1e-12


class Scale(NamedTuple):
    """A monotone map to a scale on which an estimate's errors are about symmetric, and the way back."""

    to: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


#: For differences, cosines, and whatever else has no bound near by.
PLAIN = Scale(lambda x: x, lambda x: x)
#: For what is positive and skewed, such as a divergence.
LOG = Scale(lambda x: np.log(np.maximum(x, 0.0) + ROUNDING), lambda x: np.exp(x) - ROUNDING)
#: Fisher's z, for what lies between -1 and 1.
CORRELATION = Scale(lambda x: np.arctanh(np.clip(x, -1 + ROUNDING, 1 - ROUNDING)), np.tanh)


def proportion(clips: float) -> Scale:
    """The logit of a share of `clips` clips, half a clip added on either side so that none and all have one."""
    return Scale(
        lambda p: np.log((p * clips + 0.5) / ((1 - p) * clips + 0.5)),
        lambda x: np.clip(((clips + 1) * expit(x) - 0.5) / clips, 0.0, 1.0),
    )


def clips_in_a_recall(gold: np.ndarray) -> float:
    """How many clips one share would need to be as certain as the mean of the classes' recalls: C² / Σ 1/n_c.

    `gold` [clips] are class indices. With as many clips in each class it is their number; a small class brings it down.
    """
    sizes = np.unique(gold, return_counts=True)[1]
    return len(sizes) ** 2 / float((1 / sizes).sum())


class LeftOut:
    """Every speaker left out in turn, or every clip where there are fewer than three speakers.

    `speakers` [clips] names each clip's speaker, `classes` [clips] its class. A number computed with each row of
    `weights` is what the methods here take as `replicates` [units], a unit being a speaker or a clip. A replicate that
    doesn't exist is NaN (a class that only this unit has is lost), and so is the interval then.

    Units are drawn within strata: clips within one speaker's clips of one class; speakers within a class where every
    speaker has one class only (language, diagnosis), since the other classes' speakers then say nothing of how this
    one's differ.
    """

    def __init__(self, speakers: Sequence[str] | np.ndarray, classes: Sequence[object] | np.ndarray) -> None:
        # Missing names would otherwise be compared as floats that equal nothing, themselves included.
        names, speaker = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
        label = np.unique(np.asarray(classes), return_inverse=True)[1]
        self.of = SPEAKERS if len(names) >= FEWEST_SPEAKERS else CLIPS
        self._unit_of_clip = speaker if self.of == SPEAKERS else np.arange(len(label))
        if self.of == SPEAKERS:
            of_speaker = [np.unique(label[speaker == code]) for code in range(len(names))]
            carried = [int(found[0]) for found in of_speaker] if all(len(found) == 1 for found in of_speaker) else []
            self._strata = _first_usable([np.array(carried)] if carried else [], len(names))
        else:
            self._strata = _first_usable([speaker * (label.max(initial=0) + 1) + label, label], len(label))

    @cached_property
    def weights(self) -> np.ndarray:
        """What each clip counts without each unit, [units, clips]: 0 for the unit's own, n / (n - 1) for those of the
        other n - 1 in its stratum.

        So each stratum keeps its share in the whole (the replicate weights of survey statistics, "JKn").
        """
        stratum = np.empty(sum(map(len, self._strata)), dtype=int)
        for number, units in enumerate(self._strata):
            stratum[units] = number
        sizes = np.array([len(units) for units in self._strata])
        instead = sizes[stratum] / np.maximum(sizes[stratum] - 1, 1)
        beside = stratum[:, None] == stratum[self._unit_of_clip]
        return np.where(self.left, np.where(beside, instead[:, None], 1.0), 0.0)

    @cached_property
    def left(self) -> np.ndarray:
        """Which clips are left without each unit, [units, clips], for numbers that know no weights."""
        units = np.arange(self._unit_of_clip.max(initial=-1) + 1)
        return self._unit_of_clip != units[:, None]

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Means of `values` [clips, ...] without each unit, [units, ...]."""
        totals = self.weights.sum(axis=1, keepdims=True)
        return np.tensordot(self.weights / np.where(totals > 0, totals, np.nan), values, axes=1)

    def interval(
        self,
        value: float,
        replicates: np.ndarray,
        scale: Scale = PLAIN,
        unbias: bool = False,
        weighted: bool = True,
    ) -> tuple[float, float]:
        """The interval of one `value`, whose values without each unit are `replicates` [units]; see `ends`."""
        low, high = self.ends(np.asarray(value), np.asarray(replicates, dtype=float), scale, unbias, weighted)
        return float(low), float(high)

    def ends(
        self,
        values: np.ndarray,
        replicates: np.ndarray,
        scale: Scale = PLAIN,
        unbias: bool = False,
        weighted: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both ends [...] of the intervals of `values` [...], whose values without each unit are `replicates` [units,
        ...]; NaN where one of them is.

        The jackknife's standard error (Tukey 1958; within strata as in Shao & Tu 1995, section 6.2) on `scale`, times
        the quantile of t with Satterthwaite's (1946) degrees of freedom, which without strata are units - 1. `unbias`
        takes off the jackknife's estimate of the bias (Quenouille 1956), for numbers that grow or shrink with the
        clips. `weighted` says that the replicates were computed with `weights`, else with `left`. An interval always
        holds its value.
        """
        known = np.isfinite(replicates).all(axis=0) & np.isfinite(values) & (len(replicates) > 1)
        # what isn't known takes part as 0, and is taken out at the end
        changed = scale.to(np.where(known, replicates, 0.0))
        centre = own_scale = scale.to(np.where(known, values, 0.0))
        variance, denominator = np.zeros_like(centre), np.zeros_like(centre)
        for units in self._strata:
            n, own = len(units), changed[units]
            if n < 2:
                continue
            mean = own.mean(axis=0)
            if unbias:
                centre = centre + (n - 1) * (own_scale - mean)
            # without weights a unit's influence shows as 1 / (units - 1) of it, with them as 1 / (n - 1) of its
            # stratum's
            shown = (n - 1) / n if weighted else n / (n - 1) * (1 - 1 / len(changed)) ** 2
            part = shown * ((own - mean) ** 2).sum(axis=0)
            variance, denominator = variance + part, denominator + part**2 / (n - 1)
        degrees = np.where(variance > 0, variance**2 / np.where(denominator > 0, denominator, 1.0), 1.0)
        reach = np.where(variance > 0, stdtrit(degrees, (1 + LEVEL) / 2) * np.sqrt(variance), 0.0)
        low, high = np.minimum(scale.back(centre - reach), values), np.maximum(scale.back(centre + reach), values)
        return np.where(known, low, np.nan), np.where(known, high, np.nan)

    def of_accuracy(self, right: np.ndarray) -> tuple[float, float]:
        """The interval of the share of clips that are right, `right` [clips] being 1 or 0."""
        return self.share_interval(float(np.mean(right)), self.mean(right), len(right))

    def of_recall(self, gold: np.ndarray, predicted: np.ndarray, n_classes: int) -> tuple[float, float]:
        """The interval of the unweighted average recall of `predicted` against `gold`, class indices [clips]."""
        value, *without = weighted_recall(gold, predicted, np.vstack([np.ones(len(gold)), self.weights]), n_classes)
        return self.share_interval(float(value), np.array(without), clips_in_a_recall(gold))

    def share_interval(self, value: float, replicates: np.ndarray, clips: float) -> tuple[float, float]:
        """`interval` of a share in [0, 1] of `clips` clips (of a mean of recalls: `clips_in_a_recall`), on the logit
        scale.

        Where all clips are right, or none, nothing varies: the open side is Clopper and Pearson's bound for as many
        clips, fewer by the ratio of t's squared quantiles because they come by the unit (Korn & Graubard 1998).
        """
        if min(value, 1 - value) < ROUNDING and np.all(np.abs(replicates - value) < ROUNDING):
            tail = (1 - LEVEL) / 2
            units = sum(len(stratum) - 1 for stratum in self._strata)
            shrink = (stdtrit(max(1.0, clips - 1), 1 - tail) / stdtrit(max(1, units), 1 - tail)) ** 2
            bound = float(tail ** (1 / (clips * shrink)))
            return (bound, 1.0) if value > 0.5 else (0.0, 1 - bound)
        return self.interval(value, replicates, proportion(clips))


def _first_usable(labelings: Sequence[np.ndarray], units: int) -> list[np.ndarray]:
    """Units [stratum] of the first labeling whose strata have two units each; all in one where none has."""
    for labels in labelings:
        strata = [np.flatnonzero(labels == name) for name in np.unique(labels)]
        if all(len(stratum) > 1 for stratum in strata):
            return strata
    return [np.arange(units)]
