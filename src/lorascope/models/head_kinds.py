"""What of the encoder a head reads: its last depth (the paper's), a weighted sum of all depths (SUPERB's), or all of
them side by side.
"""

from __future__ import annotations

import torch
from torch import nn

from .classifier import SpeechClassifier

#: The parameter of a head that sums over depths: no module, so PEFT neither trains nor saves it by itself.
DEPTH_WEIGHTS = "layer_weights"


def read_depths(model: SpeechClassifier, head: str) -> SpeechClassifier:
    """Give a model a head of a kind ("last", "layer_sum", "concatenated") in place. Its weights are still to be drawn
    or loaded, but for those of depths, which are alike.

    What the last of summed depths is depends on the version of transformers, as for the stock class
    (`last_depth_is_normed`); a concatenated one is always the encoder's output.
    """
    depths = model.config.num_hidden_layers + 1
    if head == "layer_sum":
        model.config.use_weighted_layer_sum = True
        model.layer_weights = nn.Parameter(torch.zeros(depths, device=model.projector.weight.device))
        model.sums_normed = model.last_depth_is_normed()
    elif head == "concatenated":
        model.concatenates = True
        model.projector = nn.Linear(model.config.hidden_size * depths, model.projector.out_features)
    return model


def kind_of(model: SpeechClassifier) -> str:
    """What `read_depths` made of a model."""
    return "concatenated" if model.concatenates else "layer_sum" if model.config.use_weighted_layer_sum else "last"
