"""LoRA of other tasks: the encoder of the mapped adapter gives what the encoder of the other task's own model gives."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    HubertModel,
    Wav2Vec2ForCTC,
    WavLMForCTC,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from lorascope.errors import LorascopeError
from lorascope.models.adapters.opening import open_adapted
from lorascope.models.families.known import parts_of
from lorascope.models.weights.backbone import load_backbone

from ...tiny import enlarged, mels, tiny_config, tiny_waveform_config, tiny_whisper

WAVES = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))


def foreign(model, tmp_path, draw=True, **settings):
    """(backbone, adapter's folder, the adapted model of the other task), all on one encoder."""
    torch.manual_seed(3)
    model.save_pretrained(tmp_path / "backbone")
    peft = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 6, **settings})).eval()
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name and draw:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    peft.save_pretrained(tmp_path / "adapter")
    return load_backbone(str(tmp_path / "backbone")), tmp_path / "adapter", peft


def whisper_for_asr():
    torch.manual_seed(0)
    return enlarged(WhisperForConditionalGeneration(tiny_config(layers=2)))


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": r".*encoder\.layers\.1\.(self_attn\.k_proj|fc1)"},
        {
            "target_modules": ["v_proj", "fc2"],
            "rank_pattern": {"fc2": 2, "encoder.layers.0.self_attn.v_proj": 3},
            "alpha_pattern": {r"encoder\.layers\.\d+\.fc2": 10},
            "use_rslora": True,
        },
        {"target_modules": ["v_proj"], "use_dora": True},
    ],
)
def test_an_adapter_for_speech_recognition_changes_the_encoder_alike(settings, tmp_path):
    backbone, adapter, peft = foreign(whisper_for_asr(), tmp_path, **settings)
    adapted = open_adapted(backbone, adapter)
    features = mels(frames=1500)
    with torch.no_grad():
        expected = peft.get_base_model().model.encoder(features).last_hidden_state
        assert torch.allclose(backbone.model.encode(features), expected, atol=1e-5)
        with adapted.model.disable_adapter():
            assert not torch.allclose(backbone.model.encode(features), expected, atol=1e-2)
    assert not adapted.has_head


def test_what_lies_outside_the_encoder_is_counted(tmp_path):
    backbone, adapter, _ = foreign(whisper_for_asr(), tmp_path, target_modules=["v_proj"], modules_to_save=["proj_out"])
    adapted = open_adapted(backbone, adapter)
    # one decoder block: its own v_proj, and that of the cross-attention
    assert "1 factor pairs of the cross-attention, 1 factor pairs of the decoder, 1 saved modules" in adapted.notes[0]
    assert parts_of(adapted.model).adapted() == [(0, "v_proj"), (1, "v_proj")]


def test_an_adapted_layer_outside_the_blocks_is_in_place_and_told(tmp_path):
    torch.manual_seed(0)
    model = enlarged(Wav2Vec2ForCTC(tiny_waveform_config()), 3)
    backbone, adapter, peft = foreign(model, tmp_path, target_modules=["v_proj", "feature_projection.projection"])
    adapted = open_adapted(backbone, adapter)
    assert any("1 adapted layers are none of the blocks' linear layers" in note for note in adapted.notes)
    with torch.no_grad():
        expected = peft.get_base_model().wav2vec2(WAVES).last_hidden_state
        assert torch.allclose(backbone.model.encode(WAVES), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "family"),
    [(Wav2Vec2ForCTC, "wav2vec2"), (HubertModel, "hubert"), (WhisperModel, "whisper")],
)
def test_other_classes_of_model(kind, family, tmp_path):
    torch.manual_seed(0)
    config = tiny_config(layers=2) if family == "whisper" else tiny_waveform_config(family)
    backbone, adapter, peft = foreign(enlarged(kind(config), 3), tmp_path, target_modules=["k_proj", "v_proj"])
    adapted = open_adapted(backbone, adapter)
    base = peft.get_base_model()
    with torch.no_grad():
        if family == "whisper":
            features = mels(frames=1500)
            expected = base.encoder(features).last_hidden_state
        else:
            features = WAVES
            expected = getattr(base, family, base)(features).last_hidden_state
        assert torch.allclose(backbone.model.encode(features), expected, atol=1e-5)
    assert parts_of(adapted.model).adapted() == [(0, "k_proj"), (0, "v_proj"), (1, "k_proj"), (1, "v_proj")]


def test_an_adapter_that_changes_nothing_is_told(tmp_path):
    torch.manual_seed(0)
    model = WavLMForCTC(tiny_waveform_config("wavlm"))
    backbone, adapter, _ = foreign(model, tmp_path, draw=False, target_modules=["q_proj", "v_proj"])
    notes = open_adapted(backbone, adapter).notes
    assert any("changes nothing: B is exactly zero" in note and "Stock WavLM" in note for note in notes)


def refused(backbone, adapter, message):
    with pytest.raises(LorascopeError, match=message) as caught:
        open_adapted(load_backbone(str(backbone)), adapter)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused(tmp_path):
    _, adapter, _ = foreign(whisper_for_asr(), tmp_path, target_modules=["v_proj"])
    tiny_whisper(layers=1).save_pretrained(tmp_path / "shallow")
    refused(tmp_path / "shallow", adapter, r"made for another backbone: it adapts model\.encoder\.layers\.1")
    tiny_whisper(layers=4).save_pretrained(tmp_path / "deep")
    refused(tmp_path / "deep", adapter, "it adapts 2 layers, .* has 4")
    tiny_whisper(layers=2, width=48).save_pretrained(tmp_path / "wide")
    refused(tmp_path / "wide", adapter, "whose input is 48 wide, not 32")


def test_adapters_of_the_decoder_alone_with_biases_or_on_moved_weights_are_refused(tmp_path):
    pattern = r".*decoder\.layers\.0\.fc1"
    _, adapter, _ = foreign(whisper_for_asr(), tmp_path / "decoder", target_modules=pattern)
    refused(
        tmp_path / "decoder" / "backbone", adapter, r"no linear layer of the encoder \(1 factor pairs of the decoder\)"
    )
    _, adapter, _ = foreign(whisper_for_asr(), tmp_path / "bias", target_modules=["v_proj"], bias="all")
    refused(tmp_path / "bias" / "backbone", adapter, "merge it and give the merged checkpoint")
    _, adapter, _ = foreign(whisper_for_asr(), tmp_path / "pissa", target_modules=["v_proj"], init_lora_weights="pissa")
    refused(tmp_path / "pissa" / "backbone", adapter, "started by pissa, which changes the weights below its factors")
