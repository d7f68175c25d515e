import pytest
import torch

from lorascope.analysis.states import BASELINES, ModelStates, random_factors
from lorascope.errors import LorascopeError
from lorascope.models.families.whisper import WhisperParts
from lorascope.models.interventions import Intervention, answer
from lorascope.models.weights.backbone import load_backbone

from ..tiny import mels, plain_adapter, tiny_whisper


@pytest.fixture
def model(tmp_path):
    tiny_whisper().save_pretrained(tmp_path)
    return load_backbone(str(tmp_path)).model


def test_the_parts_prove_themselves_with_the_adapter_on_and_off(model):
    features = mels()
    bare = model.encode(features).detach()
    parts = WhisperParts(plain_adapter(model, targets=("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")))
    parts.prove(features, backbone_output=bare)
    with parts.adapter(on=False):
        parts.prove(features, backbone_output=bare)
    assert parts.adapted()[:6] == [(0, name) for name in ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")]


def test_a_block_that_adds_something_else_is_refused(model):
    parts = WhisperParts(plain_adapter(model))
    # early versions of transformers 5 give a tuple
    parts.blocks[1].register_forward_hook(
        lambda module, inputs, output: (output[0] * 1.01,) if isinstance(output, tuple) else output * 1.01
    )
    with pytest.raises(LorascopeError, match="is not resid_post in block 1"):
        parts.prove(mels())


def test_an_encoder_changed_beside_the_adapter_is_refused(model):
    features = mels()
    bare = model.encode(features).detach()
    parts = WhisperParts(plain_adapter(model))
    with torch.no_grad():
        parts.blocks[0].fc1.weight.mul_(1.1)
    with pytest.raises(LorascopeError, match="with the adapter off the encoder is not the bare backbone"):
        parts.prove(features, backbone_output=bare)


def test_running_from_a_layer_on_gives_the_models_logits(model):
    peft = plain_adapter(model)
    parts = WhisperParts(peft)
    features, valid = mels(), torch.tensor([40, 100])
    kept = []
    handle = parts.blocks[1].register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    with torch.no_grad():
        expected = peft(features, valid=valid).logits
        handle.remove()
        assert torch.allclose(answer(parts, 1, kept[0], valid, Intervention()), expected, atol=1e-5)


def test_random_factors_are_what_they_are_called():
    torch.manual_seed(0)
    trained = {(0, "v_proj"): (torch.randn(8, 400) * 3, torch.randn(300, 8))}
    drawn = {kind: random_factors(kind, trained, 1)[0, "v_proj"] for kind in BASELINES}
    a, b = trained[0, "v_proj"]
    assert abs(float(drawn["gaussian"][0].std()) - 0.02) < 1e-3
    assert torch.isclose(drawn["norm-matched"][0].norm(), a.norm()) and torch.isclose(
        drawn["norm-matched"][1].norm(), b.norm()
    )
    assert not drawn["peft-init"][1].any()
    assert float(drawn["peft-init"][0].abs().max()) <= 400**-0.5
    assert torch.equal(drawn["permuted"][0].flatten().sort().values, a.flatten().sort().values)
    assert not torch.equal(drawn["permuted"][0], a)


def test_peft_init_has_the_spread_that_peft_draws(model):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=16, target_modules=["v_proj"])
    weights = [p for name, p in get_peft_model(model, config).named_parameters() if "lora_A" in name]
    theirs = torch.cat([w.flatten() for w in weights])
    ours = random_factors("peft-init", {(0, "v"): (torch.zeros(64, 32), torch.zeros(32, 64))}, 0)[0, "v"][0]
    assert abs(ours.std().item() / theirs.std().item() - 1) < 0.06


def test_entering_a_state_and_leaving_it_restores_the_trained_model(model):
    peft = plain_adapter(model)
    features = mels()
    with torch.no_grad():
        trained = peft(features).logits
        head = {
            f"{n}.{k}": torch.ones_like(getattr(getattr(model, n).original_module, k))
            for n in ("projector", "classifier")
            for k in ("weight", "bias")
        }
        states = ModelStates(WhisperParts(peft), head)
        seen = {}
        for name in states.names:
            with states.enter(name):
                seen[name] = peft(features).logits
        assert torch.equal(seen["trained"], trained)
        assert torch.equal(peft(features).logits, trained)
        with pytest.raises(RuntimeError), states.enter("permuted"):
            raise RuntimeError
        assert torch.equal(peft(features).logits, trained)
    for name in BASELINES:
        assert not torch.allclose(seen[name], trained), name
    # the frozen model has the given head of ones: every class gets the same logit
    assert torch.allclose(seen["frozen"], seen["frozen"][:, :1].expand(-1, 4))
    assert "frozen" not in states.headless and "frozen" in ModelStates(WhisperParts(peft), None).headless


def test_peft_init_leaves_the_frozen_encoder_with_the_trained_head(model):
    peft = plain_adapter(model)
    parts = WhisperParts(peft)
    states = ModelStates(parts, None)
    features = mels()
    with torch.no_grad():
        with parts.adapter(on=False):
            bare = parts.classifier.encode(features)
        with states.enter("peft-init"):
            assert torch.allclose(peft(features).logits, parts.apply_head(bare.mean(1)), atol=1e-5)
