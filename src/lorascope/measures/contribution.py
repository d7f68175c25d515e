"""How much each block adds to the residual stream, and in which direction (METHODS section 2; the paper's Figure 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..intervals import LeftOut
from .measure import Batch, Part, Replay, Study
from .per_clip import PerClip

#: Least norm to divide by; a frame of the residual stream below it would make any contribution look infinite.
SMALLEST_NORM = 1e-6

COLUMNS = ["model", "layer", "component", "variant", "frames", "ratio", "cosine"]
COLUMNS += ["ratio_low", "ratio_high", "cosine_low", "cosine_high", "interval_of", "clips"]

#: (layer, component, variant, frames)
_Key = tuple[int, str, str, str]


class Contribution:
    """Relative norms |a|/|h|, |m|/|h|, |a+m|/|h| and their cosines with h, for each block of every model.

    h is the block's input, a its attention's output, m its MLP's, u = h + a. Norms are over the width, means over a clip's frames (all, or
    the valid ones) and then over clips. Variants:

    - `paper`: all three against h. The released code computes the same, so there is no separate `released`.
    - `corrected`: the MLP against its own input, |m|/|u| and cos(m, u) (Csordás et al. 2025); attention and block as in `paper`. Where LayerNorms lie on the stream
      (`Study.post_norm`) u is the MLP's true input, LN(h + a), and the block's contribution what it changes of the stream, resid_post - h, which elsewhere is a + m.
    - `same-input`: `corrected` for block l of the trained model fed the frozen model's h, so that a difference from the
      frozen model is what this layer's adapter does, and nothing that an earlier layer handed on.

    `compute` gives `contribution`: model, layer, component (attn, mlp, block), variant, frames (all, valid), ratio, cosine, their 95 %
    intervals, what these speak of (`intervals.LeftOut`) and the number of clips. Model `difference` is trained less
    frozen, clip by clip (of `same-input`: less the frozen model's `corrected`), where both were traced.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._compares = {"trained", "frozen"} <= set(study.models)
        self._values: dict[tuple[str, _Key], PerClip] = {}
        self._block: dict[str, Tensor] = {}
        self._last = "resid_post" if study.post_norm else "mlp_out"

    def parts(self, model: str) -> frozenset[str]:
        """The residual stream before each block and what attention and MLP add to it."""
        own = {"resid_pre", "attn_out", "mlp_out"}
        return frozenset(own | {"resid_mid", "resid_post"} if self._study.post_norm else own)

    def replays(self, model: str) -> frozenset[str]:
        """The frozen model's residual stream for the trained model, where both are there."""
        return frozenset({"frozen"} if model == "trained" and self._compares else ())

    def update(self, part: Part) -> None:
        """Take one part; a block's own are held until its last one completes them."""
        self._block[part.name] = part.tensor
        if part.name == self._last:
            block, self._block = self._block, {}
            self._keep(part.model, part.layer, ("paper", "corrected"), block, part.batch)

    def replay(self, replay: Replay) -> None:
        """Run the blocks on the frozen model's residual stream; those that got no other stream anyway did so already."""
        assert replay.reference is not None
        for layer, stream in enumerate(replay.reference):
            if layer < replay.shared:
                self._copy(replay.model, layer, replay.batch)
                continue
            self._keep(replay.model, layer, ("same-input",), replay.block(layer, stream)._asdict(), replay.batch)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The table `contribution`."""
        study = self._study
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        rows = [
            dict(
                zip(
                    COLUMNS,
                    (model, *key, *_mean_and_interval(values, left_out), left_out.of, len(values)),
                    strict=True,
                )
            )
            for (model, key), values in self._per_clip()
        ]
        return {"contribution": pd.DataFrame(rows, columns=COLUMNS)}

    def _per_clip(self) -> Iterator[tuple[tuple[str, _Key], np.ndarray]]:
        """Ratio and cosine of every clip, [clips, 2], of every model and then of the difference."""
        values = {key: kept.compute(f"contribution of model {key[0]}") for key, kept in self._values.items()}
        yield from values.items()
        for (model, key), trained in values.items():
            if model == "trained" and self._compares:
                layer, component, variant, frames = key
                against = "corrected" if variant == "same-input" else variant
                yield ("difference", key), trained - values["frozen", (layer, component, against, frames)]

    def _keep(
        self, model: str, layer: int, variants: tuple[str, ...], block: Mapping[str, Tensor], batch: Batch
    ) -> None:
        stream, attention, mlp = (block[name] for name in ("resid_pre", "attn_out", "mlp_out"))
        h, a, m = (_norm(x) for x in (stream, attention, mlp))
        ha, hm, am = _dot(stream, attention), _dot(stream, mlp), _dot(attention, mlp)
        # |a + m|² and the like from the six products of h, a and m: a sum is a pass over the frames' width more, a product of three numbers is not
        of_attention = _ratio_and_cosine(a, h, ha)
        of_sum = _ratio_and_cosine(_norm_of_sum(a, m, am), h, ha + hm)
        for variant in variants:
            measured_parts = {"attn": of_attention, "block": of_sum}
            if variant == "paper":
                measured_parts["mlp"] = _ratio_and_cosine(m, h, hm)
            elif self._study.post_norm:
                middle, change = block["resid_mid"], block["resid_post"] - stream
                measured_parts["mlp"] = _ratio_and_cosine(m, _norm(middle), _dot(mlp, middle))
                measured_parts["block"] = _ratio_and_cosine(_norm(change), h, _dot(change, stream))
            else:
                measured_parts["mlp"] = _ratio_and_cosine(m, _norm_of_sum(h, a, ha), hm + am)
            for component, measured in measured_parts.items():
                for frames in ("all", "valid"):
                    means = batch.mean(measured, valid=frames == "valid")
                    key = (model, (layer, component, variant, frames))
                    self._values.setdefault(key, PerClip(self._study)).put(batch, means)

    def _copy(self, model: str, layer: int, batch: Batch) -> None:
        """Put what a block did on its own stream as what it does on the same."""
        for component in ("attn", "mlp", "block"):
            for frames in ("all", "valid"):
                own = self._values[model, (layer, component, "corrected", frames)].get(batch)
                key = (model, (layer, component, "same-input", frames))
                self._values.setdefault(key, PerClip(self._study)).put(batch, own)


def _norm(x: Tensor) -> Tensor:
    """|x| over the width, [clips, frames] float64."""
    return x.norm(dim=-1).double()


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner products over the width, [clips, frames] float64."""
    return torch.linalg.vecdot(x, y).double()


def _norm_of_sum(x: Tensor, y: Tensor, dot: Tensor) -> Tensor:
    """|x + y| of the norms of x and y and their inner product."""
    return (x**2 + 2 * dot + y**2).clamp(min=0).sqrt()


def _ratio_and_cosine(added: Tensor, base: Tensor, dot: Tensor) -> Tensor:
    """|added| / |base| and their cosine, frame by frame, of both norms and the inner product, [clips, frames, 2]."""
    clamped, base = added.clamp(min=SMALLEST_NORM), base.clamp(min=SMALLEST_NORM)
    return torch.stack([added / base, dot / (clamped * base)], dim=-1)


def _mean_and_interval(values: np.ndarray, left_out: LeftOut) -> list[float]:
    """Means of ratio and cosine, then both intervals, in the order of `COLUMNS`."""
    means = values.mean(axis=0).tolist()
    replicates = left_out.mean(values)
    ends = [left_out.interval(mean, column) for mean, column in zip(means, replicates.T, strict=True)]
    return [*means, *ends[0], *ends[1]]
