"""W and ΔW of layers whatever makes them, and which layers can be turned down."""

import peft as installed
import pytest
import torch
from peft import LoraConfig, get_peft_model

from lorascope.models.adapters.tuned import TunedModel
from lorascope.models.families.known import parts_of
from lorascope.models.updates import changed, turnable, turns_all, update_of, why_no_update
from lorascope.models.weights.backbone import load_backbone

from ..analysis.small import stirred
from ..tiny import tiny_whisper

HEAD = ["projector", "classifier"]


@pytest.fixture
def model(tmp_path):
    tiny_whisper(layers=2).save_pretrained(tmp_path)
    return load_backbone(str(tmp_path)).model


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_update_is_the_difference_that_merging_makes(kind, model):
    config = LoraConfig(r=2, target_modules=["v_proj"], use_dora=kind == "dora", modules_to_save=HEAD)
    peft = stirred(config, model)
    parts = parts_of(peft)
    before = {key: parts.linear(*key).base_layer.weight.detach().clone() for key in turnable(parts)}
    found = {key: update_of(parts, *key) for key in changed(parts)}
    assert list(found) == [(0, "v_proj"), (1, "v_proj")] and why_no_update(parts) is None and turns_all(parts)
    merged = peft.merge_and_unload()
    for (layer, _), (weight, update) in found.items():
        after = merged.encoder.layers[layer].self_attn.v_proj.weight.detach()
        assert torch.allclose(weight.float(), before[layer, "v_proj"], atol=1e-7)
        assert torch.allclose((weight + update).float(), after, atol=1e-6)
        assert float(update.norm()) > 0.1


def test_changed_weights_are_updates_that_cannot_be_turned_layer_by_layer(model):
    weight = model.encoder.layers[1].fc1.weight
    moved = torch.randn_like(weight)
    before = weight.detach().clone()
    parts = parts_of(TunedModel(model, [(weight, before + moved)]))
    assert turnable(parts) == [] and changed(parts) == [(1, "fc1")] and why_no_update(parts) is None
    found, update = update_of(parts, 1, "fc1")
    assert torch.allclose(found.float(), before, atol=1e-6) and torch.allclose(update.float(), moved, atol=1e-5)


def test_what_is_not_linear_or_not_there_has_no_update(model):
    parts = parts_of(get_peft_model(model, LoraConfig(r=2, target_modules=["conv2"], modules_to_save=HEAD)))
    assert "no linear layer of the blocks is changed" in (why_no_update(parts) or "")


@pytest.mark.skipif(not hasattr(installed, "LilyConfig"), reason="this version of PEFT has no Lily")
def test_a_router_over_experts_is_not_linear(model):
    config = installed.LilyConfig(r=2, target_modules=["v_proj"], modules_to_save=HEAD)
    parts = parts_of(stirred(config, model))
    assert "not linear in their input" in (why_no_update(parts) or "") and len(turnable(parts)) == 2


def test_something_else_adapted_in_a_block_is_told(model):
    saved = [*HEAD, "self_attn_layer_norm"]
    parts = parts_of(stirred(LoraConfig(r=2, target_modules=["v_proj"], modules_to_save=saved), model))
    assert not turns_all(parts)
