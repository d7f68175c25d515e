"""What becomes of the answer when the adapter is turned down or up: all of it, block by block, kind of module by
kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from ...models.interventions import Intervention, Key
from ...statistics.curves import half_way
from ..answers import Answer, Answers
from ..measure import Part, Replay, Study

#: How far the whole adapter is turned, and how far one block is while the others stay on.
WHOLE = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5)
BLOCK = (0.0, 0.25, 0.5, 0.75, 1.0)

METRICS = ("uar", "accuracy", "loss", "kl", "flipped", "delta_uar", "delta_accuracy", "delta_loss")
COLUMNS = ["dial", "at", "module", "alpha", *METRICS]
COLUMNS += [f"{name}_{end}" for name in METRICS for end in ("low", "high")] + ["interval_of", "clips"]
DEPTHS = ["quantity", "from", "blocks", "blocks_low", "blocks_high", "gain", "gain_low", "gain_high"]
DEPTHS += ["interval_of", "clips", "note"]


class Setting(NamedTuple):
    """One turn of a dial: its kind, where, which module, how far; and the gains that it amounts to, those of 1 left
    out.
    """

    dial: str
    at: int
    module: str
    alpha: float
    gains: frozenset[tuple[Key, float]]


class Dial:
    """The trained adapter's scale times α, on all adapted layers or on some, and what the model answers then.

    Dials: `whole`, all layers at α; `block`, block `at` at α and the others on (what is necessary); `alone`, block
    `at` on and the others off (what is sufficient); `first` and `last`, the first or last `at` blocks on, from 0 to
    all; `module` and `module-alone`, where several kinds of linear layers are adapted: one kind off, or only that one
    on, in all blocks. The head is the adapter's own throughout; so all off is the frozen encoder under the adapter's
    head, and not the frozen baseline, whose head was trained on it.

    `compute` gives `dial`: dial, at (block or number of blocks, -1 where neither), module, alpha, UAR, accuracy, loss
    (cross-entropy, nats), kl (KL(π ‖ π_1) from the whole adapter's answer π_1, nats), flipped (share of clips whose
    class is not the whole adapter's), delta_* against the whole adapter (paired by clip), 95 % intervals and what
    they speak of. And `dial_depth`: with the first (last) k blocks on, the k at which half of the gain in `quantity`
    (uar, loss) from all off to all on is first reached, interpolated between blocks; NaN with a note where the gain's
    interval holds 0.

    Needs an adapter of any kind on linear layers, and its trained head. Costs, for L blocks: nine turns of the whole
    from the first adapted block on, and seven sweeps of (L + 1) / 2 forwards a batch, with every setting that is like
    another run once.
    """

    needs = frozenset({"turnable", "head"})
    keys: ClassVar = {"dial": ("dial", "at", "module", "alpha"), "dial_depth": ("quantity", "from")}

    def __init__(self, study: Study) -> None:
        self._study = study
        self._answers = Answers(study, "the dial")
        self._adapted = list(study.turnable)
        self._settings = list(self._all())

    def parts(self, model: str) -> frozenset[str]:
        """The logits of the trained model."""
        return frozenset({"logits"} if self.replays(model) else ())

    def replays(self, model: str) -> frozenset[str]:
        """The trained model's stream, and the frozen one's, which is where blocks with the adapter off begin."""
        turned = model == "trained" and "trained" not in self._study.headless and bool(self._adapted)
        return frozenset({"own", "frozen"} if turned else ())

    def update(self, part: Part) -> None:
        """Keep the answers of the whole adapter."""
        self._answers.put(frozenset(), part.tensor, part.batch)

    def replay(self, replay: Replay) -> None:
        """Run every setting once."""
        for gains in dict.fromkeys(setting.gains for setting in self._settings):
            if gains:
                self._answers.put(gains, replay.answer(Intervention(gains=dict(gains))), replay.batch)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `dial` and `dial_depth`."""
        gains = dict.fromkeys(setting.gains for setting in self._settings)
        found = {each: self._answers.answer(each, frozenset()) for each in gains}
        rows = {each: self._answers.row(answer, METRICS, METRICS) for each, answer in found.items()}
        turns = [
            {"dial": s.dial, "at": s.at, "module": s.module, "alpha": s.alpha} | rows[s.gains] for s in self._settings
        ]
        return {
            "dial": pd.DataFrame(turns, columns=COLUMNS),
            "dial_depth": pd.DataFrame(self._depths(found), columns=DEPTHS),
        }

    def _all(self) -> Iterator[Setting]:
        layers = self._study.layers
        modules = list(dict.fromkeys(module for _, module in self._adapted))
        for alpha in WHOLE:
            yield self._setting("whole", -1, "", alpha, dict.fromkeys(self._adapted, alpha))
        for layer in range(layers):
            inside = [key for key in self._adapted if key[0] == layer]
            if not inside:
                continue
            for alpha in BLOCK:
                yield self._setting("block", layer, "", alpha, dict.fromkeys(inside, alpha))
            yield self._setting("alone", layer, "", 1.0, self._off(lambda key, layer=layer: key[0] != layer))
        for count in range(layers + 1):
            yield self._setting("first", count, "", 1.0, self._off(lambda key, count=count: key[0] >= count))
            yield self._setting("last", count, "", 1.0, self._off(lambda key, count=count: key[0] < layers - count))
        for module in modules if len(modules) > 1 else ():
            yield self._setting("module", -1, module, 0.0, self._off(lambda key, module=module: key[1] == module))
            yield self._setting("module-alone", -1, module, 1.0, self._off(lambda key, m=module: key[1] != m))

    def _off(self, where) -> dict[Key, float]:
        return {key: 0.0 for key in self._adapted if where(key)}

    def _setting(self, dial: str, at: int, module: str, alpha: float, gains: Mapping[Key, float]) -> Setting:
        return Setting(dial, at, module, alpha, frozenset((key, gain) for key, gain in gains.items() if gain != 1))

    def _depths(self, found: Mapping[frozenset, Answer]) -> Iterator[dict[str, Any]]:
        left_out = self._answers.left_out
        about = {"interval_of": left_out.of, "clips": len(self._study.labels)}
        for quantity, way in ((quantity, way) for quantity in ("uar", "loss") for way in ("first", "last")):
            on = [s.gains for s in self._settings if s.dial == way]
            if not on:
                continue
            # [blocks that are on, 1 + units]
            curve = np.stack([found[gains].draws[quantity] for gains in on])
            gain = curve[-1] - curve[0]
            ends = left_out.interval(float(gain[0]), gain[1:])
            row = {"quantity": quantity, "from": way, "gain": float(gain[0]), "gain_low": ends[0], "gain_high": ends[1]}
            row |= {"blocks": np.nan, "blocks_low": np.nan, "blocks_high": np.nan, "note": ""} | about
            better = ends[0] > 0 if quantity == "uar" else ends[1] < 0
            if not better:
                row["note"] = "what the adapter gains is not clearly different from 0, so it has no half"
            else:
                depths = half_way(curve)
                low, high = left_out.interval(float(depths[0]), depths[1:])
                last = float(len(curve) - 1)
                row |= {"blocks": float(depths[0]), "blocks_low": max(low, 0.0), "blocks_high": min(high, last)}
            yield row
