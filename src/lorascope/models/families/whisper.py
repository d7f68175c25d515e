"""Whisper's encoder: its classifier at any context length, and where its parts lie.

`WhisperClassifier` is the stock `WhisperForAudioClassification` with two freedoms: the encoder takes inputs shorter
than 30 s, and the mean over frames may skip the padding. Parameter names are the stock ones, so what is saved here
loads there and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import WhisperForAudioClassification

from ...sound.features import LogMelSettings
from ..classifier import SpeechClassifier
from ..parts import Block, EncoderParts
from .family import Family


@contextmanager
def context_length(encoder: Any, frames: int) -> Iterator[None]:
    """Let a Whisper encoder take exactly `frames` frames (2 * frames mel columns); the old
    length is restored on leaving.

    The encoder adds the first `frames` rows of its position table; nothing is copied and no weight changes.
    """
    before = (encoder.config.max_source_positions, encoder.embed_positions.num_embeddings)
    if frames > encoder.embed_positions.weight.shape[0]:
        raise ValueError(f"{frames} frames, but the encoder knows {encoder.embed_positions.weight.shape[0]} positions")
    encoder.config.max_source_positions = encoder.embed_positions.num_embeddings = frames
    try:
        yield
    finally:
        encoder.config.max_source_positions, encoder.embed_positions.num_embeddings = before


class WhisperClassifier(SpeechClassifier, WhisperForAudioClassification):
    """`WhisperForAudioClassification` for any context length, pooling over the valid frames when
    told how many there are.
    """

    trunk = "encoder"
    stock = WhisperForAudioClassification
    has_window = True
    linears: ClassVar = {
        "q_proj": "self_attn.q_proj",
        "k_proj": "self_attn.k_proj",
        "v_proj": "self_attn.v_proj",
        "out_proj": "self_attn.out_proj",
        "fc1": "fc1",
        "fc2": "fc2",
    }

    @property
    def blocks(self) -> Any:
        """The encoder's blocks, in order."""
        return self.encoder.layers

    def encode(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encoder output after the final LayerNorm, [clips, frames, width], of log-mels [clips, mels, 2 * frames];
        Whisper attends to padding, so `valid` changes nothing.
        """
        convolutions: tuple[Any, ...] = (self.encoder.conv1, self.encoder.conv2)
        for convolution in convolutions:
            if not hasattr(convolution, "stride"):
                # an adapter's layer around it, which has not what the encoder asks a convolution for
                convolution.stride = convolution.get_base_layer().stride
        with context_length(self.encoder, features.shape[-1] // 2):
            return self.encoder(features).last_hidden_state


class WhisperParts(EncoderParts):
    """The parts of a Whisper encoder: LayerNorms before attention and MLP, one more at the end."""

    attention = "self_attn"
    mlp = "fc2"

    def stack(self, classifier: Any) -> Any:
        """The encoder itself."""
        return classifier.encoder

    def stem(self) -> list[tuple[Any, bool]]:
        """Both convolutions; the second alone reads the first."""
        encoder = self.classifier.encoder_module
        return [(encoder.conv1, False), (encoder.conv2, True)]

    def final_norm(self, hidden: Tensor) -> Tensor:
        """The encoder's last LayerNorm on [..., width], without calling the module."""
        norm = self.classifier.encoder_module.layer_norm
        return nn.functional.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def run_block(self, layer: int, hidden: Tensor, valid: Tensor | None) -> Block:
        """One block's parts on resid_pre [clips, frames, width]; every frame is attended to."""
        block = self.blocks[layer]
        attn_out = block.self_attn(hidden_states=block.self_attn_layer_norm(hidden), attention_mask=None)[0]
        middle = hidden + attn_out
        mlp_out = block.fc2(block.activation_fn(block.fc1(block.final_layer_norm(middle))))
        return Block(hidden, attn_out, middle, mlp_out, middle + mlp_out)


FAMILY = Family(
    "Whisper",
    WhisperClassifier,
    WhisperParts,
    lambda model, _: LogMelSettings(model.config.num_mel_bins, model.config.max_source_positions),
)
