"""The contract between tracing and the measures: what a measure is given, and what it must offer.

A measure is an accumulator. Tracing runs every model over every batch once, hands each measure the parts that
it asked for as they are produced, and the measure reduces them at once; nothing grows with the number of frames.
This module knows nothing of how parts are captured, nor of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .kept_frames import Space
from .means import Means

if TYPE_CHECKING:
    from ..models.interventions import Intervention
    from ..models.parts import Block
    from ..sound.features import Features

#: Names of the forward parts, in the order in which one block produces them.
FORWARD_PARTS = (
    "resid_pre",
    "lora_a",
    "lora_b",
    "attn_out",
    "resid_mid",
    "mlp_out",
    "resid_post",
    "final_norm",
    "logits",
)
#: Gradients of the loss summed over clips; they arrive in reverse order of layers.
GRADIENT_PARTS = ("grad_lora_b", "grad_lora_a")


@dataclass(frozen=True)
class Factors:
    """The two factors of one adapted linear layer: its update is `scale * b @ a`.

    `a` is [rank, width_in], `b` is [width_out, rank], both float64 on the CPU.
    """

    a: Tensor
    b: Tensor
    scale: float


@dataclass(frozen=True)
class Study:
    """What is analysed: the clips in a fixed order, the models, and the shape of their encoder.

    `clips` has one row a clip: `clip` (id), `speaker`, `emotion` (class name), `label` (index into `classes`), `frames`
    (frames that hold speech). `models` are the names under which parts arrive, e.g. "frozen", "trained", "gaussian",
    "peft-init", "norm-matched", "permuted". `modules` are the adapted linear layers of a block, e.g. ("v_proj",).
    `post_norm` says that the encoder's LayerNorms lie on the residual stream, after attention and MLP. `depth_weights`
    [layers + 1] are what each depth weighs in a head that sums over them (None: it doesn't), `frozen_depth_weights`
    what in the frozen model's, where they are others; `sums_normed` says whether the last of them comes after the final
    LayerNorm. `reads_depths` says that the head reads all depths, as a sum or side by side. `factors[model][layer,
    module]` are the adapter's factors; "frozen" has none. `weights` are the frozen weights [width_out, width_in] of
    these layers, as the model holds them. `turnable` are the adapted layers of any kind of adapter, which can be turned
    down; `updates[layer, module]()` gives W and ΔW [width_out, width_in], float64, of layers whose update is no pair of
    factors. `headless` names models with no trained head. `draws` is the number of shuffles of a null. `space` has room
    for the frames that measures cannot reduce at once. `threads` of the host may be used for what comes after the pass.
    """

    clips: pd.DataFrame
    classes: tuple[str, ...]
    models: tuple[str, ...]
    layers: int
    width: int
    modules: tuple[str, ...]
    factors: Mapping[str, Mapping[tuple[int, str], Factors]]
    weights: Mapping[tuple[int, str], Tensor] = field(default_factory=dict)
    turnable: tuple[tuple[int, str], ...] = ()
    updates: Mapping[tuple[int, str], Callable[[], tuple[Tensor, Tensor]]] = field(default_factory=dict)
    headless: frozenset[str] = frozenset()
    post_norm: bool = False
    depth_weights: np.ndarray | None = None
    frozen_depth_weights: np.ndarray | None = None
    reads_depths: bool = False
    sums_normed: bool = True
    seed: int = 42
    draws: int = 500
    space: Space = field(default_factory=Space)
    threads: int = 1
    means: Means = field(default_factory=Means)

    @property
    def labels(self) -> np.ndarray:
        """Gold class of every clip, [clips], int."""
        return self.clips["label"].to_numpy()


@dataclass(frozen=True)
class Batch:
    """Some clips of one length.

    `rows` [clips] are their rows in `Study.clips`; `features` what the encoder takes (log-mels [clips, mels, 2 *
    frames] or samples [clips, samples]); `frames` of the encoder's output; `valid` [clips] counts those that hold
    speech; `labels` [clips]. `windowed` says whether padding is a part of what the encoder sees (Whisper attends to
    it); where it isn't, all frames are the valid ones. `pools_valid` says whether the head pools over the valid frames
    or over all.
    """

    rows: Tensor
    features: Tensor
    frames: int
    valid: Tensor
    labels: Tensor
    pools_valid: bool
    windowed: bool = True

    @cached_property
    def mask(self) -> Tensor:
        """True where a frame holds speech, [clips, frames], bool."""
        frames = torch.arange(self.frames, device=self.valid.device)
        return frames[None, :] < self.valid[:, None]

    @cached_property
    def lengths(self) -> list[int]:
        """`valid` as numbers of the host: asked of the device once a batch."""
        return self.valid.tolist()

    @cached_property
    def numbers(self) -> list[int]:
        """`rows` as numbers of the host."""
        return self.rows.tolist()

    @cached_property
    def is_full(self) -> bool:
        """Whether every frame holds speech; known to the host."""
        return min(self.lengths) >= self.frames

    @cached_property
    def speech_frames(self) -> Tensor:
        """Where among all frames of all clips those lie that hold speech, [frames that do], int64."""
        return self._frames_of(speech=True).to(self.valid.device)

    @cached_property
    def padding_frames(self) -> Tensor:
        """Where the others lie."""
        return self._frames_of(speech=False).to(self.valid.device)

    def _frames_of(self, speech: bool) -> Tensor:
        held = torch.arange(self.frames)[None, :] < torch.tensor(self.lengths)[:, None]
        return (held == speech).flatten().nonzero()[:, 0]

    @cached_property
    def _shares(self) -> dict[torch.dtype, Tensor]:
        return {}

    def shares(self, dtype: torch.dtype) -> Tensor:
        """What each frame weighs in its clip's mean over the valid ones, [clips, 1, frames]."""
        if dtype not in self._shares:
            weights = self.mask.to(dtype)
            self._shares[dtype] = (weights / weights.sum(dim=1, keepdim=True))[:, None]
        return self._shares[dtype]

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device; on its way there, if it is a GPU, while the host goes on, and nothing that the host
        knows is asked of the device.
        """
        pinned = torch.device(device).type == "cuda"
        fields = ("rows", "features", "valid", "labels")
        known = ("speech_frames", "padding_frames")
        there = {
            name: (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=pinned)
            for name, tensor in ((name, getattr(self, name)) for name in (*fields, *known))
        }
        moved = replace(self, **{name: there[name] for name in fields})
        vars(moved).update(lengths=self.lengths, numbers=self.numbers, **{name: there[name] for name in known})
        return moved

    def speech(self, tensor: Tensor) -> Tensor:
        """The frames of [clips, frames, width] that hold speech, clip after clip, [frames of all clips, width]."""
        return tensor.flatten(0, 1) if self.is_full else tensor.flatten(0, 1).index_select(0, self.speech_frames)

    def padding(self, tensor: Tensor) -> Tensor:
        """All other frames, [frames of all clips, width]."""
        return tensor.flatten(0, 1).index_select(0, self.padding_frames)

    def silenced(self, tensor: Tensor) -> Tensor:
        """[clips, frames, width] with 0 in the frames that hold no speech."""
        return tensor if self.is_full else tensor * self.mask[..., None].to(tensor.dtype)

    def mean(self, tensor: Tensor, valid: bool) -> Tensor:
        """Mean of [clips, frames, width] over each clip's valid frames, or over all, [clips, width]."""
        if not valid and self.windowed:
            return tensor.mean(dim=1)
        return torch.bmm(self.shares(tensor.dtype), tensor)[:, 0]

    def pool(self, tensor: Tensor) -> Tensor:
        """Mean of [clips, frames, width] over the frames that the model's own head pools over, [clips, width]."""
        return self.mean(tensor, self.pools_valid)


@dataclass(frozen=True)
class Part:
    """One named tensor of one batch in one model.

    `tensor` is [clips, frames, width] (rank for the A-side), or [clips, classes] for `logits`; detached; float32 or
    float64. `raw` is the same as the model gave it, which under autocast takes half the memory and loses nothing
    (`native`, where that is another tensor). `layer` counts blocks from 0; `module` names the adapted linear layer for
    `lora_*` parts, else it is None. `final_norm(x)` applies the encoder's last LayerNorm and `head(pooled)` the model's
    own head to [clips, width], giving [clips, classes].
    """

    model: str
    name: str
    layer: int
    module: str | None
    tensor: Tensor
    batch: Batch
    final_norm: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    native: Tensor | None = None

    @property
    def raw(self) -> Tensor:
        """The tensor in the precision in which the model computed it."""
        return self.tensor if self.native is None else self.native


@dataclass(frozen=True)
class Replay:
    """The means to run pieces of one model again on one batch, after its trace.

    `resid_pre[l]` [clips, frames, width] are the inputs of its blocks, the last one what the final LayerNorm takes, and
    `reference` the same of the frozen model: each where `Measure.replays` asked for it. The inputs of the first
    `shared` blocks are the same in both models (0: the models differ in more than the `adapted` layers of their
    blocks). `block(l, h)` runs block l on h and gives its parts, `block(l, h, False)` with the adapter off; `run(l, h,
    change, before)` runs blocks l.. on h with an intervention in place, where `before` are the streams at depths 0 to l
    - 1 (read by heads that sum over depths), then final LayerNorm, pooling and head, and gives logits [clips, classes]
    (l = layers: norm and head only); `encode(l, h, change)` gives the final LayerNorm's output instead. `heads(l, h)`
    is what each attention head of block l adds on h, and last what none of them does (`models.heads.head_outputs`);
    `direct(a, h)` what a part of the last stream h adds to the logits (`direct_logits`). All of it without gradients.
    """

    model: str
    batch: Batch
    resid_pre: list[Tensor]
    reference: list[Tensor] | None
    block: Callable[..., Block]
    run: Callable[[int, Tensor, Intervention, Sequence[Tensor]], Tensor]
    shared: int = 0
    adapted: tuple[tuple[int, str], ...] = ()
    heads: Callable[[int, Tensor], list[Tensor]] = lambda layer, hidden: []
    direct: Callable[[Tensor, Tensor], Tensor] = lambda added, final: added
    encode: Callable[[int, Tensor, Intervention], Tensor] = lambda layer, hidden, change: hidden

    def answer(self, change: Intervention) -> Tensor:
        """Logits [clips, classes] of the model with an intervention, run from the highest block whose input is known.

        That is the model's own stream, up to the first block that is touched; or the frozen model's, where the adapter
        is off in all blocks below. So a sweep over L blocks that touches one at a time costs (L + 1) / 2 forwards.
        """
        return self.run(*self._beginning(change))

    def output(self, change: Intervention) -> Tensor:
        """The same model's encoder output [clips, frames, width], after the final LayerNorm."""
        layer, hidden, change, _ = self._beginning(change)
        return self.encode(layer, hidden, change)

    def _beginning(self, change: Intervention) -> tuple[int, Tensor, Intervention, Sequence[Tensor]]:
        layers = len(self.resid_pre or self.reference or ()) - 1
        own = change.start(layers)
        replaced = change.streams.get((own, "resid_pre"))
        if replaced is not None:
            return own, replaced, change, self.resid_pre[:own]
        if self.reference is not None and not change.adapted:
            return own, self.reference[own], change, self.reference[:own]
        if self.reference is not None and self.shared and self.adapted:
            off = min(layers, change.off_below(self.adapted))
            if off > own:
                return off, self.reference[off], change, self.reference[:off]
        return own, self.resid_pre[own], change, self.resid_pre[:own]


class Measure(Protocol):
    """An accumulator over batches. Constructed with the `Study`.

    A class may say with `needs` what there must be for it: "pairs" (plain low-rank pairs), "turnable" (any adapter on
    linear layers of the blocks), "updates" (that, or changed weights of theirs), "head" (a trained head), "depth" (a
    head that can be asked of one depth), or something of `Means` ("sounds", "decoder"); and with `keys` which columns
    tell the rows of each of its tables apart, over all folds and seeds. Every other column of numbers has a mean there.
    Without it these are the columns that hold no floats. It may have a method `passes()` that gives the `Pass`es which
    are to run after the one over the clips as they are.
    """

    def parts(self, model: str) -> frozenset[str]:
        """Names of the parts wanted of this model."""
        ...

    def replays(self, model: str) -> frozenset[str]:
        """The residual streams that `replay` needs for this model, which are held for it: "own", "frozen"; none where
        it isn't to be called.
        """
        ...

    def update(self, part: Part) -> None:
        """Take one part of one batch and reduce it."""
        ...

    def replay(self, replay: Replay) -> None:
        """Run pieces of the model again, for measures that intervene."""
        ...

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tidy tables, keyed by the stem of their file."""
        ...


@dataclass(frozen=True)
class Pass:
    """One more pass over clips, beside the one over the clips as they are: a measure that hears something else.

    `words` name it; `measure` is told of it alone. `clips` are rows of `Study.clips`, numbered anew, so that `measure`
    may have a study of its own. `features(clip)` are what the encoder takes (None: the clips' own), `context` as in a
    config (None: the analysis' own).
    """

    words: str
    measure: Measure
    clips: pd.DataFrame
    features: Callable[[str], Features] | None = None
    context: str | None = None
