"""Small real models and sound for the tests: Whisper's own architecture with few, random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    HubertConfig,
    Wav2Vec2Config,
    WavLMConfig,
    WhisperConfig,
    WhisperForAudioClassification,
)

CLASSES = ("anger", "happiness", "neutrality", "sadness")


def tiny_config(classes=CLASSES, layers=3, width=32, heads=4, **changes) -> WhisperConfig:
    return WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=2 * width,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=2 * width,
        vocab_size=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        classifier_proj_size=16,
        id2label=dict(enumerate(classes)),
        label2id={name: index for index, name in enumerate(classes)},
        **changes,
    )


def tiny_whisper(seed=0, **settings) -> WhisperForAudioClassification:
    """A random classifier whose weights are large enough that its parts differ visibly."""
    torch.manual_seed(seed)
    model = WhisperForAudioClassification(tiny_config(**settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed_positions" not in name:
                parameter.mul_(5)
    return model.eval()


WAVEFORM_CONFIGS = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig, "wavlm": WavLMConfig}


def tiny_waveform_config(family="wav2vec2", classes=CLASSES, layers=2, width=32, **changes):
    """A small encoder on waveforms with the convolutions of the published models, but narrow."""
    return WAVEFORM_CONFIGS[family](
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        classifier_proj_size=16,
        vocab_size=64,
        id2label=dict(enumerate(classes)),
        label2id={name: index for index, name in enumerate(classes)},
        **changes,
    )


def enlarged(model, factor=5.0):
    """The same model with larger matrices in its blocks and head, so that its parts differ visibly, in eval mode."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "embed_positions" not in name:
                parameter.mul_(factor)
    return model.eval()


def plain_adapter(model, seed=1, rank=4, targets=("v_proj",), **settings) -> PeftModel:
    """An adapter as anybody would make it with PEFT, with factors and head that are not zero."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=list(targets),
        modules_to_save=["projector", "classifier"],
        **settings,
    )
    peft = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return peft.eval()


def mels(clips=2, frames=100, seed=0, bins=80) -> torch.Tensor:
    return torch.randn(clips, bins, 2 * frames, generator=torch.Generator().manual_seed(seed))


def write_tone(path: Path, hertz=220.0, seconds=0.6, rate=16_000, seed=0) -> Path:
    """A tone in noise, as a sound file."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time) + 0.01 * random.standard_normal(len(time)), rate)
    return path
