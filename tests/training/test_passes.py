"""The frozen stream at every depth against the stock models, and that it is computed once."""

import numpy as np
import pytest
import torch
from transformers import HubertConfig, HubertForSequenceClassification, WavLMConfig, WavLMForSequenceClassification

from lorascope.models.families.whisper import WhisperClassifier
from lorascope.models.weights.backbone import load_backbone
from lorascope.sound.decoding import Clip
from lorascope.sound.features import LogMel
from lorascope.training.passes import pooled_stream

from ..tiny import mels, tiny_whisper

WAVEFORM = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def test_depths_of_whisper_are_the_stock_models_hidden_states(backbone_folder):
    stock, model = tiny_whisper(), load_backbone(str(backbone_folder)).model
    features = mels(frames=1500)
    with torch.no_grad():
        expected = [hidden.mean(dim=1) for hidden in stock.encoder(features, output_hidden_states=True).hidden_states]
        found = model.pooled_stream(features)
    assert found.shape == (2, 4, 32)
    torch.testing.assert_close(found, torch.stack(expected, dim=1), atol=1e-5, rtol=1e-5)
    assert not any(block._forward_pre_hooks for block in model.blocks)


@pytest.mark.parametrize(
    ("stock", "config"),
    [
        (HubertForSequenceClassification, HubertConfig(**WAVEFORM)),  # LayerNorms on the stream
        (WavLMForSequenceClassification, WavLMConfig(**WAVEFORM, do_stable_layer_norm=True, feat_extract_norm="layer")),
    ],
)
def test_depths_of_encoders_on_waveforms_are_the_stock_models_hidden_states(stock, config, tmp_path):
    torch.manual_seed(0)
    theirs = stock(config).eval()
    theirs.save_pretrained(tmp_path)
    model = load_backbone(str(tmp_path)).model
    waves = torch.randn(2, 8000)
    with torch.no_grad():
        output = theirs.base_model(waves, output_hidden_states=True)
        found = model.pooled_stream(waves)
    # large models: the last of the stock hidden states is not yet through the final LayerNorm, the output is
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    torch.testing.assert_close(found, torch.stack([s.mean(dim=1) for s in states], dim=1), atol=1e-5, rtol=1e-5)


def test_pooling_skips_the_padding_at_every_depth(backbone_folder):
    model = load_backbone(str(backbone_folder)).model
    seen = []
    handle = model.blocks[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        found = model.pooled_stream(mels(), torch.tensor([40, 100]))
    handle.remove()
    torch.testing.assert_close(found[0, 1], seen[0][0, :40].mean(dim=0))


def some_clips(*names):
    random = np.random.default_rng(0)
    return {
        name: Clip(
            f"hash of {name}", 1.0, LogMel(random.normal(size=(80, 61 + 20 * n)).astype(np.float32), 30 + 10 * n)
        )
        for n, name in enumerate(names)
    }


@pytest.fixture
def passed(monkeypatch, tmp_path):
    """How many clips went through the encoder; with a cache of its own."""
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "cache"))
    counts = []
    encode = WhisperClassifier.encode

    def counting(self, features, valid=None):
        counts.append(len(features))
        return encode(self, features, valid)

    monkeypatch.setattr(WhisperClassifier, "encode", counting)
    return counts


def test_the_same_clips_are_encoded_once_whatever_they_are_called(backbone_folder, passed, tmp_path):
    def load():
        return load_backbone(str(backbone_folder))

    clips = some_clips("a", "b", "c")
    first = pooled_stream(load, clips, "trim", 2, "cpu")
    assert sum(passed) == 3
    renamed = {"z": clips["c"], "y": clips["a"], "x": clips["b"], "twin": clips["a"]}
    again = pooled_stream(load, renamed, "trim", 8, "cpu")
    assert sum(passed) == 3
    for new, old in zip(("z", "y", "x", "twin"), ("c", "a", "b", "a"), strict=True):
        np.testing.assert_array_equal(again[new], first[old])
    # another context, other clips and a damaged file are encoded
    pooled_stream(load, {"a": clips["a"]}, "full", 2, "cpu")
    assert sum(passed) == 4
    for file in (tmp_path / "cache" / "pooled").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(pooled_stream(load, clips, "trim", 2, "cpu")["b"], first["b"])
    assert sum(passed) == 7


def test_other_weights_have_their_own_streams(backbone_folder, passed, tmp_path):
    tiny_whisper(seed=9).save_pretrained(tmp_path / "other")
    clips = some_clips("a")
    one, other = (
        pooled_stream(lambda folder=folder: load_backbone(str(folder)), clips, "trim", 2, "cpu")["a"]
        for folder in (backbone_folder, tmp_path / "other")
    )
    assert sum(passed) == 2 and not np.allclose(one, other)
