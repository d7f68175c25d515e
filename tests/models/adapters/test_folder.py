import json

import pytest
import torch
from peft import IA3Config, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from lorascope import __version__
from lorascope.errors import LorascopeError
from lorascope.experiment.methods import LoraConfig
from lorascope.models.adapters.building import adapt, add_head_only
from lorascope.models.adapters.folder import Record, load_adapter, load_frozen_head, save_adapter
from lorascope.models.classifier import Head
from lorascope.models.weights.backbone import load_backbone

from ...tiny import CLASSES, mels, plain_adapter, tiny_whisper


@pytest.fixture
def folder(tmp_path):
    tiny_whisper().save_pretrained(tmp_path / "backbone")
    return tmp_path / "backbone"


def lora(model, seed, **settings):
    peft = adapt(model, LoraConfig(rank=4, alpha=8, **settings), seed)
    assert isinstance(peft, PeftModel)
    return peft


def record(backbone, method="lora"):
    return Record(method, CLASSES, "trim", backbone.name, backbone.fingerprint, __version__)


def test_a_saved_adapter_loads_on_the_stock_classes_with_the_same_logits(folder, tmp_path):
    backbone = load_backbone(str(folder))
    peft = lora(backbone.model, 3, targets=("q_proj", "v_proj")).eval()
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    save_adapter(peft, tmp_path / "adapter", record(backbone))
    stock = PeftModel.from_pretrained(tiny_whisper(), str(tmp_path / "adapter")).eval()
    features = mels(frames=1500)
    with torch.no_grad():
        assert torch.equal(stock(features).logits, peft(features).logits)
        assert not torch.allclose(peft(features).logits, tiny_whisper()(features).logits)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["task_type"] is None and config["auto_mapping"]["base_model_class"] == "WhisperForAudioClassification"


def test_a_saved_head_loads_on_the_stock_classes_with_the_same_logits(folder, tmp_path):
    backbone = load_backbone(str(folder))
    torch.manual_seed(5)
    head = Head(32, 16, 4)
    features = mels(frames=1500)
    with torch.no_grad():
        expected = head(backbone.model.encode(features).mean(1)).logits
    save_adapter(add_head_only(backbone.model, head), tmp_path / "frozen", record(backbone, "frozen"))
    stock = PeftModel.from_pretrained(tiny_whisper(), str(tmp_path / "frozen")).eval()
    with torch.no_grad():
        assert torch.allclose(stock(features).logits, expected, atol=1e-5)
    found = load_frozen_head(tmp_path / "frozen", load_backbone(str(folder)))
    assert torch.equal(found["projector.weight"], head.projector.weight)


def test_only_the_adapter_and_the_head_are_trained(folder):
    peft = lora(load_backbone(str(folder)).model, 0)
    trained = {name for name, parameter in peft.named_parameters() if parameter.requires_grad}
    assert trained and all("lora_" in name or "modules_to_save" in name for name in trained)
    assert sum(".lora_A." in name for name in trained) == 3


def test_the_seed_decides_the_adapter_and_leaves_the_generator_alone(folder):
    state = torch.random.get_rng_state()
    drawn = [lora(load_backbone(str(folder)).model, seed).state_dict() for seed in (1, 1, 2)]
    key = next(name for name in drawn[0] if "lora_A" in name)
    assert torch.equal(drawn[0][key], drawn[1][key]) and not torch.equal(drawn[0][key], drawn[2][key])
    lora(load_backbone(str(folder)).model, 9)
    torch.random.set_rng_state(state)


@pytest.fixture
def adapter(tmp_path):
    plain_adapter(tiny_whisper()).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def refused(folder, adapter, message, **kwargs):
    with pytest.raises(LorascopeError, match=message) as caught:
        load_adapter(load_backbone(str(folder), **kwargs), adapter)
    assert "\n" not in str(caught.value)


def test_an_adapter_of_a_wider_backbone_is_refused(adapter, tmp_path):
    tiny_whisper(width=48).save_pretrained(tmp_path / "wide")
    refused(tmp_path / "wide", adapter, "give the backbone that it was trained on")


def test_an_adapter_of_a_deeper_backbone_is_refused(adapter, tmp_path):
    tiny_whisper(layers=2).save_pretrained(tmp_path / "shallow")
    refused(tmp_path / "shallow", adapter, r"made for another backbone: it adapts encoder\.layers\.2")
    tiny_whisper(layers=4).save_pretrained(tmp_path / "deep")
    refused(tmp_path / "deep", adapter, "made for another backbone: it adapts 3 layers, this has 4")


def test_an_adapter_with_another_number_of_classes_is_refused(adapter, tmp_path):
    tiny_whisper(classes=("a", "b", "c")).save_pretrained(tmp_path / "three")
    refused(tmp_path / "three", adapter, "classifier has 4 classes, the backbone .* has 3")


def test_a_recorded_backbone_must_have_the_same_weights(folder, tmp_path):
    backbone = load_backbone(str(folder))
    save_adapter(lora(backbone.model, 0), tmp_path / "own", record(backbone))
    tiny_whisper(seed=7).save_pretrained(tmp_path / "other")
    refused(tmp_path / "other", tmp_path / "own", "the encoders' weights differ")


def test_folders_without_adapter_weights_or_head_are_refused(folder, adapter, tmp_path):
    refused(folder, tmp_path / "nowhere", "no such folder")
    (tmp_path / "empty").mkdir()
    refused(folder, tmp_path / "empty", r"no adapter_config\.json")
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if "lora" in name}, adapter / "adapter_model.safetensors"
    )
    refused(folder, adapter, r"asks for classifier\.bias, which it lacks")
    (adapter / "adapter_model.safetensors").write_bytes(b"nothing")
    refused(folder, adapter, "cannot be read")
    (adapter / "adapter_model.safetensors").unlink()
    refused(folder, adapter, r"no adapter_model\.safetensors")


def test_ia3_of_a_deeper_backbone_is_refused_and_no_frozen_baseline(folder, tmp_path):
    config = IA3Config(target_modules=["v_proj"], feedforward_modules=[], modules_to_save=["projector", "classifier"])
    get_peft_model(tiny_whisper(), config).save_pretrained(tmp_path / "ia3")
    tiny_whisper(layers=2).save_pretrained(tmp_path / "shallow")
    refused(tmp_path / "shallow", tmp_path / "ia3", r"made for another backbone: it adapts encoder\.layers\.2")
    with pytest.raises(LorascopeError, match="its adapter is not zero"):
        load_frozen_head(tmp_path / "ia3", load_backbone(str(folder)))


def test_a_frozen_head_comes_from_any_of_three_kinds_of_folder(folder, adapter, tmp_path):
    backbone = load_backbone(str(folder))
    whole = tiny_whisper()
    with torch.no_grad():
        whole.classifier.weight.add_(1)
    whole.save_pretrained(tmp_path / "whole")
    assert torch.equal(load_frozen_head(tmp_path / "whole", backbone)["classifier.weight"], whole.classifier.weight)
    untouched = plain_adapter(tiny_whisper())
    with torch.no_grad():
        for name, parameter in untouched.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    untouched.save_pretrained(tmp_path / "untouched")
    assert set(load_frozen_head(tmp_path / "untouched", backbone)) == {
        f"{a}.{b}" for a in ("projector", "classifier") for b in ("weight", "bias")
    }
    with pytest.raises(LorascopeError, match="its LoRA is not zero"):
        load_frozen_head(adapter, backbone)
    tiny_whisper(seed=3).save_pretrained(tmp_path / "other")
    with pytest.raises(LorascopeError, match="its encoder is not that of"):
        load_frozen_head(tmp_path / "other", backbone)
