"""What an adapter gains against what it costs: UAR and word error rate as it is turned down, by several dials and their
products.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from functools import partial
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from ...models.interventions import Intervention, cut
from ...statistics.directions import directions, largest
from ...statistics.pareto import frontier
from ..answers import Answers
from ..block_steps import TOO_FEW, BlockSteps
from ..listener import Listener
from ..measure import Part, Pass, Replay, Study
from ..transcripts import BARE, TEXT, Counts, Transcripts, counted

#: The whole dial; the ends of the layer-wise dial, which runs straight from block 0 to the last; shares of the
#: directions, alone and with a whole dial.
WHOLE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5)
ENDS = ((0.0, 0.5), (0.0, 1.0), (0.5, 1.0), (0.5, 0.0), (1.0, 0.0), (1.0, 0.5))
SHARES = (0.5, 0.2, 0.1)
PRODUCTS = tuple(product((0.5, 0.2), (0.25, 0.5, 0.75)))
#: By how much the UAR of what is chosen may lie below the best one's, where it is chosen.
SPARED = 0.02
#: The rules of choice among the settings; and that of one α a block by coordinate steps, which is no setting of them.
RULES = ("spared", "best UAR")
BY_BLOCK = "by block, spared"

METRICS = ("uar", "delta_uar")
COLUMNS = ["dial", "alpha", "last_alpha", "share", *METRICS, "wer", "delta_wer"]
COLUMNS += [f"{name}_{end}" for name in (*METRICS, "wer", "delta_wer") for end in ("low", "high")]
COLUMNS += ["pareto", "against", "interval_of", "clips", "note"]
CHOSEN = ["rule", *METRICS, "wer", "delta_wer"]
CHOSEN += [f"{name}_{end}" for name in (*METRICS, "wer", "delta_wer") for end in ("low", "high")]
CHOSEN += ["settings", "most_chosen", "against", "interval_of", "clips", "note"]


class Setting(NamedTuple):
    """One setting: its dial, α in the first and in the last block, and the share of directions kept."""

    dial: str
    alpha: float
    last_alpha: float
    share: float

    @property
    def words(self) -> str:
        """The setting in words."""
        alpha = f"α {self.alpha:g}" if self.alpha == self.last_alpha else f"α {self.alpha:g} to {self.last_alpha:g}"
        return alpha if self.share == 1 else f"{alpha}, {self.share:.0%} of the directions"


INTACT = Setting("whole", 1.0, 1.0, 1.0)
SETTINGS = (
    *(Setting("whole", alpha, alpha, 1.0) for alpha in WHOLE),
    *(Setting("layers", *ends, 1.0) for ends in ENDS),
    *(Setting("rank", 1.0, 1.0, share) for share in SHARES),
    *(Setting("rank and whole", alpha, alpha, share) for share, alpha in PRODUCTS),
)


class Frontier:
    """UAR and word error rate of the trained model over dials: which settings are not beaten in both.

    Dials: the whole adapter times α; α_l running straight from the first to the last block (as LiNeS scales task
    vectors, Wang et al. 2024, arXiv 2410.17146); the directions with the largest σ alone; both together. The head is
    the adapter's own. UAR in the analysis' context, transcripts as in `recognition`, on the whole window of 30 s,
    against the corpus' words, where it has them, else against the bare encoder's transcripts.

    `compute` gives `frontier`: dial, alpha, last_alpha (in the last block), share, UAR, wer, delta_* against the whole
    adapter (paired by clip), 95 % intervals and what they speak of, pareto (1: no other setting has a UAR as high and a
    rate as low, and one of them better), against, clips, note. And `frontier_chosen`: what a choice is worth on
    speakers that it was not made on. For every speaker the setting is chosen on all others: the least rate among those
    whose UAR is at most .02 below the best one's (rule "spared"), or the best UAR (rule "best UAR"); the speaker's
    clips are answered with it, and the numbers are of all of these. `settings` counts the different choices,
    `most_chosen` names the one that was made most often. The intervals hold the choices fixed. A third rule, "by
    block, spared", is one α for each block by coordinate steps: beginning with 1 everywhere, each block from the last
    to the first is tried at 0 and .5, and the best of all that was tried, by the rule "spared", is gone on from. Half
    of the speakers, drawn, choose for the other half, and these for them. `frontier_blocks`: layer, alpha (the mean of
    the two choices), lowest, highest.

    Needs an adapter of low-rank pairs, its trained head, and Whisper's decoder. Costs 27 forwards of the analysis'
    context and of the window, each from the first block on that is turned, and 28 decodings of every clip; the
    coordinate steps as many as `BlockSteps` says.
    """

    needs = frozenset({"pairs", "head", "decoder"})
    keys: ClassVar = {
        "frontier": ("dial", "alpha", "last_alpha", "share"),
        "frontier_chosen": ("rule",),
        "frontier_blocks": ("layer",),
    }

    def __init__(self, study: Study) -> None:
        self._study = study
        self._answers, self._transcripts = Answers(study, "the frontier"), Transcripts(study)
        factors = study.factors.get("trained", {})
        self._scales = {key: each.scale for key, each in factors.items()}
        self._found = {key: directions(each.a.numpy(), each.b.numpy(), each.scale) for key, each in factors.items()}
        self._nominal = {key: len(each.a) for key, each in factors.items()}
        by_rule = partial(choice, rule="spared")
        self._steps = BlockSteps(study, self._found, self._answers, self._transcripts, by_rule, INTACT, BY_BLOCK)

    def parts(self, model: str) -> frozenset[str]:
        """The logits of the trained model."""
        return frozenset({"logits"} if self.replays(model) else ())

    def replays(self, model: str) -> frozenset[str]:
        """The trained model's stream, and the frozen one's, which is where blocks that are off begin."""
        turned = model == "trained" and "trained" not in self._study.headless and bool(self._found)
        return frozenset({"own", "frozen"} if turned else ())

    def update(self, part: Part) -> None:
        """Keep the answers of the whole adapter."""
        self._answers.put(INTACT, part.tensor, part.batch)

    def replay(self, replay: Replay) -> None:
        """Answer with every other setting."""
        for setting in SETTINGS:
            if setting != INTACT:
                self._answers.put(setting, replay.answer(self._change(setting)), replay.batch)

    def passes(self) -> Iterator[Pass]:
        """One over the whole window, for the transcripts; then those of the coordinate steps."""

        def wanted(model: str) -> frozenset[str]:
            return frozenset({"final_norm"} if model == "frozen" or self.replays(model) else ())

        def hear(part: Part) -> None:
            # the frozen encoder's comes first; it is the adapter turned off
            self._transcripts.put(BARE if part.model == "frozen" else INTACT, part.tensor, part.batch)

        def turn(replay: Replay) -> None:
            for setting in SETTINGS:
                if setting != INTACT and (setting.alpha or setting.last_alpha):
                    self._transcripts.put(setting, replay.output(self._change(setting)), replay.batch)

        yield Pass("frontier", Listener(wanted, hear, self.replays, turn), self._study.clips, context="full")
        yield from self._steps.passes(self._references)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `frontier`, `frontier_chosen` and `frontier_blocks`."""
        against, counts = self._counts()
        rates = {setting: self._transcripts.rate(each) for setting, each in counts.items()}
        found = {setting: self._answers.answer(setting, INTACT).draws["uar"] for setting in SETTINGS}
        best = frontier(*(np.array([float(each[s][0]) for s in SETTINGS]) for each in (found, rates)))
        rows = [
            setting._asdict() | self._row(setting, counts[setting], counts, against) | {"pareto": float(on)}
            for setting, on in zip(SETTINGS, best, strict=True)
        ]
        chosen = [*self._chosen(found, rates, counts, against), self._by_block(counts, against)]
        return {
            "frontier": pd.DataFrame(rows, columns=COLUMNS),
            "frontier_chosen": pd.DataFrame(chosen, columns=CHOSEN),
            "frontier_blocks": self._steps.table(),
        }

    def _change(self, setting: Setting) -> Intervention:
        """The adapter with some of its directions, turned by each block's α."""
        kept = cut(self._found, largest(self._found, setting.share, self._nominal), self._scales)
        last = max(self._study.layers - 1, 1)
        gains = dict(kept.gains)
        for key in self._found:
            alpha = setting.alpha + (setting.last_alpha - setting.alpha) * key[0] / last
            gains[key] = gains.get(key, 1.0) * alpha
        return Intervention(gains=gains, factors=kept.factors)

    def _counts(self) -> tuple[str, dict[Setting, Counts]]:
        """What transcripts are held against, and every setting's errors in words."""
        texts = {
            setting: self._transcripts.of(setting if setting.alpha or setting.last_alpha else BARE)
            for setting in SETTINGS
        }
        against = BARE if self._transcripts.words is None else TEXT
        return against, {s: counted(self._references, text)["wer"] for s, text in texts.items()}

    @property
    def _references(self) -> list[str]:
        """What transcripts are held against, [clips]; known once the bare encoder's are."""
        words = self._transcripts.words
        return self._transcripts.of(BARE) if words is None else words

    def _row(
        self, setting: Hashable, own: Counts, counts: dict[Setting, Counts], against: str, intact: Hashable = INTACT
    ) -> dict[str, Any]:
        """UAR and rate of a setting whose answers are kept, and their changes against the whole adapter's."""
        row = self._answers.row(self._answers.answer(setting, intact), METRICS, METRICS) | {"against": against}
        units, moved = float(own.units.sum()), Counts(own.wrong - counts[INTACT].wrong, own.units)
        if not units:
            return (
                row | dict.fromkeys(("wer", "delta_wer"), float("nan")) | {"note": f"there is no word in the {against}"}
            )
        for name, each in (("wer", own), ("delta_wer", moved)):
            rates = self._transcripts.rate(each)
            low, high = self._transcripts.ends(rates, units, moved=name == "delta_wer")
            row |= {name: float(rates[0]), f"{name}_low": low, f"{name}_high": high}
        return row | {"note": ""}

    def _chosen(
        self,
        found: dict[Setting, np.ndarray],
        rates: dict[Setting, np.ndarray],
        counts: dict[Setting, Counts],
        against: str,
    ) -> Iterator[dict[str, Any]]:
        left_out = self._answers.left_out
        about = {"against": against, "interval_of": left_out.of, "clips": len(self._study.labels)}
        uar, wer = (np.stack([each[setting] for setting in SETTINGS]) for each in (found, rates))
        for rule in RULES:
            if left_out.of != "speakers" or not np.isfinite(uar[:, 1:]).all() or not np.isfinite(wer[:, 1:]).all():
                note = "there are too few speakers, or clips a class, to choose on some and to show on others"
                yield _without(rule, note) | about
                continue
            choices = [choice(uar[:, unit], wer[:, unit], rule) for unit in range(1, uar.shape[1])]
            # the clips that are left without a speaker are the others'
            own = np.array([choices[int(np.argmin(left))] for left in left_out.left.T])
            clips = np.arange(len(own))
            logits = np.stack([self._answers.logits(setting) for setting in SETTINGS])
            self._answers.give(rule, logits[own, clips])
            wrong = np.stack([counts[setting].wrong for setting in SETTINGS])
            row = self._row(rule, Counts(wrong[own, clips], counts[INTACT].units), counts, against)
            most, times = Counter(choices).most_common(1)[0]
            told = f"{SETTINGS[most].words} ({times} of {len(choices)})"
            yield row | {"rule": rule, "settings": len(set(choices)), "most_chosen": told}

    def _by_block(self, counts: dict[Setting, Counts], against: str) -> dict[str, Any]:
        """The row of one α a block, each half of the speakers shown with what the other one chose."""
        halves = self._steps.halves
        if not halves:
            about = {"against": against, "interval_of": self._answers.left_out.of, "clips": len(self._study.labels)}
            return _without(BY_BLOCK, TOO_FEW) | about
        own = counted(self._references, self._transcripts.of(BY_BLOCK))["wer"]
        told = {"rule": BY_BLOCK, "settings": len({half.best for half in halves}), "most_chosen": self._steps.words}
        return self._row(BY_BLOCK, own, counts, against) | told


def _without(rule: str, note: str) -> dict[str, Any]:
    """The row of a rule by which nothing could be chosen."""
    return dict.fromkeys(CHOSEN, float("nan")) | {"rule": rule, "most_chosen": "", "note": note}


def choice(uar: np.ndarray, wer: np.ndarray, rule: str) -> int:
    """Which of the settings, by their UAR and error rate [settings]: the highest UAR, ties by the lower rate; or with
    the rule "spared" the lowest rate of those at most `SPARED` below it, ties by the higher UAR.
    """
    if rule == "spared":
        allowed = np.flatnonzero(uar >= uar.max() - SPARED - 1e-12)
        return int(min(allowed, key=lambda at: (wer[at], -uar[at])))
    return int(min(range(len(uar)), key=lambda at: (-uar[at], wer[at])))
