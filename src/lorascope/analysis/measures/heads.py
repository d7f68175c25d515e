"""What each attention head adds: to the stream, and directly to the logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ...statistics.intervals import LeftOut
from ...statistics.shuffles import shuffled_labels
from ..measure import Part, Replay, Study
from ..per_clip import PerClip

#: Shuffles of the gold labels.
DRAWS = 200

COLUMNS = ["model", "layer", "head", "ratio", "ratio_low", "ratio_high", "gold", "gold_low", "gold_high"]
COLUMNS += ["null", "null_low", "null_high", "interval_of", "clips", "note"]
LOGITS = ["model", "layer", "head", "class", "logit", "logit_low", "logit_high", "interval_of", "clips"]


class Heads:
    """Every attention head of the frozen and the trained model, each on its own model's stream.

    A head's output goes through its slice of the output projection (with its adapter). ratio = |output| / |block's
    input|, mean over valid frames, then clips. Its direct contribution to a class' logit is what its output adds
    through the residual stream, the final LayerNorm linearised at each frame's own statistics, pooling and head; what
    later blocks make of it is not in it. gold = contribution to the gold class less the mean of the others'.

    `compute` gives `heads`: model (frozen, trained, difference: trained less frozen, paired by clip), layer, head,
    ratio, gold (logits), 95 % intervals and what they speak of; null: gold with labels shuffled within speakers (mean
    and central 95 % of 200 draws). And `head_logits`: the contribution to each class' logit. Where LayerNorms lie on
    the stream (base models on waveforms) later ones rescale every part, and where the model's head reads all depths a
    part counts in each, so there is no direct contribution: NaN, with a note; a model without a trained head has ratios
    alone.

    Costs two forwards a batch for each model.
    """

    keys: ClassVar = {"heads": ("model", "layer", "head"), "head_logits": ("model", "layer", "head", "class")}

    def __init__(self, study: Study) -> None:
        self._study = study
        self._ratios: dict[tuple[str, int, int], PerClip] = {}
        self._direct: dict[tuple[str, int, int], PerClip] = {}

    def parts(self, model: str) -> frozenset[str]:
        """None: heads are looked at block by block afterwards."""
        return frozenset()

    def replays(self, model: str) -> frozenset[str]:
        """Both models' own streams."""
        return frozenset({"own"} if model in ("frozen", "trained") else ())

    def update(self, part: Part) -> None:
        """Nothing comes."""

    def replay(self, replay: Replay) -> None:
        """Take every block's heads apart."""
        batch, final = replay.batch, replay.resid_pre[-1]
        has_logits = self._indirect is None and replay.model not in self._study.headless
        for layer, stream in enumerate(replay.resid_pre[:-1]):
            size = stream.norm(dim=-1).clamp_min(1e-6)
            *outputs, _ = replay.heads(layer, stream)
            for head, output in enumerate(outputs):
                key = (replay.model, layer, head)
                ratio = (output.norm(dim=-1) / size)[..., None]
                self._ratios.setdefault(key, PerClip(self._study)).put(batch, batch.mean(ratio, valid=True))
                if has_logits:
                    self._direct.setdefault(key, PerClip(self._study)).put(batch, replay.direct(output, final))

    @property
    def _indirect(self) -> str | None:
        """Why no head has a direct contribution; None where they have one."""
        if self._study.post_norm:
            return "LayerNorms lie on the stream: there is no direct contribution"
        if self._study.reads_depths:
            return "the model's head reads all depths: there is no direct contribution"
        return None

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `heads` and `head_logits`."""
        study = self._study
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        ratios, direct = (
            {
                key: each.compute(f"{what} of model {key[0]}, layer {key[1]}, head {key[2]}")
                for key, each in kept.items()
            }
            for kept, what in ((self._ratios, "norms"), (self._direct, "logits"))
        )
        ratios = {key: values[:, 0] for key, values in ratios.items()}
        for values in (ratios, direct):
            both = [key[1:] for key in values if key[0] == "trained" and ("frozen", *key[1:]) in values]
            values |= {("difference", *key): values["trained", *key] - values["frozen", *key] for key in both}
        return {
            "heads": pd.DataFrame(self._rows(ratios, direct, left_out), columns=COLUMNS),
            "head_logits": pd.DataFrame(self._by_class(direct, left_out), columns=LOGITS),
        }

    def _rows(
        self, ratios: dict[Any, np.ndarray], direct: dict[Any, np.ndarray], left_out: LeftOut
    ) -> Iterator[dict[str, Any]]:
        study = self._study
        speakers = study.clips["speaker"].to_numpy()
        shuffled = shuffled_labels(study.labels, speakers, DRAWS, study.seed)
        about = {"interval_of": left_out.of, "clips": len(study.labels)}
        why = self._indirect or "no trained head"
        for key, ratio in ratios.items():
            low, high = left_out.interval(float(ratio.mean()), left_out.mean(ratio))
            row = dict(zip(("model", "layer", "head"), key, strict=True)) | about
            row |= {"ratio": float(ratio.mean()), "ratio_low": low, "ratio_high": high}
            if key not in direct:
                yield row | {"note": why}
                continue
            own = gold_margin(direct[key], study.labels[None])[0]
            low, high = left_out.interval(float(own.mean()), left_out.mean(own))
            null = gold_margin(direct[key], shuffled).mean(axis=1)
            ends = np.quantile(null, [0.025, 0.975])
            row |= {"gold": float(own.mean()), "gold_low": low, "gold_high": high, "null": float(null.mean())}
            yield row | {"null_low": float(ends[0]), "null_high": float(ends[1]), "note": ""}

    def _by_class(self, direct: dict[Any, np.ndarray], left_out: LeftOut) -> Iterator[dict[str, Any]]:
        for key, values in direct.items():
            low, high = left_out.ends(values.mean(axis=0), left_out.mean(values))
            for number, name in enumerate(self._study.classes):
                row = dict(zip(("model", "layer", "head"), key, strict=True)) | {"class": name}
                row |= {"logit": float(values[:, number].mean()), "logit_low": low[number], "logit_high": high[number]}
                yield row | {"interval_of": left_out.of, "clips": len(values)}


def gold_margin(logits: np.ndarray, labelings: np.ndarray) -> np.ndarray:
    """The gold class' part less the mean of the others', [labelings, clips], of [clips, classes]."""
    gold = np.take_along_axis(logits.T, labelings, axis=0)
    return gold - (logits.sum(axis=1) - gold) / (logits.shape[1] - 1)
