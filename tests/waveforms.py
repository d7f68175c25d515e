"""Small random encoders on waveforms: wav2vec 2.0, HuBERT and WavLM, in the base (LayerNorms on the stream) and
large (before attention and MLP) layouts.
"""

from __future__ import annotations

import torch
from transformers import (
    HubertForSequenceClassification,
    Wav2Vec2ForSequenceClassification,
    WavLMForSequenceClassification,
)

from .tiny import tiny_waveform_config

STOCK = {
    "wav2vec2": Wav2Vec2ForSequenceClassification,
    "hubert": HubertForSequenceClassification,
    "wavlm": WavLMForSequenceClassification,
}
#: (family, layout) of every kind of encoder.
KINDS = [(family, layout) for family in STOCK for layout in ("base", "large")]


def tiny_waveform_model(family: str, layout: str = "base", layers: int = 3, seed: int = 0):
    """A stock classifier with small random weights, large enough that its parts differ visibly."""
    torch.manual_seed(seed)
    large = layout == "large"
    norm = "layer" if large else "group"
    built = STOCK[family](
        tiny_waveform_config(family, layers=layers, do_stable_layer_norm=large, feat_extract_norm=norm)
    )
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if parameter.dim() == 2 and ("encoder.layers" in name or "projector" in name or "classifier" in name):
                parameter.mul_(8)
            if name.endswith("layer_norm.bias"):
                parameter.normal_(0, 0.3)
    return built.eval()


def waves(frames: list[int], seed: int = 0) -> list[torch.Tensor]:
    """Noise that fills exactly so many frames, [samples] each."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(320 * count + 80, generator=generator) for count in frames]


def padded(clips: list[torch.Tensor], frames: int) -> torch.Tensor:
    """The clips as one batch of so many frames, zeros after their ends."""
    return torch.stack([torch.nn.functional.pad(clip, (0, 320 * frames + 80 - len(clip))) for clip in clips])
