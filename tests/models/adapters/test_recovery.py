"""Merged LoRA is recovered from the difference of two checkpoints, and what has full rank is called that."""

import json
from dataclasses import asdict

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Wav2Vec2ForSequenceClassification,
    WhisperForAudioClassification,
    WhisperForConditionalGeneration,
)

from lorascope.errors import LorascopeError
from lorascope.models.adapters.folder import Record
from lorascope.models.adapters.opening import open_adapted
from lorascope.models.adapters.recovery import factor, format_of, spacing
from lorascope.models.adapters.tuned import TunedModel
from lorascope.models.families.known import parts_of
from lorascope.models.weights.backbone import load_backbone

from ...tiny import CLASSES, enlarged, mels, plain_adapter, tiny_config, tiny_waveform_config, tiny_whisper

WAVES = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))


def matrices(rank, out=96, width=64, size=0.3):
    random = torch.Generator().manual_seed(rank)
    before = torch.randn(out, width, generator=random)
    a, b = torch.randn(rank, width, generator=random), torch.randn(out, rank, generator=random)
    return before, size * (b @ a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rank", [1, 4, 17])
def test_the_rank_and_the_difference_are_found_again_whatever_the_rounding(rank, dtype):
    before, delta = matrices(rank)
    after = (before + delta).to(dtype).float()
    pair = factor(before, after, dtype)
    assert pair is not None and pair.rank == rank
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    assert (pair.b @ pair.a - delta).norm() < tolerance * delta.norm()
    # balanced: both factors have the same Gram matrix, the singular values of the difference
    assert torch.allclose(pair.a @ pair.a.T, pair.b.T @ pair.b, atol=1e-2 * float(delta.norm()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_change_of_full_rank_and_one_of_rounding_alone_are_no_factors(dtype):
    before, _ = matrices(4)
    random = torch.Generator().manual_seed(9)
    full = (before + 0.1 * torch.randn(before.shape, generator=random)).to(dtype).float()
    assert factor(before, full, dtype) is None
    assert factor(before, before.half().float(), torch.float16) is None


def test_low_rank_with_something_of_full_rank_beside_it_is_none():
    before, delta = matrices(4)
    noise = torch.randn(before.shape, generator=torch.Generator().manual_seed(1))
    assert factor(before, before + delta + 1e-3 * noise, torch.float32) is None


def test_formats_and_their_spacing():
    values = torch.tensor([1.0, 1.5, -3.0, 1000.0])
    assert format_of([values]) is torch.bfloat16
    assert format_of([values + 2.0**-9]) is torch.float32
    assert format_of([torch.tensor([1 + 2.0**-9])]) is torch.float16
    for dtype in (torch.float16, torch.float32):
        exact = values.to(dtype)
        following = torch.nextafter(exact, exact.abs() * 2)
        assert torch.equal(spacing(values, dtype)[[0, 1, 3]], (following - exact).abs().float()[[0, 1, 3]])


def merged(model, folder, dtype=torch.float32, rank=3, targets=("q_proj", "fc1")):
    """(backbone, folder of the merged checkpoint, its adapter's own parts): all on one encoder."""
    torch.manual_seed(0)
    model.save_pretrained(folder / "backbone")
    peft = plain_adapter(model, rank=rank, targets=targets)
    weights = {
        name.removeprefix("base_model.model."): (module.lora_A["default"].weight, module.lora_B["default"].weight)
        for name, module in peft.named_modules()
        if hasattr(module, "lora_A")
    }
    deltas = {name: 2 * (b @ a).detach() for name, (a, b) in weights.items()}
    whole = peft.merge_and_unload()
    whole.to(dtype).save_pretrained(folder / "merged")
    return load_backbone(str(folder / "backbone")), folder / "merged", whole.float().eval(), deltas


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_merged_adapter_is_opened_as_the_adapter_it_was(tmp_path, dtype):
    backbone, folder, whole, deltas = merged(tiny_whisper(layers=2), tmp_path, dtype)
    features = mels(frames=1500)
    with torch.no_grad():
        bare = backbone.model.encode(features)
        adapted = open_adapted(backbone, folder)
        parts = parts_of(adapted.model)
        assert parts.adapted() == [(layer, module) for layer in (0, 1) for module in ("q_proj", "fc1")]
        tolerance = 1e-5 if dtype is torch.float32 else 5e-3
        for layer, module in parts.adapted():
            a, b, scale = parts.factors(layer, module)
            name = f"encoder.layers.{layer}.{'self_attn.' if module == 'q_proj' else ''}{module}"
            assert a.shape[0] == 3 and scale == 1
            assert (b @ a - deltas[name]).norm() < tolerance * deltas[name].norm()
        expected = whole(features).logits
        assert torch.allclose(adapted.model(features).logits, expected, atol=(1e-4 if dtype is torch.float32 else 5e-2))
        with parts.adapter(on=False):
            assert torch.allclose(backbone.model.encode(features), bare, atol=1e-5)
        parts.prove(features, None, bare)
    assert adapted.has_head and "fc1 (0: 3, 1: 3); q_proj (0: 3, 1: 3)" in adapted.notes[0]
    assert ("float16" in adapted.notes[0]) == (dtype is torch.float16)


def test_a_merged_wav2vec2_with_changed_biases(tmp_path):
    torch.manual_seed(0)
    model = enlarged(Wav2Vec2ForSequenceClassification(tiny_waveform_config()), 3)
    backbone, folder, whole, _ = merged(model, tmp_path, targets=("v_proj", "output_dense"))
    with torch.no_grad():
        whole.wav2vec2.encoder.layers[1].attention.v_proj.bias.add_(0.5)
    whole.save_pretrained(folder)
    with torch.no_grad():
        bare = backbone.model.encode(WAVES)
        adapted = open_adapted(backbone, folder)
        assert torch.allclose(adapted.model(WAVES).logits, whole(WAVES).logits, atol=1e-4)
        parts = parts_of(adapted.model)
        parts.prove(WAVES, None, bare)
    assert parts.adapted() == [(layer, module) for layer in (0, 1) for module in ("v_proj", "fc2")]
    assert any("1 vectors changed (wav2vec2.encoder.layers.1.attention.v_proj.bias first)" in n for n in adapted.notes)


def test_fine_tuned_checkpoints_are_changed_weights(tmp_path):
    model = tiny_whisper(layers=2)
    model.save_pretrained(tmp_path / "backbone")
    tuned = tiny_whisper(layers=2)
    torch.manual_seed(4)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tuned.save_pretrained(tmp_path / "bitfit")
    with torch.no_grad():
        tuned.encoder.layers[0].fc1.weight.add_(torch.randn(64, 32) * 0.1)
    tuned.save_pretrained(tmp_path / "full")
    features = mels(frames=1500)
    for kind in ("bitfit", "full"):
        backbone = load_backbone(str(tmp_path / "backbone"))
        adapted = open_adapted(backbone, tmp_path / kind)
        stock = WhisperForAudioClassification.from_pretrained(tmp_path / kind).eval()
        assert isinstance(adapted.model, TunedModel) and parts_of(adapted.model).adapted() == []
        with torch.no_grad():
            assert torch.allclose(adapted.model(features).logits, stock(features).logits, atol=1e-5)
            with adapted.model.disable_adapter():
                assert torch.allclose(adapted.model(features).logits, model(features).logits, atol=1e-5)
            assert torch.allclose(adapted.model(features).logits, stock(features).logits, atol=1e-5)
        assert ("1 of them matrices of no low rank (encoder.layers.0.fc1.weight" in adapted.notes[0]) == (
            kind == "full"
        )


def test_checkpoints_that_do_not_fit_are_refused(tmp_path):
    tiny_whisper(layers=2).save_pretrained(tmp_path / "backbone")

    def refused(folder, message):
        with pytest.raises(LorascopeError, match=message) as caught:
            open_adapted(load_backbone(str(tmp_path / "backbone")), folder)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "backbone", "its encoder is that of")
    tiny_whisper(layers=3).save_pretrained(tmp_path / "deep")
    refused(tmp_path / "deep", "another architecture")
    tiny_whisper(seed=3, layers=2).save_pretrained(tmp_path / "recorded")
    record = Record("full", CLASSES, "trim", "another", "0" * 64, "0")
    (tmp_path / "recorded" / "lorascope.json").write_text(json.dumps(asdict(record)))
    refused(tmp_path / "recorded", "made for another, not for .* give its own backbone")
    tiny_whisper(seed=2, layers=2, classes=("a", "b")).save_pretrained(tmp_path / "two")
    refused(tmp_path / "two", "its classifier has 2 classes, the backbone .* has 4")


def test_a_merged_speech_recogniser_has_pairs_and_no_head(tmp_path):
    torch.manual_seed(0)
    model = enlarged(WhisperForConditionalGeneration(tiny_config(layers=2)))
    model.save_pretrained(tmp_path / "backbone")
    peft = get_peft_model(model, LoraConfig(r=2, target_modules=["v_proj"]))
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    peft.merge_and_unload().save_pretrained(tmp_path / "merged")
    adapted = open_adapted(load_backbone(str(tmp_path / "backbone")), tmp_path / "merged")
    assert not adapted.has_head
    assert [parts_of(adapted.model).factors(layer, "v_proj")[0].shape[0] for layer in (0, 1)] == [2, 2]
