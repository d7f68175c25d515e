"""One α for each block of an adapter, found by coordinate steps: block by block the best of a few α, the others held.

The α are found on one half of the speakers and shown on the other half, and the other way round, so that no clip is
answered with α that its own speaker took part in choosing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch

from ..models.interventions import Intervention, Key
from ..statistics.stats import unweighted_average_recall
from .answers import Answers
from .listener import Listener
from .measure import Batch, Part, Pass, Replay, Study
from .per_clip import PerClip
from .transcripts import Transcripts, counted

#: The α that are tried for a block beside 1, where all begin.
TRIED = (0.0, 0.5)
#: Blocks are turned one by one up to so many; of more, neighbours together in so many groups.
MOST_STEPS = 12
#: Speakers that there must be, two in each half.
FEWEST = 4
TOO_FEW = "there are too few speakers, or clips a class, to choose on one half of them and to show on the other"

Alphas = tuple[float, ...]


@dataclass
class Half:
    """Half of the speakers: the `rows` of their clips, UAR and word error rate of all α that were `tried` on them, and
    the best of these.
    """

    rows: np.ndarray
    tried: dict[Alphas, tuple[float, float]] = field(default_factory=dict)
    best: Alphas = ()


class BlockSteps:
    """The search for the α of each half of the speakers; answers and transcripts of all clips, with the α that the
    other half chose, are kept as `setting`.

    `answers` and `transcripts` hold those of the whole adapter as `intact`. `choice(uar, wer)` says which of what was
    tried so far is the best. Blocks are gone through once, from the last to the first. A clip costs 2 G + 1 forwards of
    the analysis' context, as many of the window, and as many decodings, where G is the number of adapted blocks, 12 at
    most, each from the first block on that is turned; and G + 1 whole forwards of both, whose streams these begin on.
    """

    def __init__(
        self,
        study: Study,
        adapted: Mapping[Key, object],
        answers: Answers,
        transcripts: Transcripts,
        choice: Callable[[np.ndarray, np.ndarray], int],
        intact: Hashable,
        setting: Hashable,
    ) -> None:
        self._study, self._keys = study, list(adapted)
        self._answers, self._transcripts, self._choice = answers, transcripts, choice
        self._intact, self._setting = intact, setting
        layers = sorted({layer for layer, _ in adapted})
        self.groups = [list(map(int, group)) for group in np.array_split(layers, min(len(layers), MOST_STEPS) or 1)]
        self.halves = [Half(rows) for rows in _halves(study)] if layers else []

    def passes(self, references: list[str]) -> Iterator[Pass]:
        """Two for each group of blocks and each half, then two of each half with the other one's α; none, and then
        no halves, where they cannot be chosen. `references` [clips] are what transcripts are held against.
        """
        if any(not "".join(references[row] for row in half.rows).strip() for half in self.halves):
            self.halves = []
        for half in self.halves:
            half.best = (1.0,) * len(self.groups)
            logits, texts = self._answers.logits(self._intact), self._transcripts.of(self._intact)
            half.tried[half.best] = self._worth(half, references, logits[half.rows], [texts[row] for row in half.rows])
        for group in reversed(range(len(self.groups))):
            for half in self.halves:
                turned = [(*half.best[:group], alpha, *half.best[group + 1 :]) for alpha in TRIED]
                yield from self._try(half, turned, references)
                points = list(half.tried)
                half.best = points[self._choice(*np.array([half.tried[point] for point in points]).T)]
        for half, other in zip(self.halves, self.halves[::-1], strict=True):
            yield from self._show(half.rows, other.best)

    def table(self) -> pd.DataFrame:
        """α by block: layer, alpha (the mean of both halves' choices), lowest and highest of them; no row where there
        is no choice.
        """
        rows = []
        for group, layers in enumerate(self.groups if self.halves else ()):
            chosen = [half.best[group] for half in self.halves]
            told = {"alpha": float(np.mean(chosen)), "lowest": min(chosen), "highest": max(chosen)}
            rows += [{"layer": layer} | told for layer in layers]
        return pd.DataFrame(rows, columns=["layer", "alpha", "lowest", "highest"])

    @property
    def words(self) -> str:
        """What each half chose."""
        told = [", ".join(f"{alpha:g}" for alpha in half.best) for half in self.halves]
        return f"α by block {' and '.join(dict.fromkeys(told))}"

    def _try(self, half: Half, turned: Sequence[Alphas], references: list[str]) -> Iterator[Pass]:
        """Answers and transcripts of one half's clips with each of the `turned` α, and what these are worth."""
        clips = self._clips(half.rows)
        logits = {alphas: PerClip(replace(self._study, clips=clips)) for alphas in turned}

        def answer(replay: Replay) -> None:
            for alphas in turned:
                logits[alphas].put(replay.batch, replay.answer(self._change(alphas)))

        def write(replay: Replay) -> None:
            for alphas in turned:
                self._transcripts.put(alphas, replay.output(self._change(alphas)), _whole(replay.batch, half.rows))

        yield self._pass(clips, answer)
        yield self._pass(clips, write, context="full")
        for alphas in turned:
            texts = self._transcripts.of(alphas)
            own = logits[alphas].compute(f"logits of the frontier, α by block {alphas}")
            half.tried[alphas] = self._worth(half, references, own, [texts[row] for row in half.rows])

    def _show(self, rows: np.ndarray, alphas: Alphas) -> Iterator[Pass]:
        """Answers and transcripts of some clips with these α, kept as the setting's."""

        def answer(replay: Replay) -> None:
            self._answers.put(self._setting, replay.answer(self._change(alphas)), _whole(replay.batch, rows))

        def write(replay: Replay) -> None:
            self._transcripts.put(self._setting, replay.output(self._change(alphas)), _whole(replay.batch, rows))

        yield self._pass(self._clips(rows), answer)
        yield self._pass(self._clips(rows), write, context="full")

    def _worth(
        self, half: Half, references: list[str], logits: np.ndarray, texts: Sequence[str]
    ) -> tuple[float, float]:
        """UAR and word error rate of one half's clips."""
        gold = self._study.labels[half.rows]
        counts = counted([references[row] for row in half.rows], list(texts))["wer"]
        uar = unweighted_average_recall(gold, logits.argmax(axis=1), len(self._study.classes))
        return uar, float(counts.wrong.sum() / counts.units.sum())

    def _change(self, alphas: Alphas) -> Intervention:
        of_layer = {layer: alpha for group, alpha in zip(self.groups, alphas, strict=True) for layer in group}
        return Intervention(gains={key: of_layer[key[0]] for key in self._keys})

    def _clips(self, rows: np.ndarray) -> pd.DataFrame:
        return self._study.clips.iloc[rows].reset_index(drop=True)

    @staticmethod
    def _pass(clips: pd.DataFrame, replay: Callable[[Replay], None], context: str | None = None) -> Pass:
        listener = Listener(_no_parts, _unheard, _own_of_trained, replay)
        return Pass("α by block", listener, clips, context=context)


def _no_parts(model: str) -> frozenset[str]:
    return frozenset()


def _own_of_trained(model: str) -> frozenset[str]:
    return frozenset({"own"} if model == "trained" else ())


def _unheard(part: Part) -> None:
    """No part is asked for by name; the streams are handed on in replays."""


def _whole(batch: Batch, rows: np.ndarray) -> Batch:
    """A batch of some of the clips, `rows` of all, by their places among all."""
    return replace(batch, rows=torch.as_tensor(rows, device=batch.rows.device)[batch.rows])


def _halves(study: Study) -> list[np.ndarray]:
    """The clips' rows of each half of the speakers, who are drawn: names often take turns by gender. None where a half
    would have fewer than two speakers, or lack a class.
    """
    speakers = study.clips["speaker"].to_numpy(dtype=str)
    drawn = np.random.default_rng(study.seed).permutation(np.unique(speakers))
    if len(drawn) < FEWEST:
        return []
    first = np.isin(speakers, drawn[::2])
    halves = [np.flatnonzero(first), np.flatnonzero(~first)]
    classes = len(np.unique(study.labels))
    return halves if all(len(np.unique(study.labels[rows])) == classes for rows in halves) else []
