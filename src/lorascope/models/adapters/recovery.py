"""LoRA that was merged into a checkpoint, recovered: the difference from the backbone, matrix by matrix, as two factors
where it is of low rank.

A merged checkpoint was rounded to its number format, and rounding has full rank. So a direction counts where its
singular value is above what rounding alone can have, which is known from the format and the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

#: Singular values up to so many times the largest that rounding is expected to have are rounding.
MARGIN = 1.5
#: Energy that may remain beside rounding, as a share of the difference's own.
REMAINDER = 1e-6

FORMATS = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Pair:
    """A difference B·A of one matrix: A = Σ^½Vᵀ [rank, in], B = UΣ^½ [out, rank]; `residual` is |difference - B·A|
    / |difference| (Frobenius).
    """

    a: Tensor
    b: Tensor
    residual: float

    @property
    def rank(self) -> int:
        """Number of directions."""
        return self.a.shape[0]


@dataclass(frozen=True)
class Recovered:
    """What a checkpoint changed of an encoder. `pairs` are the changed linear layers of its blocks that are of low
    rank, by the module's name.

    `changed` names every parameter that differs by more than rounding; `full` those of them that are matrices
    and not of low rank, or lie outside of those linear layers; `rounded` counts parameters that differ by
    rounding to `dtype` alone.
    """

    pairs: dict[str, Pair]
    changed: tuple[str, ...]
    full: tuple[str, ...]
    rounded: int
    dtype: torch.dtype
    others: tuple[str, ...] = field(default=())

    @property
    def low_rank(self) -> bool:
        """Whether everything that changed beside vectors (biases, LayerNorms) is of low rank."""
        return bool(self.pairs) and not self.full


def recover(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], linears: frozenset[str]) -> Recovered:
    """Compare an encoder's parameters with a checkpoint's; `linears` are the names of the linear layers
    whose difference may be LoRA.
    """
    dtype = format_of(tuned.values())
    pairs: dict[str, Pair] = {}
    changed, full, others, rounded = [], [], [], 0
    for name, before in base.items():
        after = tuned[name]
        if torch.equal(before, after):
            continue
        if dtype is not torch.float32 and bool(((after - before).abs() <= spacing(after, dtype)).all()):
            rounded += 1
            continue
        changed.append(name)
        module = name.removesuffix(".weight")
        pair = factor(before, after, dtype) if name.endswith(".weight") and module in linears else None
        if pair is not None:
            pairs[module] = pair
        elif before.dim() > 1:
            full.append(name)
        else:
            others.append(name)
    return Recovered(pairs, tuple(changed), tuple(full), rounded, dtype, tuple(others))


def in_words(found: Recovered, places: dict[str, tuple[int, str]], parameters: int) -> tuple[str, ...]:
    """What was found in a checkpoint, in sentences; `places` are layer and module of every pair, `parameters`
    counts those of the encoder.
    """
    format_name = str(found.dtype).removeprefix("torch.")
    notes = []
    if found.low_rank:
        ranks: dict[str, list[str]] = {}
        for name, (layer, module) in sorted(places.items(), key=lambda item: item[1][::-1]):
            ranks.setdefault(module, []).append(f"{layer}: {found.pairs[name].rank}")
        listed = "; ".join(f"{module} ({', '.join(each)})" for module, each in ranks.items())
        worst = max(pair.residual for pair in found.pairs.values())
        notes.append(
            "A merged checkpoint: its difference from the backbone is of low rank, and its factors were "
            f"recovered (stored as {format_name}). Rank by layer: {listed}. "
            f"What the factors leave of a difference is at most {worst:.1e} of it. Their gauge is the balanced "
            "one, not that of training."
        )
    else:
        full = f", {len(found.full)} of them matrices of no low rank ({found.full[0]} first)" if found.full else ""
        notes.append(
            f"A whole checkpoint: {len(found.changed)} of {parameters} encoder parameters differ "
            f"from the backbone's{full}; "
            "it is analysed as changed weights, not as low-rank factors."
        )
    if found.low_rank and found.others:
        notes.append(
            f"Beside the factors {len(found.others)} vectors changed ({found.others[0]} first); they are part "
            "of every model but the frozen one."
        )
    if found.rounded:
        notes.append(
            f"{found.rounded} parameters differ from the backbone's by no more than rounding to {format_name}; "
            "they are taken as unchanged."
        )
    return tuple(notes)


def factor(before: Tensor, after: Tensor, dtype: torch.dtype) -> Pair | None:
    """The difference of two matrices [out, in] as balanced factors; None where it has more than half of the full
    rank, or none above rounding.

    `after` was rounded to `dtype`. Rounding to a spacing s adds noise of variance s²/12; noise of independent entries
    has singular values up to about the largest root sum of variances of a row plus that of a column (Bandeira & van
    Handel 2016; Marchenko-Pastur's edge where all are alike). Directions above `MARGIN` times that are kept, and what
    remains must have no more energy than twice the noise's, and `REMAINDER` of the difference's.
    """
    difference = after.double() - before.double()
    noise = spacing(after, dtype).double() ** 2 + spacing(difference.float(), dtype).double() ** 2
    if not torch.equal(before, before.to(dtype).to(before.dtype)):
        noise = noise + spacing(before, dtype).double() ** 2
    noise = noise / 12
    edge = MARGIN * float(noise.sum(1).max().sqrt() + noise.sum(0).max().sqrt())
    u, sigma, v = torch.linalg.svd(difference, full_matrices=False)
    rank = int((sigma > edge).sum())
    energy = float((sigma**2).sum())
    remainder = float((sigma[rank:] ** 2).sum())
    if not 0 < rank <= len(sigma) // 2 or remainder > 2 * float(noise.sum()) + REMAINDER * energy:
        return None
    root = sigma[:rank].sqrt()
    a, b = root[:, None] * v[:rank], u[:, :rank] * root
    return Pair(a.float(), b.float(), (remainder / energy) ** 0.5)


def format_of(tensors: object) -> torch.dtype:
    """The coarsest number format that holds all values exactly: bfloat16, float16, else float32."""
    tensors = list(tensors)  # pyright: ignore[reportCallIssue, reportArgumentType]
    for dtype in FORMATS:
        if all(torch.equal(tensor, tensor.to(dtype).to(tensor.dtype)) for tensor in tensors):
            return dtype
    return torch.float32


def spacing(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Distance of neighbouring numbers of a format around each value, in the shape of `values`."""
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(values.float())
    return (torch.exp2((exponent - 1).float()) * info.eps).clamp_min(info.tiny * info.eps)
