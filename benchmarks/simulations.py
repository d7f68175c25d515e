"""Data of which the truth is known, for `coverage.py`: answers of a classifier, and the parts
that the measures are given.

Speakers are drawn anew in every simulation, clips with them. A truth "of speakers" is the mean over all speakers that
could have been drawn; one "of these clips" the mean over all clips of the speakers who were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from lorascope.analysis.measure import Batch, Factors, Part, Replay, Study

CLASSES = ("anger", "happiness", "neutrality", "sadness")
#: Logits of the share of clips that are recognised, class by class: an average recall of .65.
SKILL = np.array([1.5, 0.5, 0.0, 1.0])
WIDTH, RANK, MODULE = 12, 8, "v_proj"
FRAMES = 30
SCALES = np.exp(-np.arange(RANK) / 6.0)


@dataclass(frozen=True)
class Design:
    """Who speaks how often: `speakers`, `clips` a speaker and class; `uneven` lets the latter differ between 1
    and nearly twice as many.

    `carried`: each speaker has clips of one class only, as with languages or diagnoses. `spread` is how much speakers
    differ, in units of the measure's spread within a speaker.
    """

    speakers: int
    clips: int = 8
    uneven: bool = False
    carried: bool = False
    spread: float = 0.3
    classes: tuple[str, ...] = CLASSES

    def draw(self, rng: np.random.Generator) -> Sample:
        """Clips of this design."""
        c = len(self.classes)
        counts = np.full((self.speakers, c), self.clips)
        if self.uneven:
            counts = rng.integers(1, 2 * self.clips, size=counts.shape)
        if self.carried:
            counts = np.where(np.arange(self.speakers)[:, None] % c == np.arange(c), counts * c, 0)
        speaker = np.repeat(np.arange(self.speakers), counts.sum(axis=1))
        label = np.concatenate([np.repeat(np.arange(c), row) for row in counts])
        return Sample(self, speaker, label)


@dataclass(frozen=True)
class Sample:
    """The clips of one simulation: `speaker` and `label` [clips], indices."""

    design: Design
    speaker: np.ndarray
    label: np.ndarray
    parts: list[Part] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of clips."""
        return len(self.label)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The columns of a study's clips."""
        names = np.array([f"s{code:02}" for code in range(self.design.speakers)])
        return pd.DataFrame(
            {
                "clip": [f"c{row}" for row in range(self.size)],
                "speaker": names[self.speaker],
                "emotion": np.array(self.design.classes)[self.label],
                "label": self.label,
                "frames": FRAMES,
            }
        )

    def study(self, models: tuple[str, ...] = ("trained",), draws: int = 50, factors: bool = False) -> Study:
        """A study of these clips on one block."""
        adapters = {model: {(0, MODULE): _factors(model)} for model in models if factors and model != "frozen"}
        return Study(self.table, self.design.classes, models, 1, WIDTH, (MODULE,), adapters, draws=draws)

    def batch(self, frames: int = 1) -> Batch:
        """All clips in one batch, all frames speech."""
        rows, labels = torch.arange(self.size), torch.from_numpy(self.label)
        return Batch(rows, torch.zeros(self.size, 1), frames, torch.full((self.size,), frames), labels, True)

    def part(self, model: str, name: str, values: np.ndarray) -> Part:
        """A part of the block; `values` [clips, width] are taken as clips of one frame,
        [clips, frames, width] as they are.
        """
        tensor = torch.from_numpy(values)
        if name != "logits" and values.ndim == 2:
            tensor = tensor[:, None]
        module = MODULE if "lora" in name else None
        frames = tensor.shape[1] if tensor.ndim == 3 else 1
        return Part(model, name, 0, module, tensor, self.batch(frames), lambda x: x, lambda x: x)

    def replay(self, logits: np.ndarray) -> Replay:
        """A model whose logits are these when its block is skipped."""
        stream = [torch.zeros(self.size, 1, WIDTH)] * 2
        return Replay("trained", self.batch(), stream, None, _never, lambda *_: torch.from_numpy(logits))


class Ends(NamedTuple):
    """An interval, and what it is to hold; the latter may be unknown, then it is the mean of
    `value` over all simulations.
    """

    name: str
    low: float
    high: float
    truth: float
    value: float = float("nan")


Simulation = Callable[[Design, np.random.Generator], Iterator[Ends]]


def _never(*_: object) -> object:
    raise AssertionError("no block is run here")


@cache
def _factors(model: str) -> Factors:
    """Fixed factors, other ones for each model."""
    rng = np.random.default_rng(len(model))
    a, b = rng.normal(size=(RANK, WIDTH)), rng.normal(size=(WIDTH, RANK)) * np.exp(-np.arange(RANK) / 4.0)
    return Factors(torch.from_numpy(a), torch.from_numpy(b), 1.0)


# ------------------------------------------------------------------------------------- a classifier's answers


def answers(sample: Sample, rng: np.random.Generator, effects: np.ndarray, skill: np.ndarray = SKILL) -> np.ndarray:
    """Classes that are right with probability expit(skill of the class + effect of the speaker),
    else any other one, [clips].
    """
    logit = skill[sample.label] + effects[sample.speaker]
    right = rng.random(sample.size) < 1 / (1 + np.exp(-logit))
    c = len(sample.design.classes)
    return np.where(right, sample.label, (sample.label + rng.integers(1, c, size=sample.size)) % c)


@cache
def expected_recall(effect: float, skill: tuple[float, ...]) -> float:
    """Mean over speakers and classes of the share that is right, by quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(80)
    right = 1 / (1 + np.exp(-(np.array(skill)[:, None] + effect * points)))
    return float((right @ (weights / weights.sum())).mean())


# --------------------------------------------------------------------------------------- numbers of each clip


def numbers(sample: Sample, rng: np.random.Generator, mean: float, within: float) -> tuple[np.ndarray, float]:
    """A number a clip, [clips]: a mean, what its class and its speaker add, and what is its own; and its mean
    over these speakers' clips.
    """
    of_class = within * np.linspace(-0.5, 0.5, len(sample.design.classes))
    of_speaker = within * sample.design.spread * rng.normal(size=sample.design.speakers)
    systematic = mean + of_class[sample.label] + of_speaker[sample.speaker]
    return systematic + within * rng.normal(size=sample.size), float(systematic.mean())


# ------------------------------------------------------------------------------------------- a model's logits


class Speaking:
    """Speakers whose logits can be drawn again and again: final ones, and those of a weaker model (a lens, a
    skipped block) that shares half of their noise.
    """

    def __init__(self, design: Design, rng: np.random.Generator) -> None:
        c = len(design.classes)
        self.effects = rng.normal(size=(design.speakers, 2, c)) * max(design.spread, 0.0)

    def logits(self, speaker: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(final, weaker) [clips, classes] each."""
        c = self.effects.shape[-1]
        own, shared = np.eye(c)[label], rng.normal(size=(len(label), c))
        of_speaker = self.effects[speaker]
        final = 2.0 * own + shared + of_speaker[:, 0]
        return final, 1.0 * own + 0.5 * shared + 0.7 * rng.normal(size=shared.shape) + 0.7 * of_speaker[:, 1]

    def mean(
        self, number: Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, float]], clips: int
    ) -> dict[str, float]:
        """What `number` (final, weaker, labels) gives for very many clips, as many of each speaker and class."""
        speakers, _, c = self.effects.shape
        speaker, label = np.divmod(np.arange(speakers * c * clips), c * clips)
        return number(*self.logits(speaker, label % c, np.random.default_rng(0)), label % c)


_everyone: dict[tuple[float, str], dict[str, float]] = {}


def truth_of(design: Design, speaking: Speaking, number: Callable[..., dict[str, float]]) -> dict[str, float]:
    """Of these speakers' clips with two speakers, else of all speakers'."""
    if design.speakers == 2:
        return speaking.mean(number, 1500)
    key = (design.spread, number.__name__)
    if key not in _everyone:
        many = Speaking(replace(design, speakers=50_000), np.random.default_rng(1))
        _everyone[key] = many.mean(number, 1)
    return _everyone[key]


# -------------------------------------------------------------------------------------------- rows of frames


def frames(
    sample: Sample, rng: np.random.Generator, scales: np.ndarray = SCALES, uneven: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames [clips, frames, width] around a mean of their clip's and one of their speaker's, each
    direction at its own scale.

    Also their expected Gram matrix, up to a factor, over all speakers and over these ones, [width, width]. `uneven`
    makes clips differ in size, log-normally, as gradients do.
    """
    width = len(scales)
    of_speaker = sample.design.spread * rng.normal(size=(sample.design.speakers, width)) * scales
    of_clip = 0.5 * rng.normal(size=(sample.size, width)) * scales
    size = np.exp(uneven * rng.normal(size=(sample.size, 1, 1)))
    own = rng.normal(size=(sample.size, FRAMES, width)) * scales
    values = size * (own + of_clip[:, None] + of_speaker[sample.speaker][:, None])
    within = 1.25 * np.diag(scales**2)
    everyone = within + sample.design.spread**2 * np.diag(scales**2)
    return values, everyone, within + of_speaker.T @ of_speaker / len(of_speaker)


def views(sample: Sample, rng: np.random.Generator, shared: float) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Two views [clips, rank] of which `shared` of the variance is common, and the CKA of very many clips: of
    all speakers, and of these.
    """
    n, s = sample.size, sample.design.spread
    common, first, second = (rng.normal(size=(n, RANK)) for _ in range(3))
    of_speaker = rng.normal(size=(3, sample.design.speakers, RANK)) * s
    a, b = np.sqrt(shared), np.sqrt(1 - shared)
    x = (a * (common + of_speaker[0][sample.speaker]) + b * (first + of_speaker[1][sample.speaker])) * SCALES
    y = (a * (common + of_speaker[0][sample.speaker]) + b * (second + of_speaker[2][sample.speaker])) * SCALES
    everyone = (1 + s**2) * np.diag(SCALES**2)
    means = [(a * of_speaker[0] + b * of_speaker[side]) * SCALES for side in (1, 2)]
    means = [mean - mean.mean(axis=0) for mean in means]
    g = len(means[0])
    these = [np.diag(SCALES**2) + mean.T @ mean / g for mean in means]
    across = shared * np.diag(SCALES**2) + means[0].T @ means[1] / g
    return x, y, _cka(shared * everyone, everyone, everyone), _cka(across, *these)


def _cka(across: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    norm = np.linalg.norm
    return float(norm(across) ** 2 / (norm(first) * norm(second)))


# ------------------------------------------------------------------------------------------- cross-validation


def cross_validated(
    sample: Sample, rng: np.random.Generator, folds: int
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Nearest centroids over folds of speakers, by all features and by some: both methods' answers, and
    the folds' UAR differences.
    """
    width, c = 6, len(sample.design.classes)
    centres = np.random.default_rng(3).normal(size=(c, width))
    features = centres[sample.label] + rng.normal(size=(sample.size, width))
    features += 0.8 * rng.normal(size=(sample.design.speakers, width))[sample.speaker]
    fold = sample.speaker % folds
    found = []
    for columns in (width, width - 2):
        predicted = np.empty(sample.size, dtype=int)
        for held in range(folds):
            train, test = fold != held, fold == held
            means = np.stack([features[train & (sample.label == k), :columns].mean(axis=0) for k in range(c)])
            distances = ((features[test, None, :columns] - means) ** 2).sum(axis=-1)
            predicted[test] = distances.argmin(axis=1)
        names = np.array(sample.design.classes)[predicted]
        found.append(sample.table.assign(fold=fold, predicted=names, right=predicted == sample.label))
    recalls = [one.groupby(["fold", "emotion"])["right"].mean().groupby("fold").mean().to_numpy() for one in found]
    return found[0], found[1], recalls[0] - recalls[1]
