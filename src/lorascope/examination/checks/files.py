"""What the files alone tell."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import torch

from ..examined import Examined
from ..finding import Found, check
from ..names import layer_of

ORDER = 0


@check("not_whole", "files are missing, cut or stand-ins", mend="download, copy or save it again")
def not_whole(examined: Examined) -> Iterator[Found]:
    """A Git LFS pointer, a cut or empty file, a configuration without weights."""
    for damage in examined.patient.damages:
        size = f" ({damage.size} bytes)" if damage.size else ""
        evidence = {"file": damage.file, "size": damage.size}
        yield Found(f"{damage.file}{size} {damage.what}: the adapter cannot be loaded", evidence)


@check(
    "not_finite", "numbers that are none", ["whole_files"], mend="take an earlier checkpoint; train in bf16 or float32"
)
def not_finite(examined: Examined) -> Iterator[Found]:
    """NaN or infinity; infinity in half precision is an overflow of it."""
    bad, total, dtype = {}, 0, ""
    for name, tensor in examined.patient.tensors():
        total += 1
        wrong = int((~torch.isfinite(tensor.float())).sum())
        if wrong:
            bad[name] = wrong
            overflow = tensor.dtype == torch.float16 and bool(torch.isinf(tensor).any())
            dtype = ", an overflow of the float16 that it is stored in" if overflow else dtype
    if bad:
        first = next(iter(bad))
        layers = sorted({layer for name in bad if (layer := layer_of(name)) is not None})
        yield Found(
            f"{len(bad)} of {total} tensors hold NaN or infinity{dtype}, {first} first ({bad[first]} values): every "
            "answer is NaN",
            {"tensors": bad, "of": total},
            layers,
        )


@check(
    "twins", "copies of each other", ["whole_files", "finite"], mend="train it again; look at how it was initialised"
)
def twins(examined: Examined) -> Iterator[Found]:
    """Equal tensors of the same role and shape; constant ones (zeros, ones) and those that a method shares are none."""
    seen: dict[tuple[str, bytes], str] = {}
    pairs = []
    for name, tensor in examined.patient.tensors():
        layer = layer_of(name)
        if layer is None or tensor.numel() < 8 or "vera_A" in name or "vera_B" in name:
            continue
        if examined.patient.kind == "whole" and tensor.dim() < 2:
            continue
        values = tensor.float()
        if bool((values == values.flatten()[0]).all()):
            continue
        digest = (str(tuple(tensor.shape)), sha256(values.contiguous().numpy().tobytes()).digest())
        if digest in seen and "ia3_l" in name and layer_of(seen[digest]) == layer:
            # scaling the queries is the same as scaling the keys, so both factors get the same gradients
            continue
        if digest in seen:
            pairs.append((seen[digest], name))
        else:
            seen[digest] = name
    if pairs:
        layers = sorted({layer for pair in pairs for name in pair if (layer := layer_of(name)) is not None})
        yield Found(
            f"{len(pairs)} tensors are copies of others ({pairs[0][1]} of {pairs[0][0]} first): what differs between "
            "these layers was not trained, or was overwritten",
            {"pairs": [list(pair) for pair in pairs]},
            layers,
        )
