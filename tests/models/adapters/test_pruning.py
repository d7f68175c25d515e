"""A pruned folder, opened by PEFT itself without a word, is the dialled model; a planted rank is what is kept."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel
from peft.utils.save_and_load import get_peft_model_state_dict
from safetensors.torch import load_file

from lorascope.errors import LorascopeError
from lorascope.models.adapters.opening import open_adapted, read_source
from lorascope.models.adapters.pruning import Keep, keep_from, updates_of, write_pruned
from lorascope.models.families.known import parts_of
from lorascope.models.interventions import intervened
from lorascope.models.weights.backbone import load_backbone

from ...tiny import mels, tiny_whisper
from .test_any_adapter import FEATURES, HEAD, stirred
from .test_foreign import foreign, whisper_for_asr


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    tiny_whisper(layers=2).save_pretrained(folder)
    return folder


def opened(backbone, folder):
    """Source, opened adapter, its updates."""
    source = read_source(folder)
    adapted = open_adapted(load_backbone(str(backbone)), source)
    return source, adapted, updates_of(adapted, f"adapter {folder}")


def pruned(backbone, folder, out, keep):
    """What is kept, and the dialled model's logits; the pruned adapter lies in `out`."""
    source, adapted, updates = opened(backbone, folder)
    masks = updates.chosen(keep)
    with torch.no_grad(), intervened(parts_of(adapted.model), updates.dialled(masks)):
        logits = adapted.model(FEATURES).logits
    write_pruned(source, adapted, updates, masks, out, ["kept some"])
    return masks, logits


def plain(folder, model=None):
    """PEFT's own loading on the stock class, in which a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # transformers' own, about names that PEFT asks it for
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        return PeftModel.from_pretrained(model or tiny_whisper(layers=2), str(folder)).eval()


def same(one, other):
    scale = other.abs().max()
    assert (one - other).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("keep", [Keep(0.2), Keep(0.5), Keep(1.0), Keep(first=1), Keep(first=3)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": ["v_proj", "fc1", "out_proj"], "rank_pattern": {"fc1": 2}, "alpha_pattern": {"fc1": 3}},
        {"target_modules": ["v_proj", "q_proj"], "use_rslora": True, "lora_alpha": 3},
        {"layers_to_transform": [1], "layers_pattern": "layers"},
        {"target_modules": ["v_proj", "projector"], "modules_to_save": ["classifier"]},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "olora", "use_rslora": True},
    ],
    ids=["plain", "patterns", "rslora", "some layers", "head by factors", "pissa", "olora"],
)
def test_a_pruned_folder_is_the_dialled_model(settings, keep, backbone, tmp_path):
    given = {"r": 4, "lora_alpha": 8, "target_modules": ["v_proj"], "modules_to_save": HEAD} | settings
    stirred(LoraConfig(**given)).save_pretrained(tmp_path / "adapter")
    masks, dialled = pruned(backbone, tmp_path / "adapter", tmp_path / "small", keep)
    with torch.no_grad():
        same(plain(tmp_path / "small")(FEATURES).logits, dialled)
        # and so it is when lorascope opens it
        _, adapted, updates = opened(backbone, tmp_path / "small")
        same(adapted.model(FEATURES).logits, dialled)
    assert {key: len(found.sigma) for key, found in updates.found.items()} == {
        key: mask.sum() for key, mask in masks.items() if mask.any()
    }
    assert (tmp_path / "small" / "README.md").read_text().endswith("## Pruned by lorascope\n\n- kept some\n")


def test_adalora_is_pruned_as_the_lora_that_it_is(backbone, tmp_path):
    config = AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["v_proj"], modules_to_save=HEAD)
    stirred(config).save_pretrained(tmp_path / "adapter")
    _, dialled = pruned(backbone, tmp_path / "adapter", tmp_path / "small", Keep(first=2))
    same(plain(tmp_path / "small")(FEATURES).logits, dialled)
    assert json.loads((tmp_path / "small" / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_a_merged_checkpoint_becomes_a_small_adapter(backbone, tmp_path):
    merged = stirred(LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj"], modules_to_save=HEAD)).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    _, dialled = pruned(backbone, tmp_path / "merged", tmp_path / "small", Keep(first=2))
    same(plain(tmp_path / "small")(FEATURES).logits, dialled)
    assert not (tmp_path / "small" / "config.json").exists()


def plant(peft, rank, layers=None):
    """ΔW of a true rank in factors that are wider, none of whose columns is 0; in other blocks than `layers` none."""
    random = np.random.default_rng(0)
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_A" in name:
                a = random.normal(size=(len(parameter), rank)) @ random.normal(size=(rank, parameter.shape[1]))
                parameter.copy_(torch.from_numpy(a))
            elif "lora_B" in name:
                inside = layers is None or any(f"layers.{layer}." in name for layer in layers)
                parameter.copy_(torch.randn_like(parameter) * 0.1 * inside)
    return peft


@pytest.mark.parametrize("keep", [Keep(0.5), Keep(0.1), Keep(first=16)])
def test_of_a_true_rank_of_3_in_32_are_3_kept(keep, backbone, tmp_path):
    config = LoraConfig(r=32, lora_alpha=64, target_modules=["v_proj"], modules_to_save=HEAD)
    plant(stirred(config), 3).save_pretrained(tmp_path / "adapter")
    _, dialled = pruned(backbone, tmp_path / "adapter", tmp_path / "small", keep)
    tensors = load_file(tmp_path / "small" / "adapter_model.safetensors")
    assert {len(tensor) for name, tensor in tensors.items() if "lora_A" in name} == {3}
    told = json.loads((tmp_path / "small" / "adapter_config.json").read_text())
    assert told["r"] == 3 and told["lora_alpha"] == 6 and told["rank_pattern"] == {}
    with torch.no_grad():
        whole = plain(tmp_path / "adapter")(FEATURES).logits
        same(plain(tmp_path / "small")(FEATURES).logits, dialled)
        assert torch.allclose(dialled, whole, atol=1e-4)


def test_a_layer_whose_directions_all_go_is_left_out(backbone, tmp_path):
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj"], modules_to_save=HEAD)
    plant(stirred(config), 2, layers=[1]).save_pretrained(tmp_path / "adapter")
    _, dialled = pruned(backbone, tmp_path / "adapter", tmp_path / "small", Keep(0.5))
    small = plain(tmp_path / "small")
    same(small(FEATURES).logits, dialled)
    assert parts_of(open_adapted(load_backbone(str(backbone)), tmp_path / "small").model).adapted() == [(1, "v_proj")]
    assert not any("layers.0." in name for name in get_peft_model_state_dict(small))


def test_where_nothing_is_kept_the_head_still_is(backbone, tmp_path):
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj"], modules_to_save=HEAD)
    stirred(config).save_pretrained(tmp_path / "adapter")
    source, adapted, updates = opened(backbone, tmp_path / "adapter")
    masks = updates.chosen(Keep(0.0))
    with torch.no_grad(), intervened(parts_of(adapted.model), updates.dialled(masks)):
        dialled = adapted.model(FEATURES).logits
    write_pruned(source, adapted, updates, masks, tmp_path / "small", [])
    same(plain(tmp_path / "small")(FEATURES).logits, dialled)


def test_what_lies_outside_the_encoder_stays(tmp_path):
    """An adapter for speech recognition: the encoder's factors are cut, the decoder's are as they were."""
    backbone, folder, _ = foreign(whisper_for_asr(), tmp_path, target_modules=["v_proj", "fc1"], use_rslora=True)
    source = read_source(folder)
    adapted = open_adapted(backbone, source)
    updates = updates_of(adapted, "it")
    masks = updates.chosen(Keep(0.3))
    features = mels(frames=1500)
    with torch.no_grad(), intervened(parts_of(adapted.model), updates.dialled(masks)):
        dialled = backbone.model.encode(features)
    write_pruned(source, adapted, updates, masks, tmp_path / "small", [])
    small, whole = plain(tmp_path / "small", whisper_for_asr()), plain(folder, whisper_for_asr())
    with torch.no_grad():
        same(small.get_base_model().model.encoder(features).last_hidden_state, dialled)
        tokens = {"encoder_outputs": (dialled,), "decoder_input_ids": torch.tensor([[3, 4, 5]] * 2)}
        same(small(**tokens).logits, whole(**tokens).logits)


@pytest.mark.parametrize("given", ["0", "-1", "0.0", "1.5", "nan", "some", "", "2.5", 0, True, float("inf")])
def test_what_cannot_be_kept_is_refused(given):
    with pytest.raises(LorascopeError, match=r"--keep .*expected auto, a share"):
        keep_from(given)


def test_zeros_other_kinds_and_biases_are_refused(backbone, tmp_path):
    lora = {"r": 4, "target_modules": ["v_proj"], "modules_to_save": HEAD}
    zeros = stirred(LoraConfig(**lora))
    with torch.no_grad():
        for name, parameter in zeros.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    zeros.save_pretrained(tmp_path / "zeros")
    with pytest.raises(LorascopeError, match="zeros: it changes nothing"):
        opened(backbone, tmp_path / "zeros")
    stirred(IA3Config(target_modules=["v_proj"], feedforward_modules=[], modules_to_save=HEAD)).save_pretrained(
        tmp_path / "ia3"
    )
    stirred(LoraConfig(**lora, use_dora=True)).save_pretrained(tmp_path / "dora")
    for kind in ("ia3", "dora"):
        with pytest.raises(LorascopeError, match=f"{kind}: its updates are not plain low-rank pairs"):
            opened(backbone, tmp_path / kind)
    stirred(LoraConfig(**lora, bias="all")).save_pretrained(tmp_path / "biased")
    with pytest.raises(LorascopeError, match="biases were trained too"):
        pruned(backbone, tmp_path / "biased", tmp_path / "small", Keep(0.5))
    assert not (tmp_path / "small").exists()
