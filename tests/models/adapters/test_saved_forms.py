"""Weights that PEFT did not save: raw state dicts give what the saved adapter gives, and parts of a save are told."""

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from lorascope.errors import LorascopeError
from lorascope.models.adapters.folder import load_adapter
from lorascope.models.adapters.opening import open_adapted
from lorascope.models.adapters.saved_forms import as_peft_saves
from lorascope.models.weights.backbone import load_backbone

from ...tiny import mels, plain_adapter, tiny_whisper
from .test_foreign import foreign, whisper_for_asr

FORMS = {
    "the state dict": lambda peft: peft.state_dict(),
    "the trainable parameters": lambda peft: {n: p.detach() for n, p in peft.named_parameters() if p.requires_grad},
    "without PEFT's prefix": lambda peft: {
        name.removeprefix("base_model.model."): tensor for name, tensor in peft.state_dict().items()
    },
    "wrapped": lambda peft: {
        f"module.{name.replace('.encoder.', '.encoder._fsdp_wrapped_module.')}": tensor
        for name, tensor in peft.state_dict().items()
    },
}


@pytest.fixture
def folder(tmp_path):
    tiny_whisper().save_pretrained(tmp_path / "backbone")
    return tmp_path / "backbone"


@pytest.fixture
def peft(tmp_path):
    model = plain_adapter(tiny_whisper())
    model.save_pretrained(tmp_path / "adapter")
    return model


@pytest.mark.parametrize("form", FORMS)
def test_a_raw_state_dict_is_the_adapter_that_peft_saves(form, folder, peft, tmp_path):
    features = mels(frames=1500)
    expected = open_adapted(load_backbone(str(folder)), tmp_path / "adapter")
    tensors = {name: tensor.clone().contiguous() for name, tensor in FORMS[form](peft).items()}
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    found = open_adapted(load_backbone(str(folder)), tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(found.model(features).logits, expected.model(features).logits)
    assert found.has_head and found.notes[0].startswith("The weights are a raw state_dict")
    assert not [note for note in expected.notes if "raw" in note]


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}])
def test_a_raw_state_dict_without_a_head(settings, tmp_path):
    backbone, adapter, model = foreign(whisper_for_asr(), tmp_path, target_modules=["v_proj"], **settings)
    save_file({n: t.clone().contiguous() for n, t in model.state_dict().items()}, adapter / "adapter_model.safetensors")
    open_adapted(backbone, adapter)
    features = mels(frames=1500)
    with torch.no_grad():
        expected = model.get_base_model().model.encoder(features).last_hidden_state
        assert torch.allclose(backbone.model.encode(features), expected, atol=1e-5)


def test_what_peft_saves_stays_as_it_is(peft):
    saved = get_peft_model_state_dict(peft)
    assert as_peft_saves(saved) == (saved, False)
    assert as_peft_saves(peft.state_dict())[0].keys() == saved.keys()


def test_several_adapters_in_one_file_are_refused(folder, peft, tmp_path):
    peft.add_adapter("other", peft.peft_config["default"])
    save_file(
        {n: t.clone().contiguous() for n, t in peft.state_dict().items()},
        tmp_path / "adapter" / "adapter_model.safetensors",
    )
    with pytest.raises(LorascopeError, match=r"several adapters \(default, other\); save one"):
        load_adapter(load_backbone(str(folder)), tmp_path / "adapter")


LAYER = "base_model.model.encoder.layers.1.self_attn.v_proj"


def first_rows(tensor):
    return tensor[: len(tensor) // 2].clone()


@pytest.mark.parametrize(
    ("names", "change", "told"),
    [
        # ZeRO-3: every parameter is left empty
        (("",), lambda tensor: torch.zeros(0), (" is empty ([0]",)),
        (
            ("layers.1", "lora_B"),
            lambda tensor: torch.zeros(0),
            (f"{LAYER}.lora_B.weight is empty ([0], and ", "[4, 32]"),
        ),
        # FSDP: the first rows, of process 0
        (("lora_A",), first_rows, (".lora_A.weight is [2, 32] and ", ".lora_B.weight [32, 4]")),
        (("lora_",), first_rows, (".lora_A.weight is [2, 32] and ", ".lora_B.weight [16, 4]")),
        (("lora_B",), first_rows, (".lora_B.weight is [16, 4], but the layer's weight [32, 32]",)),
        (("projector.weight",), first_rows, ("projector.weight is [8, 32] and ", "classifier.weight [4, 16]")),
    ],
)  # fmt: skip
def test_a_part_of_a_save_is_told_with_both_shapes(names, change, told, folder, peft, tmp_path):
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    assert tensors[f"{LAYER}.lora_A.weight"].shape == (4, 32)
    save_file({n: change(t) if all(part in n for part in names) else t for n, t in tensors.items()}, file)
    with pytest.raises(LorascopeError) as caught:
        open_adapted(load_backbone(str(folder)), tmp_path / "adapter")
    message = str(caught.value)
    assert "\n" not in message and "ZeRO-3" in message and str(tmp_path / "adapter") in message
    for words in told:
        assert words in message, message


def test_a_factor_without_its_partner_is_told(folder, peft, tmp_path):
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "lora_B" not in name}, file)
    with pytest.raises(LorascopeError, match=r"lora_A.weight \[4, 32\] is there, but not .*lora_B.weight"):
        open_adapted(load_backbone(str(folder)), tmp_path / "adapter")
