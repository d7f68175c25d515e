"""How much each block adds to the residual stream, and in which direction (METHODS section 2; the paper's Figure 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.linalg import vecdot

from ...statistics.intervals import LeftOut
from ..measure import Batch, Part, Replay, Study
from ..per_clip import PerClip

#: Least norm to divide by; a frame of the residual stream below it would make any contribution look infinite.
SMALLEST_NORM = 1e-6

COLUMNS = ["model", "layer", "component", "variant", "frames", "ratio", "cosine"]
COLUMNS += ["ratio_low", "ratio_high", "cosine_low", "cosine_high", "interval_of", "clips"]

#: (layer, component, variant, frames)
_Key = tuple[int, str, str, str]


class Contribution:
    """Relative norms |a|/|h|, |m|/|h|, |a+m|/|h| and their cosines with h, for each block of every model.

    h is the block's input, a its attention's output, m its MLP's, u = h + a. Norms are over the width, means over a
    clip's frames (all, or the valid ones) and then over clips. Variants:

    - `paper`: all three against h. The released code computes the same, so there is no separate `released`.
    - `corrected`: the MLP against its own input, |m|/|u| and cos(m, u) (Csordás et al. 2025); attention and block as in
      `paper`. Where LayerNorms lie on the stream (`Study.post_norm`) u is the MLP's true input, LN(h + a), and the
      block's contribution what it changes of the stream, resid_post - h, which elsewhere is a + m.
    - `same-input`: `corrected` for block l of the trained model fed the frozen model's h, so that a difference from the
      frozen model is what this layer's adapter does, and nothing that an earlier layer handed on.

    `compute` gives `contribution`: model, layer, component (attn, mlp, block), variant, frames (all, valid), ratio,
    cosine, their 95 % intervals, what these speak of (`intervals.LeftOut`) and the number of clips. Model `difference`
    is trained less frozen, clip by clip (of `same-input`: less the frozen model's `corrected`), where both were traced.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._compares = {"trained", "frozen"} <= set(study.models)
        #: (model, on the frozen model's stream, frames) -> [clips, layers, ratios, 2]
        self._values: dict[tuple[str, bool, str], PerClip] = {}
        self._layers: dict[tuple[str, bool], tuple[int, ...]] = {}
        self._block: dict[str, Tensor] = {}
        self._last = "resid_post" if study.post_norm else "mlp_out"
        # the blocks of one model on one batch, layer by layer, until all have come
        self._products: dict[int, Tensor] = {}
        self._of: tuple[str, Batch] | None = None

    def parts(self, model: str) -> frozenset[str]:
        """The residual stream before each block and what attention and MLP add to it."""
        own = {"resid_pre", "attn_out", "mlp_out"}
        return frozenset(own | {"resid_mid", "resid_post"} if self._study.post_norm else own)

    def replays(self, model: str) -> frozenset[str]:
        """The frozen model's residual stream for the trained model, where both are there."""
        return frozenset({"frozen"} if model == "trained" and self._compares else ())

    def update(self, part: Part) -> None:
        """Take one part; a block's own are held until its last one completes them."""
        if self._of is None or self._of[0] != part.model or self._of[1] is not part.batch:
            self._reduce()
            self._of = part.model, part.batch
        self._block[part.name] = part.tensor
        if part.name == self._last:
            block, self._block = self._block, {}
            self._products[part.layer] = self._products_of(block)

    def replay(self, replay: Replay) -> None:
        """Run the blocks on the frozen model's residual stream; those that got no other stream anyway did so
        already.
        """
        assert replay.reference is not None
        own = self._reduce()
        same = {
            layer: own[layer] if layer < replay.shared else self._products_of(replay.block(layer, stream)._asdict())
            for layer, stream in enumerate(replay.reference[:-1])
        }
        self._keep(replay.model, True, same, replay.batch)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The table `contribution`."""
        study = self._study
        left_out = LeftOut(study.clips["speaker"].to_numpy(), study.labels)
        keys, of_keys = zip(*self._per_clip(), strict=True)
        # [clips, rows, ratio and cosine]
        values = np.stack(of_keys, axis=1)
        means = values.mean(axis=0)
        low, high = left_out.ends(means, left_out.mean(values))
        numbers = np.concatenate([means, np.stack([low, high], axis=2).reshape(len(keys), 4)], axis=1)
        rows = [
            (model, *key, *row, left_out.of, len(values))
            for (model, key), row in zip(keys, numbers.tolist(), strict=True)
        ]
        return {"contribution": pd.DataFrame(rows, columns=COLUMNS)}

    def _per_clip(self) -> Iterator[tuple[tuple[str, _Key], np.ndarray]]:
        """Ratio and cosine of every clip, [clips, 2], of every model and then of the difference."""
        self._reduce()
        values: dict[tuple[str, _Key], np.ndarray] = {}
        for (model, same_input, frames), kept in self._values.items():
            found = kept.compute(f"contribution of model {model}")
            for place, layer in enumerate(self._layers[model, same_input]):
                for number, (component, variant) in enumerate(self._named(same_input)):
                    values[model, (layer, component, variant, frames)] = found[:, place, number]
        yield from values.items()
        for (model, key), trained in values.items():
            if model == "trained" and self._compares:
                layer, component, variant, frames = key
                against = "corrected" if variant == "same-input" else variant
                yield ("difference", key), trained - values["frozen", (layer, component, against, frames)]

    def _reduce(self) -> dict[int, Tensor]:
        """Put what has come of one model and batch, and return it layer by layer."""
        products, self._products = self._products, {}
        if self._of is not None and products:
            self._keep(self._of[0], False, products, self._of[1])
        self._of = None
        return products

    def _products_of(self, block: Mapping[str, Tensor]) -> Tensor:
        """Norms and inner products over the width that every number of a block follows from, [clips, frames, 6] (10
        with `post_norm`), as float32 as the parts are.
        """
        h, a, m = (block[name] for name in ("resid_pre", "attn_out", "mlp_out"))
        found = [h.norm(dim=-1), a.norm(dim=-1), m.norm(dim=-1), vecdot(h, a), vecdot(h, m), vecdot(a, m)]
        if self._study.post_norm:
            middle, change = block["resid_mid"], block["resid_post"] - h
            found += [middle.norm(dim=-1), vecdot(m, middle), change.norm(dim=-1), vecdot(change, h)]
        return torch.stack(found, dim=-1)

    def _named(self, same_input: bool) -> list[tuple[str, str]]:
        """Component and variant of every ratio, in the order in which `_keep` makes them."""
        if same_input:
            return [("attn", "same-input"), ("mlp", "same-input"), ("block", "same-input")]
        return [(component, variant) for variant in ("paper", "corrected") for component in ("attn", "mlp", "block")]

    def _keep(self, model: str, same_input: bool, products: Mapping[int, Tensor], batch: Batch) -> None:
        """Ratios and cosines of all blocks at once: on a GPU what counts is the number of operations, not their
        size.
        """
        h, a, m, ha, hm, am, *rest = torch.stack(list(products.values()), dim=2).double().unbind(-1)
        # |a + m|² and the like from the six products of h, a and m: a sum is a pass over the frames' width more, a
        # product of three numbers is not
        of_attention, of_sum = (a, h, ha), (_norm_of_sum(a, m, am), h, ha + hm)
        paper = [of_attention, (m, h, hm), of_sum]
        if rest:
            middle, m_middle, change, change_h = rest
            corrected = [of_attention, (m, middle, m_middle), (change, h, change_h)]
        else:
            corrected = [of_attention, (m, _norm_of_sum(h, a, ha), hm + am), of_sum]
        chosen = corrected if same_input else [*paper, *corrected]
        added, base, dot = (torch.stack(each, dim=-1) for each in zip(*chosen, strict=True))
        # [clips, frames, layers, ratios, 2]
        measured = _ratio_and_cosine(added, base, dot)
        for frames in ("all", "valid"):
            means = batch.mean(measured.flatten(2), valid=frames == "valid").unflatten(1, measured.shape[2:])
            self._values.setdefault((model, same_input, frames), PerClip(self._study)).put(batch, means)
        self._layers[model, same_input] = tuple(products)


def _norm_of_sum(x: Tensor, y: Tensor, dot: Tensor) -> Tensor:
    """|x + y| of the norms of x and y and their inner product."""
    return (x**2 + 2 * dot + y**2).clamp(min=0).sqrt()


def _ratio_and_cosine(added: Tensor, base: Tensor, dot: Tensor) -> Tensor:
    """|added| / |base| and their cosine, of both norms and the inner product, [..., 2]."""
    clamped, base = added.clamp(min=SMALLEST_NORM), base.clamp(min=SMALLEST_NORM)
    return torch.stack([added / base, dot / (clamped * base)], dim=-1)
