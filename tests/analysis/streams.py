"""A two-layer toy encoder in plain torch that drives a measure by hand, part by part, as tracing does.

It has what the formulas speak of (pre-LN blocks, LoRA on v_proj, a final LayerNorm, a pooled linear head, autograd
gradients) and nothing else. `drive` also keeps every part, so that a test can compute the same number from all of the
data at once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lorascope.analysis.measure import Batch, Factors, Part, Replay, Study
from lorascope.models.interventions import Intervention
from lorascope.models.parts import Block

LAYERS, WIDTH, RANK, MELS, CLASSES = 2, 12, 4, 5, ("anger", "happiness", "sadness")
SCALE = 2.0
MODULE = "v_proj"


class ToyBlock(nn.Module):
    """Pre-LN block: attention without heads, LoRA on its value projection, and an MLP."""

    def __init__(self, adapted: bool) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.v_proj, self.o_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.a = nn.Parameter(torch.randn(RANK, WIDTH) / 3) if adapted else None
        self.b = nn.Parameter(torch.randn(WIDTH, RANK) / 3) if adapted else None

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        x = self.norm_1(h)
        v, side_a, side_b = self.v_proj(x), None, None
        if self.a is not None and self.b is not None:
            side_a = x @ self.a.T
            side_b = side_a @ self.b.T
            v = v + SCALE * side_b
        attention = torch.softmax(x @ x.transpose(1, 2) / WIDTH**0.5, dim=-1) @ self.o_proj(v)
        mlp = self.down(torch.nn.functional.gelu(self.up(self.norm_2(h + attention))))
        return attention, mlp, side_a, side_b


class ToyModel(nn.Module):
    """Embedding, two blocks, final LayerNorm, projector, mean over frames, classifier."""

    def __init__(self, seed: int, adapted: bool = True) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Linear(2 * MELS, WIDTH)
        self.blocks = nn.ModuleList(ToyBlock(adapted) for _ in range(LAYERS))
        self.final_norm = nn.LayerNorm(WIDTH)
        self.head = nn.Sequential(nn.Linear(WIDTH, 6), nn.Linear(6, len(CLASSES)))
        for norm in (m for m in self.modules() if isinstance(m, nn.LayerNorm)):
            nn.init.normal_(norm.weight, 1.0, 0.3)
            nn.init.normal_(norm.bias, 0.0, 0.3)
        self.double()

    def start(self, features: Tensor) -> Tensor:
        clips, mels, twice = features.shape
        pairs = features.reshape(clips, mels, twice // 2, 2).permute(0, 2, 1, 3)
        return self.embed(pairs.reshape(clips, twice // 2, 2 * mels).double())


@dataclass
class Stored:
    """All parts of all clips: `parts[model, name, layer]` is a list, in row order, of [frames, width] (or
    [classes]).
    """

    parts: dict[tuple[str, str, int], list[np.ndarray]]

    def valid(self, study: Study, key: tuple[str, str, int]) -> list[np.ndarray]:
        """The same without each clip's padding frames."""
        return [x[:n] for x, n in zip(self.parts[key], study.clips["frames"], strict=True)]


def make_batches(
    clips: int = 12, lengths: tuple[int, ...] = (6, 9), seed: int = 0, pools_valid: bool = True
) -> list[Batch]:
    """Batches of clips of different lengths with padding; rows are interleaved, as bucketing would leave them."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for i, frames in enumerate(lengths):
        rows = torch.arange(i, clips, len(lengths))
        for chunk in rows.split(4):
            size = len(chunk)
            batches.append(
                Batch(
                    rows=chunk,
                    features=torch.randn(size, MELS, 2 * frames, generator=generator),
                    frames=frames,
                    valid=torch.randint(2, frames + 1, (size,), generator=generator),
                    labels=chunk % len(CLASSES),
                    pools_valid=pools_valid,
                )
            )
    return batches


def make_study(
    models: dict[str, ToyModel], batches: list[Batch], draws: int = 20, speakers: int = 4, **changes
) -> Study:
    """The study that the batches and models amount to."""
    rows = torch.cat([b.rows for b in batches])
    order = torch.argsort(rows)
    labels = torch.cat([b.labels for b in batches])[order].numpy()
    clips = pd.DataFrame(
        {
            "clip": [f"clip{i:03d}" for i in range(len(rows))],
            "speaker": [f"s{i % speakers}" for i in range(len(rows))],
            "emotion": [CLASSES[label] for label in labels],
            "label": labels,
            "frames": torch.cat([b.valid for b in batches])[order].numpy(),
        }
    )
    factors = {
        name: {
            (layer, MODULE): Factors(block.a.detach().double(), block.b.detach().double(), SCALE)
            for layer, block in enumerate(model.blocks)
        }
        for name, model in models.items()
        if model.blocks[0].a is not None
    }
    fields = {
        "clips": clips,
        "classes": CLASSES,
        "models": tuple(models),
        "layers": LAYERS,
        "width": WIDTH,
        "modules": (MODULE,),
        "factors": factors,
        "turnable": tuple(factors.get("trained", ())),
        "draws": draws,
    }
    return Study(**{**fields, **changes})


def drive(measure, models: dict[str, ToyModel], batches: list[Batch], dtype=torch.float64) -> Stored:
    """Feed a measure everything that it asks for, in tracing's order; keep all parts besides."""
    found: dict[tuple[str, str, int], dict[int, np.ndarray]] = defaultdict(dict)
    for batch in batches:
        reference: list[Tensor] | None = None
        for name, model in models.items():
            give = partial(_give, measure, found, name, model, batch, dtype)
            kept = run(model, batch, give)
            if name == "frozen":
                reference = kept
            if measure.replays(name):
                with torch.no_grad():
                    measure.replay(replay_of(name, model, batch, kept, reference))
    return Stored({key: [rows[i] for i in sorted(rows)] for key, rows in found.items()})


def _give(measure, found, name, model, batch, dtype, part: str, layer: int, tensor: Tensor, module: str | None = None):
    for row, values in zip(batch.rows.tolist(), tensor.detach().numpy(), strict=True):
        found[name, part, layer][row] = values

    def final_norm(x: Tensor) -> Tensor:
        return model.final_norm(x.double()).to(x.dtype)

    def head(x: Tensor) -> Tensor:
        return model.head(x.double()).to(x.dtype)

    if part in measure.parts(name):
        measure.update(Part(name, part, layer, module, tensor.detach().to(dtype), batch, final_norm, head))


def run(model: ToyModel, batch: Batch, give) -> list[Tensor]:
    """Forward and backward of one batch; the inputs of the blocks."""
    h = model.start(batch.features)
    kept, sides = [], []
    for layer, block in enumerate(model.blocks):
        kept.append(h.detach())
        give("resid_pre", layer, h)
        attention, mlp, side_a, side_b = block(h)
        if side_a is not None:
            side_b.retain_grad()
            side_a.retain_grad()
            sides.append((layer, side_a, side_b))
            give("lora_a", layer, side_a, MODULE)
            give("lora_b", layer, side_b, MODULE)
        give("attn_out", layer, attention)
        give("mlp_out", layer, mlp)
        h = h + attention + mlp
        give("resid_post", layer, h)
    kept.append(h.detach())
    normed = model.final_norm(h)
    give("final_norm", LAYERS, normed)
    logits = model.head(batch.pool(normed))
    give("logits", LAYERS, logits)
    if sides:
        torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum").backward()
        for layer, side_a, side_b in reversed(sides):
            give("grad_lora_b", layer, side_b.grad, MODULE)
            give("grad_lora_a", layer, side_a.grad, MODULE)
    return kept


def replay_of(name: str, model: ToyModel, batch: Batch, kept: list[Tensor], reference: list[Tensor] | None) -> Replay:
    """The replay that tracing would offer."""

    def block(layer: int, h: Tensor, adapted: bool = True) -> Block:
        assert adapted, "the toy has no switch"
        attention, mlp, _, _ = model.blocks[layer](h)
        return Block(h, attention, h + attention, mlp, h + attention + mlp)

    def run(layer: int, h: Tensor, change: Intervention, _: object = None) -> Tensor:
        for number, block in enumerate(model.blocks[layer:], layer):
            if number not in change.skipped:
                attention, mlp, _, _ = block(h)
                h = h + attention + mlp
        return model.head(batch.pool(model.final_norm(h)))

    return Replay(name, batch, kept, reference, block, run)
