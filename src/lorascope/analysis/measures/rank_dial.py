"""How many of the adapter's directions its answers need: those with the largest σ kept, against as many at random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from ...models.interventions import Key, cut
from ...statistics.directions import Directions, directions, first, largest, of_all
from ...statistics.sufficiency import as_good, least
from ..answers import Answers
from ..measure import Part, Replay, Study

#: Shares of the directions that are kept, and how often as many are drawn at random.
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.0)
DRAWS = 5

METRICS = ("uar", "accuracy", "loss", "kl", "flipped", "delta_uar", "delta_accuracy", "delta_loss")
COLUMNS = ["way", "share", "draw", "directions", "of", "energy", *METRICS]
COLUMNS += [f"{name}_{end}" for name in METRICS for end in ("low", "high")] + ["interval_of", "clips"]
LEAST = ["way", "share", "directions", "of", "delta_uar", "delta_uar_low", "delta_uar_high", "random_uar"]
LEAST += ["random_as_good", "draws", "interval_of", "clips", "note"]


class Setting(NamedTuple):
    """One cut: how it was chosen, the nominal share, the number of the draw (-1: none); kept are `masks[place]`."""

    way: str
    share: float
    draw: int


class RankDial:
    """The trained ΔW = U Σ Vᵀ of every adapted matrix cut to some of its directions, and what the model answers then.

    Ways: `global` keeps the directions with the largest σ over all matrices together; `local` the first share of each
    matrix' own (rounded up); `random` as many as `global`, drawn from all with equal chances (the null, 5 draws).
    Shares are of the nominal rank, all matrices together; directions that are rounding (below 1e-6 of their matrix'
    largest) count in none of them. σ is that of s·BA, so no gauge changes anything here.

    `compute` gives `rank_dial`: way, share, draw, directions (kept), of (all that there are), energy (share of Σσ²
    kept), UAR, accuracy, loss, kl, flipped and delta_* against the whole adapter as in `dial`, 95 % intervals and
    what they speak of. And `rank_dial_least`: the least share whose UAR is not below the whole adapter's, all larger
    shares being so too: the change's paired interval holds 0 or lies above, and the change is no worse than -.02;
    beside it the mean UAR of as many directions at random, and how many of their draws are as good by the same rule.

    Needs an adapter of low-rank pairs and its trained head. Costs 5 + 5 + 25 forwards a batch, each from the lowest
    block on that is cut.
    """

    needs = frozenset({"pairs", "head"})
    keys: ClassVar = {"rank_dial": ("way", "share", "draw"), "rank_dial_least": ("way",)}

    def __init__(self, study: Study) -> None:
        self._study = study
        self._answers = Answers(study, "the rank dial")
        factors = study.factors.get("trained", {})
        self._scales = {key: each.scale for key, each in factors.items()}
        self._found = {key: directions(each.a.numpy(), each.b.numpy(), each.scale) for key, each in factors.items()}
        self._nominal = {key: len(each.a) for key, each in factors.items()}
        self._masks = dict(cuts(self._found, self._nominal, study.seed))

    def parts(self, model: str) -> frozenset[str]:
        """The logits of the trained model."""
        return frozenset({"logits"} if self.replays(model) else ())

    def replays(self, model: str) -> frozenset[str]:
        """The trained model's stream, and the frozen one's, which is where blocks without directions begin."""
        cut = model == "trained" and "trained" not in self._study.headless and bool(self._found)
        return frozenset({"own", "frozen"} if cut else ())

    def update(self, part: Part) -> None:
        """Keep the answers of the whole adapter."""
        self._answers.put("whole", part.tensor, part.batch)

    def replay(self, replay: Replay) -> None:
        """Run every cut."""
        for setting, masks in self._masks.items():
            answer = replay.answer(cut(self._found, masks, self._scales))
            self._answers.put(setting, answer, replay.batch)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `rank_dial` and `rank_dial_least`."""
        table = pd.DataFrame(self._rows(), columns=COLUMNS)
        return {"rank_dial": table, "rank_dial_least": pd.DataFrame(self._least(table), columns=LEAST)}

    def _rows(self) -> Iterator[dict[str, Any]]:
        total = sum(len(found.sigma) for found in self._found.values())
        power = {key: found.sigma**2 for key, found in self._found.items()}
        all_power = sum(float(each.sum()) for each in power.values())
        for setting, masks in self._masks.items():
            kept = sum(int(mask.sum()) for mask in masks.values())
            energy = sum(float(power[key][mask].sum()) for key, mask in masks.items())
            row = self._answers.row(self._answers.answer(setting, "whole"), METRICS, METRICS)
            shared = {"directions": kept, "of": total, "energy": energy / all_power if all_power else float("nan")}
            yield {**setting._asdict(), **shared, **row}

    def _least(self, table: pd.DataFrame) -> Iterator[dict[str, Any]]:
        about = {"interval_of": self._answers.left_out.of, "clips": len(self._study.labels)}
        random = table[table["way"] == "random"]
        for way in ("global", "local"):
            rows = table[table["way"] == way]
            if rows.empty:
                continue
            if not rows["of"].iloc[0]:
                note = "the adapter changes nothing: all its directions are 0"
                yield dict.fromkeys(LEAST, float("nan")) | {"way": way, "note": note} | about
                continue
            smallest = least(rows, "share")
            if smallest is None:
                note = "the change of UAR has no interval on these clips"
                yield dict.fromkeys(LEAST, float("nan")) | {"way": way, "note": note} | about
                continue
            chance = random[random["share"] == smallest["share"]]
            found = {name: smallest[name] for name in LEAST[1:7]}
            found |= {"random_uar": chance["uar"].mean(), "random_as_good": int(as_good(chance).sum())}
            note = "" if smallest["share"] else "even none of the directions is as good: what is good here is the head"
            yield {"way": way, **found, "draws": len(chance), "note": note} | about


def cuts(
    found: Mapping[Key, Directions], nominal: Mapping[Key, int], seed: int
) -> Iterator[tuple[Setting, dict[Key, np.ndarray]]]:
    """Every cut and the directions that it keeps of each matrix, [k] bool."""
    random = np.random.default_rng(seed)
    for share in SHARES:
        kept = largest(found, share, nominal)
        yield Setting("global", share, -1), kept
        yield Setting("local", share, -1), first(found, {key: share * rank for key, rank in nominal.items()})
        count = sum(int(mask.sum()) for mask in kept.values())
        total = sum(len(each.sigma) for each in found.values())
        for draw in range(DRAWS if 0 < count < total else 0):
            yield Setting("random", share, draw), of_all(found, random.permutation(total)[:count])
