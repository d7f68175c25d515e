"""Encoders on waveforms against the stock classes: alone, in a batch, with adapters."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoFeatureExtractor, Wav2Vec2FeatureExtractor

from lorascope.errors import LorascopeError
from lorascope.models.adapters.folder import Record, load_adapter, save_adapter
from lorascope.models.families.known import parts_of
from lorascope.models.families.waveform import samples_of
from lorascope.models.interventions import Intervention, answer
from lorascope.models.weights.backbone import hub_id, load_backbone
from lorascope.sound.features import WaveformSettings

from ...waveforms import KINDS, STOCK, padded, tiny_waveform_model, waves

ALL = ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense")


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def kind(request, tmp_path_factory):
    """(family, stock model, its folder)."""
    family, layout = request.param
    folder = tmp_path_factory.mktemp("waveform")
    model = tiny_waveform_model(family, layout)
    model.save_pretrained(folder)
    return family, model, folder


def adapted(folder, targets=ALL, seed=0) -> PeftModel:
    torch.manual_seed(seed)
    config = LoraConfig(r=4, target_modules=list(targets), modules_to_save=["projector", "classifier"])
    peft = get_peft_model(load_backbone(str(folder)).model, config)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return peft.eval()


def test_a_clip_in_a_batch_gives_what_the_stock_model_gives_it_alone(kind):
    _, stock, folder = kind
    clips = waves([31, 12, 40])
    model = load_backbone(str(folder)).model
    with torch.no_grad():
        alone = torch.cat([stock(clip[None]).logits for clip in clips])
        batch = model(padded(clips, 50), valid=torch.tensor([31, 12, 40])).logits
        naive = stock(padded(clips, 50)).logits
    assert torch.allclose(batch, alone, atol=1e-5)
    assert not torch.allclose(naive, alone, atol=1e-3)  # padding without a mask does change the numbers


def test_the_parts_are_proved(kind):
    _, _, folder = kind
    features, valid = padded(waves([31, 12]), 40), torch.tensor([31, 12])
    backbone = load_backbone(str(folder))
    with torch.no_grad():
        bare = backbone.model.encode(features, valid)
    parts = parts_of(adapted(folder))
    parts.prove(features, valid, bare)
    assert (backbone.layers, backbone.width, parts.layers) == (3, 32, 3)
    assert parts.adapted()[:6] == [(0, n) for n in ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")]
    with torch.no_grad():
        parts.blocks[1].feed_forward.output_dense.base_layer.weight.mul_(1.1)
    with pytest.raises(LorascopeError, match="with the adapter off the encoder is not the bare backbone"):
        parts.prove(features, valid, bare)


def test_a_wrong_map_of_parts_is_refused(kind):
    _, _, folder = kind
    parts = parts_of(adapted(folder))
    parts.post_norm = not parts.post_norm
    with pytest.raises(LorascopeError, match="cannot be analysed"):
        parts.prove(padded(waves([20]), 20), torch.tensor([20]))


def test_running_from_a_layer_on_gives_the_models_logits(kind):
    _, _, folder = kind
    peft = adapted(folder)
    parts, features, valid = parts_of(peft), padded(waves([31, 12]), 40), torch.tensor([31, 12])
    kept = []
    hook = lambda _, inputs, named: kept.append(inputs[0] if inputs else named["hidden_states"])  # noqa: E731
    handle = parts.blocks[1].register_forward_pre_hook(hook, with_kwargs=True)
    with torch.no_grad():
        expected = peft(features, valid=valid).logits
        handle.remove()
        assert torch.allclose(answer(parts, 1, kept[0], valid, Intervention()), expected, atol=1e-5)


def test_every_adapted_layer_counts(kind):
    """Also WavLM's attention projections, whose stock forward reads their weights past any adapter."""
    family, stock, folder = kind
    clip = waves([30])[0][None]
    with torch.no_grad():
        bare = stock(clip).logits
        for target in ALL:
            ours = adapted(folder, [target])
            assert not torch.allclose(ours(clip).logits, bare, atol=1e-4), target
    config = LoraConfig(r=4, target_modules=["v_proj"])
    plain = get_peft_model(
        tiny_waveform_model(family, "large" if stock.config.do_stable_layer_norm else "base"), config
    )
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
        ignored = torch.equal(plain.eval()(clip).logits, bare)
    assert ignored == (family == "wavlm")  # if this fails, transformers has mended it: say so in the docs


def test_an_adapter_saved_here_gives_the_same_logits_in_the_stock_class(kind, tmp_path):
    family, _, folder = kind
    targets = ("fc1", "fc2") if family == "wavlm" else ("v_proj", "fc1")
    stock_names = {"fc1": "intermediate_dense", "fc2": "output_dense"}
    peft = adapted(folder, [stock_names.get(name, name) for name in targets])
    backbone = load_backbone(str(folder))
    save_adapter(peft, tmp_path, Record("lora", ("a", "b"), "trim", backbone.name, backbone.fingerprint, "0"))
    clip = waves([30])[0][None]
    with torch.no_grad():
        expected = peft(clip, valid=torch.tensor([30])).logits
        there = PeftModel.from_pretrained(STOCK[family].from_pretrained(folder), str(tmp_path)).eval()
        assert torch.allclose(there(clip).logits, expected, atol=1e-5)
        again = load_adapter(backbone, tmp_path)
        assert torch.allclose(again(clip).logits, expected, atol=1e-5)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert settings["auto_mapping"]["base_model_class"] == STOCK[family].__name__


def test_a_headless_checkpoint_loads_with_a_new_head(kind, tmp_path):
    family, stock, _ = kind
    getattr(stock, family).save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path), classes=("x", "y", "z"))
    assert not backbone.has_head and backbone.model.config.num_labels == 3
    clip = waves([30])[0][None]
    with torch.no_grad():
        expected = getattr(stock, family)(clip).last_hidden_state
        assert torch.allclose(backbone.model.encode(clip), expected, atol=1e-5)


def test_training_skips_no_layer_and_masks_nothing(kind):
    _, _, folder = kind
    model = load_backbone(str(folder)).model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    features, valid = padded(waves([31, 12]), 40), torch.tensor([31, 12])
    with torch.no_grad():
        first, second = (model(features, valid=valid).logits for _ in range(2))
        assert torch.equal(first, second)
        assert torch.allclose(first, model.eval()(features, valid=valid).logits, atol=1e-5)


@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 50_123])
def test_a_waveform_is_cut_to_whole_frames_and_normalised_as_its_own_extractor_does(samples):
    sound = (np.random.default_rng(0).standard_normal(samples) * 0.1 + 0.05).astype(np.float32)
    features = WaveformSettings().extract(sound)
    stock = tiny_waveform_model("wav2vec2")
    assert features.valid == int(stock._get_feat_extract_output_lengths(samples))
    assert len(features.samples) == samples_of(features.valid, stock.config) <= samples
    theirs = Wav2Vec2FeatureExtractor(do_normalize=True)(sound, sampling_rate=16_000, return_tensors="np")
    np.testing.assert_allclose(features.samples, theirs["input_values"][0][: len(features.samples)], atol=1e-5)
    assert features.window(3).shape == (samples_of(3, stock.config),)
    assert not WaveformSettings().extract(np.ones(800_000, np.float32)).valid > 1500


def test_a_clip_shorter_than_a_frame_is_told():
    with pytest.raises(ValueError, match="399 samples, but this encoder needs 400"):
        WaveformSettings().extract(np.ones(399, np.float32))


@pytest.mark.parametrize("normalises", [True, False])
def test_the_folders_own_extractor_says_whether_to_normalise(tmp_path, normalises):
    tiny_waveform_model("hubert").save_pretrained(tmp_path)
    assert load_backbone(str(tmp_path)).features == WaveformSettings(True, 400, 320)
    Wav2Vec2FeatureExtractor(do_normalize=normalises).save_pretrained(tmp_path)
    assert AutoFeatureExtractor.from_pretrained(tmp_path).do_normalize == normalises
    assert load_backbone(str(tmp_path)).features == WaveformSettings(normalises, 400, 320)


def test_short_names_have_their_owners():
    names = ("whisper-base", "wav2vec2-base", "hubert-large-ll60k", "wavlm-base-plus", "me/mine")
    owners = ("openai/", "facebook/", "facebook/", "microsoft/", "")
    assert [hub_id(name) for name in names] == [owner + name for owner, name in zip(owners, names, strict=True)]
