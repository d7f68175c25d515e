"""What an adapter of any kind makes of the linear layers of the blocks, as a matrix: W and ΔW, from what they compute.

No kind of adapter is known by name here. A linear layer is x ↦ M x + c whatever makes M, so M is read off its answers
to the unit vectors, with the adapter on and off.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor

from .adapters.tuned import TunedModel
from .parts import MODULES, EncoderParts

#: Layer and module of a linear layer of the blocks.
Key = tuple[int, str]
#: What a layer's answer may differ from M x + c by, as a share of it, before it is none of a linear layer.
ROUNDING = 1e-4


def turnable(parts: EncoderParts) -> list[Key]:
    """(layer, module) of every linear layer of the blocks with an adapter of any kind on it, in forward order."""
    name = str(parts.peft.active_adapter)
    return [key for key in _linears(parts) if _is_tuned(parts.linear(*key), name)]


def changed(parts: EncoderParts) -> list[Key]:
    """Those, and every one whose own weight was changed."""
    tuned = set(turnable(parts))
    whole = parts.peft.changes if isinstance(parts.peft, TunedModel) else lambda parameter: False
    return [key for key in _linears(parts) if key in tuned or whole(parts.linear(*key).weight)]


def turns_all(parts: EncoderParts) -> bool:
    """Whether every adapted layer within the blocks is one of `turnable`, so that with all of them off the blocks are
    the frozen ones.
    """
    kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
    inside = {id(module) for block in parts.blocks for module in block.modules() if isinstance(module, kinds)}
    return inside == {id(parts.linear(*key)) for key in turnable(parts)}


@torch.no_grad()
def why_no_update(parts: EncoderParts) -> str | None:
    """Why there is no ΔW of this adapter; None where there is one."""
    found = changed(parts)
    if not found:
        return "no linear layer of the blocks is changed, so there is no ΔW"
    if not parts.is_pair(*found[0]):
        weight, update = update_of(parts, *found[0])
        probe = torch.randn(1, weight.shape[1], generator=torch.Generator().manual_seed(0))
        linear = _copy(parts, *found[0], double=False)
        answer, nothing = linear(probe), linear(probe * 0)
        expected = probe @ (weight + update).T.float()
        if float((answer - nothing - expected).norm()) > ROUNDING * float(answer.norm()):
            return "what its layers add is not linear in their input, so there is no ΔW"
    return None


@torch.no_grad()
def update_of(parts: EncoderParts, layer: int, module: str) -> tuple[Tensor, Tensor]:
    """W and ΔW [width_out, width_in] of one linear layer, float64, on the CPU; meaningless where `why_no_update`."""
    matrices = []
    for on in (False, True):
        with parts.adapter(on):
            try:
                matrices.append(_matrix(_copy(parts, layer, module, double=True)))
            except RuntimeError:  # a few kinds compute in float32 whatever they are given
                matrices.append(_matrix(_copy(parts, layer, module, double=False)))
    return matrices[0], matrices[1] - matrices[0]


def _copy(parts: EncoderParts, layer: int, module: str, double: bool) -> Any:
    """A layer beside the model, which is to stay in its own precision and place."""
    linear = copy.deepcopy(parts.linear(layer, module)).cpu().float()
    return linear.double() if double else linear


def _matrix(linear: Any) -> Tensor:
    kind = next(linear.parameters()).dtype
    units = torch.eye(linear.in_features, dtype=kind)
    return (linear(units) - linear(units[:1] * 0)).T.double()


def _linears(parts: EncoderParts) -> list[Key]:
    return [(layer, module) for layer in range(parts.layers) for module in MODULES]


def _is_tuned(linear: Any, adapter: str) -> bool:
    return isinstance(linear, BaseTunerLayer) and any(adapter in getattr(linear, n) for n in linear.adapter_layer_names)
