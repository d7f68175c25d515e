"""Interventions on an adapted encoder: the adapter turned down or up, factors exchanged, streams replaced, blocks
skipped.

One mechanism for every measure that changes something and looks at the answer. An `Intervention` says what is changed;
`answer` runs the blocks from a known stream on with it in place, and leaves the model as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..statistics.directions import Directions, balanced
from .classifier import masked_mean
from .parts import EncoderParts

#: Layer and module of an adapted linear layer.
Key = tuple[int, str]


@dataclass(frozen=True)
class Intervention:
    """What is changed of one model; everything else stays.

    `gains` multiply the update of an adapted layer of any kind (0: off, 1: as it is). `factors` stand instead of its A
    [rank, width_in] and B [width_out, rank], its scale stays (of low-rank pairs). `streams[layer, part]` [clips,
    frames, width] stands instead of a block's `attn_out` or `mlp_out`, or of its input `resid_pre` (layer = number of
    blocks: of what the final LayerNorm takes). The output of a block in `skipped` is its input. With `adapted` False
    the frozen model receives it all: adapter and its head are off.
    """

    gains: Mapping[Key, float] = field(default_factory=dict)
    factors: Mapping[Key, tuple[Tensor, Tensor]] = field(default_factory=dict)
    streams: Mapping[tuple[int, str], Tensor] = field(default_factory=dict)
    skipped: frozenset[int] = frozenset()
    adapted: bool = True

    @property
    def touched(self) -> frozenset[int]:
        """The blocks that compute something else than before, whatever their input."""
        turned = [layer for (layer, _), gain in self.gains.items() if gain != 1]
        return frozenset((*turned, *(at for at, _ in self.factors), *(at for at, _ in self.streams), *self.skipped))

    def start(self, layers: int) -> int:
        """The highest of `layers` blocks below which nothing is touched, or nothing that is matters any more."""
        replaced = [layer for layer, part in self.streams if part == "resid_pre"]
        return max(replaced) if replaced else min((layers, *self.touched))

    def off_below(self, adapted: Sequence[Key]) -> int:
        """The highest block below which every one of the `adapted` layers is off and nothing else is touched."""
        on = [layer for layer, module in adapted if self.gains.get((layer, module)) != 0]
        others = [at for at, _ in (*self.factors, *self.streams)]
        return min((*on, *others, *self.skipped), default=max((at for at, _ in adapted), default=-1) + 1)


def cut(found: Mapping[Key, Directions], masks: Mapping[Key, np.ndarray], scales: Mapping[Key, float]) -> Intervention:
    """The adapter with some of its directions alone; matrices that keep none are off, and those that keep all stay."""
    gains = {key: 0.0 for key, mask in masks.items() if not mask.any() and len(mask)}
    factors = {}
    for key, mask in masks.items():
        if mask.any() and not mask.all():
            a, b = balanced(found[key], mask, scales[key])
            factors[key] = torch.from_numpy(a), torch.from_numpy(b)
    return Intervention(gains=gains, factors=factors)


@contextmanager
def intervened(parts: EncoderParts, change: Intervention) -> Iterator[None]:
    """The model with an intervention in place (but for skipped blocks and replaced inputs, which `answer` sees to)."""
    with ExitStack() as stack:
        stack.enter_context(parts.adapter(change.adapted))
        for key in {**change.gains, **change.factors}:
            stack.enter_context(_exchanged(parts, key, change))
        for (layer, part), stream in change.streams.items():
            if part != "resid_pre":
                name = {"attn_out": parts.attention, "mlp_out": parts.mlp}[part]
                handle = getattr(parts.blocks[layer], name).register_forward_hook(_giving(stream))
                stack.callback(handle.remove)
        yield


def answer(
    parts: EncoderParts,
    start: int,
    hidden: Tensor,
    valid: Tensor | None,
    change: Intervention,
    before: Sequence[Tensor] = (),
) -> Tensor:
    """Logits [clips, classes] when blocks `start`.. run on [clips, frames, width] with an intervention in place, then
    final LayerNorm, pooling and head (`start` = number of blocks: these alone). A head that reads all depths also needs
    `before`, the streams at the depths below `start`.
    """
    with intervened(parts, change):
        all_depths = parts.reads_depths
        depths = [masked_mean(stream, valid) for stream in before] if all_depths else []
        for layer in range(start, parts.layers):
            hidden = change.streams.get((layer, "resid_pre"), hidden)
            if all_depths:
                depths.append(masked_mean(hidden, valid))
            if layer not in change.skipped:
                hidden = parts.run_block(layer, hidden, valid).resid_post
        hidden = change.streams.get((parts.layers, "resid_pre"), hidden)
        return parts.answer_of(hidden, valid, depths)


def encoded(parts: EncoderParts, start: int, hidden: Tensor, valid: Tensor | None, change: Intervention) -> Tensor:
    """The encoder's output [clips, frames, width] when blocks `start`.. run with an intervention in place, then final
    LayerNorm: what a decoder reads.
    """
    with intervened(parts, change):
        for layer in range(start, parts.layers):
            hidden = change.streams.get((layer, "resid_pre"), hidden)
            if layer not in change.skipped:
                hidden = parts.run_block(layer, hidden, valid).resid_post
        return parts.final_norm(change.streams.get((parts.layers, "resid_pre"), hidden))


@contextmanager
def _exchanged(parts: EncoderParts, key: Key, change: Intervention) -> Iterator[None]:
    if not parts.is_pair(*key):
        handle = parts.linear(*key).register_forward_hook(_turning(change.gains.get(key, 1.0)))
        try:
            yield
        finally:
            handle.remove()
        return
    a, b, _ = parts.factors(*key)
    before = a.data, b.data
    new_a, new_b = change.factors.get(key, before)
    try:
        # what a parameter holds is exchanged and not written over, as `ModelStates` does
        a.data, b.data = new_a.to(before[0]), new_b.to(before[1]) * change.gains.get(key, 1.0)
        yield
    finally:
        a.data, b.data = before


def _turning(gain: float) -> Any:
    def hook(linear: Any, inputs: Any, output: Tensor) -> Tensor:
        before = linear.base_layer(*inputs)
        return before if gain == 0 else before + gain * (output - before)

    return hook


def _giving(stream: Tensor) -> Any:
    def hook(_: Any, __: Any, output: Any) -> Any:
        return (stream, *output[1:]) if isinstance(output, tuple) else stream

    return hook
