"""Weights that bitsandbytes quantised (8 bits, nf4, fp4), told as the numbers that they stand for; the library is not
needed.

8 bits (Dettmers et al. 2022): a row is its int8 codes times its scale `SCB` / 127. 4 bits (Dettmers et al. 2023): two
codes a byte, the high half first, each an index into `quant_map`, times the `absmax` of its block of weights; with
double quantisation `absmax` itself is an index into `nested_quant_map`, times `nested_absmax` of its block, plus an
offset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ...errors import LorascopeError

#: What a floating-point weight's dtype is called in a safetensors file.
PLAIN = frozenset({"F16", "F32", "F64", "BF16"})
STATE = ".quant_state.bitsandbytes__"


def dequantised(target: str) -> tuple[dict[str, Tensor] | None, str]:
    """The tensors of a folder whose config.json speaks of quantisation, float32, and what was done in words; None where
    they are plain numbers already.

    Raises `LorascopeError` where they are quantised otherwise than by bitsandbytes, or cannot be seen (a hub id, .bin).
    """
    files = sorted(Path(target).expanduser().glob("*.safetensors"))
    kinds = set()
    for path in files:
        with safe_open(path, framework="pt") as tensors:
            kinds |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    if files and kinds <= PLAIN:
        return None, ""
    tensors = {name: tensor for path in files for name, tensor in load_file(path).items()}
    try:
        found, kind = from_bitsandbytes(tensors)
    except (KeyError, ValueError, RuntimeError, IndexError) as error:
        raise LorascopeError(
            f"backbone {target}: its weights are quantised (quantization_config in config.json), and not as "
            "bitsandbytes writes them in .safetensors; give the unquantised model, or save one by model.dequantize() "
            "and save_pretrained where the quantising library is installed"
        ) from error
    return (
        found,
        f"The backbone's weights are quantised ({kind}); what is measured are the numbers that they stand for.",
    )


def from_bitsandbytes(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Plain float32 tensors by their names, and the kind of quantisation. Raises KeyError, ValueError, IndexError or
    RuntimeError where they are none of bitsandbytes'.
    """
    plain: dict[str, Tensor] = {}
    kinds: dict[str, None] = {}
    for name, tensor in tensors.items():
        state = next((key for key in tensors if key.startswith(name + STATE)), None)
        if state is not None:
            plain[name] = _from_4_bits(name, tensors, json.loads(bytes(tensors[state].tolist())))
            kinds[state.removeprefix(name + STATE)] = None
        elif tensor.dtype == torch.int8:
            scales = tensors[f"{name.removesuffix('weight')}SCB"]
            plain[name] = tensor.float() * (scales.float() / 127)[:, None]
            kinds["8 bits"] = None
        elif tensor.is_floating_point() and not _belongs_to_another(name, tensors):
            plain[name] = tensor.float()
    if not kinds or any(tensor.dtype.itemsize == 1 and tensor.is_floating_point() for tensor in tensors.values()):
        raise ValueError("none of the layouts of bitsandbytes")
    return plain, f"bitsandbytes, {' and '.join(kinds)}"


def _from_4_bits(name: str, tensors: Mapping[str, Tensor], state: Mapping[str, object]) -> Tensor:
    absmax = tensors[f"{name}.absmax"]
    if absmax.dtype == torch.uint8:
        absmax = tensors[f"{name}.nested_quant_map"].float()[absmax.long()]
        absmax = _scaled(absmax, tensors[f"{name}.nested_absmax"].float(), int(str(state["nested_blocksize"])))
        absmax = absmax + float(str(state["nested_offset"]))
    packed = tensors[name].flatten()
    codes = torch.stack([packed >> 4, packed & 0xF], dim=1).flatten().long()
    values = tensors[f"{name}.quant_map"].float()[codes]
    shape = [int(size) for size in state["shape"]]  # pyright: ignore[reportGeneralTypeIssues]
    # an odd number of weights has half a byte more
    return _scaled(values, absmax.float(), int(str(state["blocksize"])))[: torch.Size(shape).numel()].reshape(shape)


def _scaled(values: Tensor, scales: Tensor, block: int) -> Tensor:
    """Each block of [values] times its scale."""
    return values * scales.repeat_interleave(block)[: len(values)]


def _belongs_to_another(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a tensor tells how another one is read."""
    if name.endswith("SCB"):
        return f"{name.removesuffix('SCB')}weight" in tensors
    owner, _, what = name.rpartition(".")
    return what in ("absmax", "quant_map", "nested_absmax", "nested_quant_map") and owner in tensors
