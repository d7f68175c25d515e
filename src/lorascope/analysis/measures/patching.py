"""Where what the adapter changed is found: the frozen model's streams put into the adapted one, and the other way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from torch import Tensor

from ...models.interventions import Intervention
from ...statistics.intervals import LeftOut
from ..measure import Batch, Part, Replay, Study
from ..per_clip import PerClip

#: What is put in, in the order of the table.
PARTS = ("resid_pre", "attn_out", "mlp_out")
#: A difference below this part of the margins is rounding of float32.
ROUNDING = 1e-5

COLUMNS = ["receiver", "part", "layer", "moved", "moved_low", "moved_high", "share", "share_low", "share_high"]
COLUMNS += ["total", "total_low", "total_high", "interval_of", "clips", "note"]


class Patching:
    """How much of the difference between adapted and frozen model a stream carries, all frames replaced at once.

    With m the gold class' logit less the best other one's: the receiver `adapted` is given the frozen model's part,
    and `moved` is the mean of m without less m with it; the receiver `frozen` is given the adapted model's, and it is
    m with less m without. The head is the receiver's. `part` is resid_pre, the stream that block `layer` takes (layer
    = number of blocks: that of the final LayerNorm), or what attention (`attn_out`) or MLP (`mlp_out`) of block
    `layer` alone gives, each on its own model's stream. `total` is `moved` at resid_pre's top, `share` = moved /
    total; at resid_pre's two ends it is 0 and 1 by construction where the adapter lies in the blocks alone. Single
    parts need not add up to 1.

    `compute` gives `patching`: receiver, part, layer, moved, share, total (logits), 95 % intervals and what they
    speak of, note. Where the interval of `total` holds 0 there is nothing to share out: share is NaN, and the note
    says so.

    Needs a trained head; without the frozen model's own one only `adapted` receives. Costs about 3 (L + 1) / 2 forwards
    a batch for each receiver, and one for its givers' parts.
    """

    needs = frozenset({"head"})
    keys: ClassVar = {"patching": ("receiver", "part", "layer")}

    def __init__(self, study: Study) -> None:
        self._study = study
        self._logits: dict[tuple[str, str, int], PerClip] = {}
        with_frozen = {"frozen", "trained"} <= set(study.models) and "trained" not in study.headless
        self._receivers = tuple(
            receiver
            for receiver, model in (("adapted", "trained"), ("frozen", "frozen"))
            if with_frozen and model not in study.headless
        )

    def parts(self, model: str) -> frozenset[str]:
        """The logits of both models."""
        receiver = {"trained": "adapted", "frozen": "frozen"}.get(model)
        return frozenset({"logits"} if receiver in self._receivers else ())

    def replays(self, model: str) -> frozenset[str]:
        """Both models' streams, while the trained one is there."""
        return frozenset({"own", "frozen"} if model == "trained" and self._receivers else ())

    def update(self, part: Part) -> None:
        """Keep the answers of the models as they are."""
        self._keep("adapted" if part.model == "trained" else "frozen", "none", -1, part.tensor, part.batch)

    def replay(self, replay: Replay) -> None:
        """Put each stream, and each block's parts, of one model into the other."""
        assert replay.reference is not None
        for receiver in self._receivers:
            adapted = receiver == "adapted"
            given = replay.reference if adapted else replay.resid_pre
            for layer, stream in enumerate(given):
                parts = {"resid_pre": stream}
                if layer < self._study.layers:
                    block = replay.block(layer, stream, not adapted)
                    parts |= {"attn_out": block.attn_out, "mlp_out": block.mlp_out}
                for name, tensor in parts.items():
                    change = Intervention(streams={(layer, name): tensor}, adapted=adapted)
                    self._keep(receiver, name, layer, replay.answer(change), replay.batch)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The table `patching`."""
        return {"patching": pd.DataFrame(self._rows(), columns=COLUMNS)}

    def _keep(self, receiver: str, part: str, layer: int, logits: Tensor, batch: Batch) -> None:
        self._logits.setdefault((receiver, part, layer), PerClip(self._study)).put(batch, logits)

    def _rows(self) -> Iterator[dict[str, Any]]:
        study = self._study
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        for receiver in self._receivers:
            margins = {
                key[1:]: margin(kept.compute(f"logits of the {receiver} model, patched at {key[1:]}"), study.labels)
                for key, kept in self._logits.items()
                if key[0] == receiver
            }
            sign = 1.0 if receiver == "adapted" else -1.0
            moved = {key: sign * (margins["none", -1] - found) for key, found in margins.items()}
            total = moved["resid_pre", study.layers]
            ends = left_out.interval(float(total.mean()), left_out.mean(total))
            about = {"total": float(total.mean()), "total_low": ends[0], "total_high": ends[1]}
            about |= {"interval_of": left_out.of, "clips": len(total), "note": ""}
            rounding = abs(total.mean()) <= ROUNDING * np.abs(margins["none", -1]).mean()
            if rounding or not (ends[0] > 0 or ends[1] < 0):
                about["note"] = "the two models' margins don't clearly differ, so there is nothing to share out"
            for part in PARTS:
                for layer in range(study.layers + (part == "resid_pre")):
                    row = self._row(moved[part, layer], total, left_out, not about["note"])
                    yield {"receiver": receiver, "part": part, "layer": layer, **row} | about

    def _row(self, moved: np.ndarray, total: np.ndarray, left_out: LeftOut, shared: bool) -> dict[str, float]:
        without, whole = left_out.mean(moved), left_out.mean(total)
        low, high = left_out.interval(float(moved.mean()), without)
        row = {"moved": float(moved.mean()), "moved_low": low, "moved_high": high}
        if not shared:
            return row | dict.fromkeys(("share", "share_low", "share_high"), float("nan"))
        share = float(moved.mean() / total.mean())
        low, high = left_out.interval(share, without / whole)
        return row | {"share": share, "share_low": low, "share_high": high}


def margin(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gold class' logit less the largest other one, [clips], of logits [clips, classes]."""
    gold = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    others = logits.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    return gold - others.max(axis=1)
