"""What encoders on waveforms (wav2vec 2.0, HuBERT, WavLM) share: an emotion head such that padding changes nothing, and
where their parts lie.

Each family's class is the stock `...ForSequenceClassification` with the stock parameter names. A clip in a batch gives
what it gives alone: padding is never attended to nor pooled over, and where the first convolution is normalised over
time (base models), only a clip's own samples count. The stock classes have that only without padding. Three further
differences, in training: no SpecAugment, no LayerDrop (both would make runs of different methods less alike), and
WavLM's attention calls its projections as modules: the stock class reads their weights past any adapter
(`torch.nn.functional.multi_head_attention_forward`), so that LoRA on its q, k, v and output projections has no effect
there. LayerNorms lie before attention and MLP (large models) or on the stream after them (base).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from ...sound.features import WaveformSettings
from ..classifier import SpeechClassifier
from ..parts import Block, EncoderParts

LINEARS = {
    "q_proj": "attention.q_proj",
    "k_proj": "attention.k_proj",
    "v_proj": "attention.v_proj",
    "out_proj": "attention.out_proj",
    "fc1": "feed_forward.intermediate_dense",
    "fc2": "feed_forward.output_dense",
}


def samples_of(frames: int, config: Any) -> int:
    """Samples that give exactly so many frames of the convolutions (320 a frame and 80 more, in the published
    models).
    """
    samples = frames
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


class ClipGroupNorm(nn.GroupNorm):
    """The normalisation over time of the first convolution of base models, over each clip's own columns alone.

    `columns` [clips] is set for one forward, and in training for its backward; None normalises over all columns, as the
    stock module does. One group a channel, as in all published models.
    """

    columns: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """[clips, channels, columns], normalised for each clip and channel."""
        if self.columns is None or bool((self.columns == input.shape[-1]).all()):
            return super().forward(input)
        mask = (torch.arange(input.shape[-1], device=input.device) < self.columns[:, None])[:, None].to(input.dtype)
        count = self.columns[:, None, None].to(input.dtype)
        mean = (input * mask).sum(-1, keepdim=True) / count
        variance = (((input - mean) * mask) ** 2).sum(-1, keepdim=True) / count
        normal = (input - mean) / torch.sqrt(variance + self.eps)
        return normal * self.weight[:, None] + self.bias[:, None]


class WaveformClassifier(SpeechClassifier):
    """What the three families share."""

    has_window = False
    linears: ClassVar = LINEARS

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        # the masks of SpecAugment and the layers that LayerDrop skips would differ from method to method
        config.apply_spec_augment = False
        config.layerdrop = 0.0
        if config.feat_extract_norm == "group":
            self.encoder_module.feature_extractor.conv_layers[0].layer_norm.__class__ = ClipGroupNorm

    @property
    def blocks(self) -> Any:
        """The encoder's blocks, in order."""
        return self.encoder_module.encoder.layers

    def last_depth_is_normed(self) -> bool:
        """What `sums_normed` is in the version of transformers that is installed: asked of the stock encoder itself."""
        with torch.no_grad():
            found = self.encoder_module(torch.ones(1, samples_of(2, self.config)), output_hidden_states=True)
        return torch.equal(found.hidden_states[-1], found.last_hidden_state)

    def encode(self, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encoder output [clips, frames, width] of waveforms [clips, samples]; `valid` [clips] counts each clip's own
        frames (None: all are).
        """
        trunk = self.encoder_module
        norm = getattr(trunk.feature_extractor.conv_layers[0], "layer_norm", None)
        if valid is None:
            if isinstance(norm, ClipGroupNorm):
                norm.columns = None
            return trunk(features).last_hidden_state
        samples = torch.arange(features.shape[-1], device=features.device)
        lengths = torch.tensor(
            [samples_of(int(count), self.config) for count in valid.tolist()], device=features.device
        )
        if isinstance(norm, ClipGroupNorm):
            norm.columns = (lengths - self.config.conv_kernel[0]) // self.config.conv_stride[0] + 1
        try:
            return trunk(features, attention_mask=(samples < lengths[:, None]).long()).last_hidden_state
        finally:
            # a backward pass may compute the convolutions again (gradient checkpointing), and then needs the clips' own
            # columns
            if isinstance(norm, ClipGroupNorm) and not (self.training and torch.is_grad_enabled()):
                norm.columns = None


class WaveformParts(EncoderParts):
    """The parts of a wav2vec 2.0 or HuBERT encoder."""

    attention = "attention"
    mlp = "feed_forward"
    middle_norm = "layer_norm"

    def __init__(self, peft: Any) -> None:
        super().__init__(peft)
        self.post_norm = not self.classifier.config.do_stable_layer_norm

    def stack(self, classifier: Any) -> Any:
        """The Transformer within the encoder."""
        return getattr(classifier, self.classifier.trunk).encoder

    def stem(self) -> list[tuple[Any, bool]]:
        """The convolutions on the waveform, and the one that gives positions."""
        trunk = self.classifier.encoder_module
        return [(trunk.feature_extractor, True), (trunk.encoder.pos_conv_embed, True)]

    def final_norm(self, hidden: Tensor) -> Tensor:
        """The last LayerNorm on [..., width] of models with LayerNorms before attention and MLP; the others have none,
        and the stream is the output.
        """
        if self.post_norm:
            return hidden
        norm = self.stack(self.classifier).layer_norm
        return nn.functional.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

    def run_block(self, layer: int, hidden: Tensor, valid: Tensor | None) -> Block:
        """One block's parts on resid_pre [clips, frames, width]; only the first `valid` [clips] frames are attended
        to.
        """
        block = self.blocks[layer]
        if self.post_norm:
            attn_out = self.attend(block, hidden, valid)
            middle = block.layer_norm(hidden + attn_out)
            mlp_out = block.feed_forward(middle)
            return Block(hidden, attn_out, middle, mlp_out, block.final_layer_norm(middle + mlp_out))
        attn_out = self.attend(block, block.layer_norm(hidden), valid)
        middle = hidden + attn_out
        mlp_out = block.feed_forward(block.final_layer_norm(middle))
        return Block(hidden, attn_out, middle, mlp_out, middle + mlp_out)

    def attend(self, block: Any, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """attn_out of a block on what its attention takes, [clips, frames, width]."""
        # by place: the second one's name is not the same in all versions of transformers
        mask = create_bidirectional_mask(self.classifier.config, hidden, speech_mask(hidden, valid))
        return block.attention(hidden, attention_mask=mask)[0]


def speech_mask(hidden: Tensor, valid: Tensor | None) -> Tensor | None:
    """True on each clip's own frames, [clips, frames]; None where all are."""
    if valid is None:
        return None
    return torch.arange(hidden.shape[1], device=hidden.device)[None, :] < valid[:, None]


def waveforms(model: SpeechClassifier, normalise: bool) -> WaveformSettings:
    """What the encoder takes; `normalise` brings each clip to zero mean and unit variance."""
    one, two = (samples_of(frames, model.config) for frames in (1, 2))
    return WaveformSettings(normalise, one, two - one)
