"""Adapters as people save them: heads in part, any task, biases, convolutions, uneven layers, moved starts."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from lorascope.errors import LorascopeError
from lorascope.models.adapters.opening import open_adapted
from lorascope.models.families.known import parts_of
from lorascope.models.weights.backbone import load_backbone

from ...tiny import mels, tiny_whisper

HEAD = ["projector", "classifier"]
FEATURES = mels(frames=1500)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    tiny_whisper(layers=2).save_pretrained(folder)
    return folder


def stirred(config, seed=1, model=None):
    """PEFT on the stock class, with everything that is trained moved."""
    torch.manual_seed(seed)
    peft = get_peft_model(model or tiny_whisper(layers=2), config)
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return peft.eval()


def opened_as_plain_peft(backbone, folder):
    """What is opened computes what PEFT's own loading on the stock class does; switched off, what the bare one does."""
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"task_type": None}))
    stock = PeftModel.from_pretrained(tiny_whisper(layers=2), str(folder)).eval()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    for conv in (stock.get_base_model().encoder.conv1, stock.get_base_model().encoder.conv2):
        # Whisper asks a convolution for its stride, which PEFT's wrapper has not
        conv.stride = getattr(conv, "base_layer", conv).stride
    opened = load_backbone(str(backbone))
    with torch.no_grad():
        bare = opened.model.encode(FEATURES)
    adapted = open_adapted(opened, folder)
    parts = parts_of(adapted.model)
    parts.prove(FEATURES, None, bare)
    with torch.no_grad():
        logits = stock(FEATURES).logits
        assert torch.allclose(adapted.model(FEATURES).logits, logits, atol=1e-4, rtol=1e-4)
        # the head as measures read it
        pooled = parts.classifier.encode(FEATURES).mean(1)
        assert torch.allclose(parts.apply_head(pooled), logits, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(tiny_whisper(layers=2)(FEATURES).logits, logits, atol=1e-2)
    return adapted


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"modules_to_save": ["classifier"]}, "The projector is the backbone folder's own."),
        ({"modules_to_save": ["projector"]}, "The classifier is the backbone folder's own."),
        ({"modules_to_save": None}, "The projector and classifier are the backbone folder's own."),
        ({"target_modules": "all-linear", "modules_to_save": ["classifier"]}, "The projector is"),
        ({"bias": "all"}, "biases were trained too"),
        ({"bias": "lora_only"}, "biases were trained too"),
        ({"target_modules": ["v_proj", "conv1", "conv2"]}, "2 adapted layers are none of the blocks'"),
        ({"target_modules": ["v_proj", "projector"], "modules_to_save": ["classifier"]}, "projector is"),
        ({"exclude_modules": ["layers.0.self_attn.v_proj"]}, None),
        ({"layers_to_transform": [1]}, None),
        ({"init_lora_weights": "olora"}, "started by olora"),
        ({"init_lora_weights": "olora", "use_rslora": True, "lora_alpha": 3}, "started by olora"),
        ({"init_lora_weights": "gaussian"}, None),
        ({"init_lora_weights": "orthogonal"}, None),
    ],
)  # fmt: skip
def test_is_what_plain_peft_makes_of_it(settings, told, backbone, tmp_path):
    given = {"r": 4, "lora_alpha": 8, "target_modules": ["v_proj"], "modules_to_save": HEAD} | settings
    stirred(LoraConfig(**given)).save_pretrained(tmp_path / "adapter")
    if told == "biases were trained too" and not any(
        name.endswith(".bias") and ".classifier." not in name and ".projector." not in name
        for name in load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    ):
        pytest.skip("this version of PEFT saves no biases with this setting")
    notes = opened_as_plain_peft(backbone, tmp_path / "adapter").notes
    assert told is None or any(told in note for note in notes), notes


@pytest.mark.parametrize("task", ["FEATURE_EXTRACTION", "SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS"])
def test_any_task_type(task, backbone, tmp_path):
    config = LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=HEAD)
    stirred(config).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"task_type": task}))
    opened_as_plain_peft(backbone, tmp_path / "adapter")


@pytest.mark.parametrize("form", ["bare", "bin"])
def test_other_names_and_other_files_are_read(form, backbone, tmp_path):
    folder = tmp_path / "adapter"
    stirred(LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=HEAD)).save_pretrained(folder)
    expected = opened_as_plain_peft(backbone, folder).model(FEATURES).logits
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    if form == "bare":
        save_file({name.removeprefix("base_model.model."): tensor for name, tensor in tensors.items()}, file)
    else:
        file.unlink()
        torch.save(tensors, folder / "adapter_model.bin")
    assert torch.equal(open_adapted(load_backbone(str(backbone)), folder).model(FEATURES).logits, expected)


class Trap:
    """Executes something when unpickled."""

    def __reduce__(self):
        return (open, ("/tmp/lorascope-was-executed", "w"))


def refused(message, backbone, folder):
    with pytest.raises(LorascopeError, match=message) as caught:
        open_adapted(load_backbone(str(backbone)), folder)
    assert "\n" not in str(caught.value)


def test_a_bin_that_would_run_something_is_refused(backbone, tmp_path):
    folder = tmp_path / "adapter"
    stirred(LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=HEAD)).save_pretrained(folder)
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"a": Trap()}, folder / "adapter_model.bin")
    refused("it holds Python objects .*save or copy it again", backbone, folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_names_its_tensor(value, backbone, tmp_path):
    folder = tmp_path / "adapter"
    stirred(LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=HEAD)).save_pretrained(folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(name for name in tensors if "layers.1" in name and "lora_B" in name)
    tensors[name][2, 1] = value
    save_file(tensors, folder / "adapter_model.safetensors")
    refused(rf"{name} has 1 of 128 numbers that are NaN", backbone, folder)


def test_a_projector_that_was_never_saved_is_told(tmp_path):
    from transformers import WhisperForConditionalGeneration

    from ...tiny import tiny_config

    WhisperForConditionalGeneration(tiny_config(layers=2)).save_pretrained(tmp_path / "backbone")
    stirred(LoraConfig(target_modules=["v_proj"], modules_to_save=["classifier"])).save_pretrained(tmp_path / "adapter")
    refused(
        "it holds no projector, and .* has none either: it was drawn at random",
        tmp_path / "backbone",
        tmp_path / "adapter",
    )


def test_folders_that_hold_adapters_further_inside_name_them(backbone, tmp_path):
    peft = stirred(LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=HEAD))
    for number in (500, 1000):
        peft.save_pretrained(tmp_path / "trainer" / f"checkpoint-{number}")
    refused(
        "no adapter_config.json; give one of the folders inside .*: checkpoint-1000, checkpoint-500$",
        backbone,
        tmp_path / "trainer",
    )
    cell = tmp_path / "run" / "cells" / "abc123" / "adapter"
    peft.save_pretrained(cell)
    (cell / "lorascope.json").write_text(json.dumps({"method": "lora"}))
    refused(r"hold adapters: cells/abc123/adapter \(lora\)$", backbone, tmp_path / "run")


def test_starts_that_only_the_initial_adapter_tells(backbone, tmp_path):
    config = LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=HEAD, init_lora_weights="pissa_niter_4")
    torch.manual_seed(0)
    peft = get_peft_model(tiny_whisper(layers=2), config)
    peft.save_pretrained(tmp_path / "mine_init")
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        expected = peft.eval()(FEATURES).logits
    peft.save_pretrained(tmp_path / "mine")
    adapted = open_adapted(load_backbone(str(backbone)), tmp_path / "mine")
    with torch.no_grad():
        assert torch.allclose(adapted.model(FEATURES).logits, expected, atol=1e-4, rtol=1e-4)
    shutil.rmtree(tmp_path / "mine_init")
    refused("randomised decomposition .*path_initial_model.* or merge it", backbone, tmp_path / "mine")
