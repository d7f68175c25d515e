"""Small random encoders on waveforms: wav2vec 2.0, HuBERT and WavLM, in the base (LayerNorms on the stream) and large (before attention and MLP) layouts."""

from __future__ import annotations

import torch
from transformers import (
    HubertConfig,
    HubertForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2ForSequenceClassification,
    WavLMConfig,
    WavLMForSequenceClassification,
)

from .tiny import CLASSES

STOCK = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2ForSequenceClassification),
    "hubert": (HubertConfig, HubertForSequenceClassification),
    "wavlm": (WavLMConfig, WavLMForSequenceClassification),
}
#: (family, layout) of every kind of encoder.
KINDS = [(family, layout) for family in STOCK for layout in ("base", "large")]


def tiny_waveform_model(family: str, layout: str = "base", layers: int = 3, seed: int = 0):
    """A stock classifier with small random weights, large enough that its parts differ visibly."""
    config, model = STOCK[family]
    torch.manual_seed(seed)
    built = model(
        config(
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=64,
            conv_dim=(16,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            classifier_proj_size=16,
            do_stable_layer_norm=layout == "large",
            feat_extract_norm="layer" if layout == "large" else "group",
            id2label=dict(enumerate(CLASSES)),
            label2id={name: index for index, name in enumerate(CLASSES)},
        )
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
