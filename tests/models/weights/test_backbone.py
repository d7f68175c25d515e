import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import WhisperForAudioClassification, WhisperForConditionalGeneration

from lorascope.corpora import load_corpus
from lorascope.errors import LorascopeError
from lorascope.models.weights import wheels as offline
from lorascope.models.weights.backbone import hub_id, load_backbone
from lorascope.work.sources import prepare

from ...tiny import CLASSES, mels, tiny_config, tiny_whisper
from ...waveforms import tiny_waveform_model


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("lorascope.models.weights.backbone._cached", lambda target: False)
    monkeypatch.setattr(
        "lorascope.models.weights.backbone.hub_refuses", lambda target: "the hub cannot be reached (ConnectError)"
    )


@pytest.mark.parametrize("sharded", [False, True])
def test_a_generation_checkpoint_gives_its_encoder(tmp_path, sharded):
    torch.manual_seed(0)
    source = WhisperForConditionalGeneration(tiny_config())
    source.save_pretrained(tmp_path, max_shard_size="100KB" if sharded else "1GB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == sharded
    backbone = load_backbone(str(tmp_path), CLASSES)
    state = backbone.model.encoder.state_dict()
    for name, tensor in source.model.encoder.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert not backbone.has_head and backbone.origin == "folder"
    assert backbone.model.config.num_labels == 4


def test_a_classification_folder_keeps_its_head_and_labels(tmp_path):
    source = tiny_whisper(classes=("sad", "ang"))
    source.save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    assert backbone.has_head and backbone.labels == ("sad", "ang")
    assert torch.equal(backbone.model.classifier.weight, source.classifier.weight)


def test_new_classes_draw_a_new_head_from_the_seed(tmp_path):
    tiny_whisper(classes=("sad", "ang")).save_pretrained(tmp_path)
    one, same, other = (load_backbone(str(tmp_path), CLASSES, seed) for seed in (1, 1, 2))
    assert one.model.classifier.weight.shape[0] == 4
    assert torch.equal(one.model.classifier.weight, same.model.classifier.weight)
    assert not torch.equal(one.model.classifier.weight, other.model.classifier.weight)
    assert one.fingerprint == other.fingerprint


def test_the_fingerprint_sees_one_changed_weight(tmp_path):
    source = tiny_whisper()
    source.save_pretrained(tmp_path / "a")
    with torch.no_grad():
        source.encoder.layers[1].fc1.bias[3] += 1e-3
    source.save_pretrained(tmp_path / "b")
    assert load_backbone(str(tmp_path / "a")).fingerprint != load_backbone(str(tmp_path / "b")).fingerprint


def test_short_names_are_openais():
    assert hub_id("whisper-base") == "openai/whisper-base"
    assert hub_id("me/whisper") == "me/whisper"


def test_a_folder_without_weights_is_told(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    with pytest.raises(
        LorascopeError, match=r"backbone .*; give a folder or hub id with config.json and model.safetensors"
    ):
        load_backbone(str(tmp_path))


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(LorascopeError, match=r"config.json"):
        load_backbone(str(tmp_path))


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(LorascopeError, match="no such folder"):
        load_backbone(str(tmp_path / "nowhere"))


def test_incomplete_weights_are_told(tmp_path):
    from safetensors.torch import load_file, save_file

    tiny_whisper().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.layers.1.fc1.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LorascopeError, match=r"1 encoder weights are missing, encoder\.layers\.1\.fc1\.weight first"):
        load_backbone(str(tmp_path))


def test_another_architecture_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(LorascopeError, match=r"only encoders of .*Whisper"):
        load_backbone(str(tmp_path))


def test_a_summing_head_is_kept_and_a_new_one_reads_the_last_depth(tmp_path):
    WhisperForAudioClassification(tiny_config(use_weighted_layer_sum=True)).save_pretrained(tmp_path)
    kept, anew = load_backbone(str(tmp_path)), load_backbone(str(tmp_path), CLASSES)
    assert kept.has_head and kept.model.depth_weights is not None
    assert anew.model.depth_weights is None and kept.fingerprint == anew.fingerprint


def test_where_nothing_can_serve_one_message_says_what_to_do(no_hub):
    with pytest.raises(LorascopeError) as caught:
        load_backbone("whisper-large-v2")
    message = str(caught.value)
    assert "\n" not in message
    for piece in ("hub's cache", "cannot be reached", "no wheel carries it", "whisper-base", "give a folder"):
        assert piece in message


def test_missing_wheels_are_told(no_hub, monkeypatch):
    monkeypatch.setattr(offline, "distribution", _not_installed)
    with pytest.raises(LorascopeError, match=r"pip install 'lorascope\[offline\]'"):
        load_backbone("whisper-tiny.en")


def _not_installed(name):
    raise offline.PackageNotFoundError(name)


def test_wrong_bytes_in_a_wheel_are_refused(monkeypatch, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"not the weights")

    class Distribution:
        def locate_file(self, inside):
            return tmp_path / "model.bin"

    monkeypatch.setattr(offline, "distribution", lambda name: Distribution())
    with pytest.raises(LorascopeError, match=r"SHA-256 .* expected 1a5afae0.*force-reinstall"):
        offline.load_wheel("openai/whisper-tiny.en")


@pytest.mark.parametrize("name", ["whisper-tiny.en", "whisper-base"])
def test_a_converted_encoder_equals_ctranslate2s(name, no_hub, tmp_path):
    """DESIGN: a relative error of 4e-6 in float32; anything much worse is a mistake."""
    ctranslate2 = pytest.importorskip("ctranslate2")
    backbone = load_backbone(name)
    assert backbone.origin == "wheel"
    data = offline.wheel_bytes(hub_id(name))
    assert data is not None
    (tmp_path / "model.bin").write_bytes(data)
    for file in ("config.json", "vocabulary.txt", "tokenizer.json"):
        package, _, inside = offline.WHEELS[hub_id(name)].pieces[0]
        found = offline.distribution(package).locate_file(inside).parent / file
        (tmp_path / file).write_bytes(found.read_bytes())
    features = mels(clips=1, frames=1500).clamp(-1, 1.5)
    theirs = ctranslate2.models.Whisper(str(tmp_path), compute_type="float32")
    output = np.array(theirs.encode(ctranslate2.StorageView.from_array(features.numpy())))
    with torch.no_grad():
        ours = backbone.model.encode(features).numpy()
    assert np.linalg.norm(ours - output) / np.linalg.norm(output) < 2e-5


def test_128_mel_bins_go_from_sound_to_logits(corpus, tmp_path):
    """Shaped as large-v3: the features follow the backbone's config, and the head pools what the stock model's encoder
    gives.
    """
    source = tiny_whisper(num_mel_bins=128)
    source.save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    clips = prepare(load_corpus("csv", corpus), backbone)
    clip = next(iter(clips.values()))
    features = torch.as_tensor(clip.features.window())[None]
    assert features.shape == (1, 128, 3000)
    with torch.no_grad():
        assert torch.equal(backbone.model(features).logits, source(features).logits)


@pytest.mark.parametrize("asked", ["flash_attention_2", "kernels-community/flash-attn", "of my own"])
@pytest.mark.parametrize("family", ["whisper", "wavlm"])
def test_an_attention_that_is_not_installed_is_computed_by_torch(tmp_path, asked, family):
    source = tiny_whisper() if family == "whisper" else tiny_waveform_model(family)
    source.save_pretrained(tmp_path)
    plain = load_backbone(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"_attn_implementation": asked}))
    backbone = load_backbone(str(tmp_path))
    used = "sdpa" if family == "whisper" else "eager"
    assert backbone.notes == (f"config.json asks for the attention {asked}; it is computed by {used} here",)
    assert plain.notes == () and backbone.fingerprint == plain.fingerprint
    inputs = mels(frames=100) if family == "whisper" else torch.randn(2, 8000)
    with torch.no_grad():
        assert torch.equal(backbone.model.encode(inputs), plain.model.encode(inputs))


def test_a_quantised_config_is_passed_over_where_the_weights_are_plain_and_told_where_not(tmp_path):
    model = tiny_whisper()
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    quantised = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": quantised}))
    assert torch.equal(load_backbone(str(tmp_path)).model.projector.weight, model.projector.weight)
    assert load_backbone(str(tmp_path), ("a", "b")).model.config.num_labels == 2
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors["encoder.layers.0.fc1.weight"] = tensors["encoder.layers.0.fc1.weight"].to(torch.int8)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(LorascopeError, match="its weights are quantised"):
        load_backbone(str(tmp_path))
