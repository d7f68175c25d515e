"""A head that an adapter changes by factors (LoRA on `projector`, `classifier`), told as the linear layers that it
amounts to, so that all who read a head's weights read what the model computes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor, nn

from .reading import HEAD


def settle_head(peft: PeftModel) -> None:
    """Replace adapted layers of the head by a trained copy beside the original; PEFT switches it with the adapter."""
    model: Any = peft.get_base_model()
    for name in HEAD:
        part = getattr(model, name)
        if isinstance(part, BaseTunerLayer):
            trained = effective(part)
            own: Any = part.get_base_layer()
            wrapper = ModulesToSaveWrapper(own, "default")
            copied: Any = wrapper.modules_to_save["default"]
            copied.load_state_dict(trained.state_dict())
            wrapper.set_adapter("default")
            setattr(model, name, wrapper)


def effective(layer: Any) -> nn.Linear:
    """The linear layer that an adapted one computes in eval mode, W' = W + ΔW, b' = b + Δb; found by asking it for the
    image of every unit vector, so that it holds for any kind of adapter that leaves the layer linear.
    """
    base: Any = layer.get_base_layer()
    was, width = layer.training, base.in_features
    layer.eval()
    with torch.no_grad():
        zero = torch.zeros(1, 1, width, device=base.weight.device, dtype=base.weight.dtype)
        bias: Tensor = layer(zero)[0, 0]
        images: Tensor = layer(torch.eye(width, device=base.weight.device, dtype=base.weight.dtype)[None])[0]
    layer.train(was)
    found = copy.deepcopy(base)
    with torch.no_grad():
        found.weight.copy_((images - bias).T)
        if found.bias is not None:
            found.bias.copy_(bias)
    return found
