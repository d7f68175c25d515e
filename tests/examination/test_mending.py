"""What is mended loads in plain transformers and PEFT and gives the logits of before."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import sicknesses
import small_adapters
import torch
from safetensors.torch import load_file

from lorascope.errors import LorascopeError
from lorascope.examination.examine import examine, examine_all
from lorascope.examination.examined import Examined
from lorascope.examination.labelled import read_clips
from lorascope.examination.mending import mend
from lorascope.examination.patient import read_patient

from .conftest import look

CASES = [
    ("_orig_mod.", "whisper", "lora"),
    ("prefix missing", "hubert", "ia3"),
    ("another adapter's name", "wav2vec2", "dora"),
    ("FSDP", "wavlm", "full"),
    ("PiSSA without its conversion", "whisper", "lora"),
    ("rows of the classifier moved", "wav2vec2", "lora"),
    ("rows of the classifier moved", "hubert", "full"),
]


def mended(ill, out, labelled=False):
    given = read_clips(None, None, ill.manifest) if labelled else None
    examined = Examined(read_patient(ill.folder), str(ill.backbone), given)
    return mend(examined, examine(examined), out)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family", "kind"), CASES)
def test_mended_gives_what_the_adapter_gave(name, family, kind, sick, made, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name == name)
    ill = sick(plant, family, kind)
    # PiSSA's own loading moves the base each time, so that the sick folder itself gives what it was trained to
    before, _ = small_adapters.plain_logits(ill if plant.code == "base_changed" else made(family, kind, plant.labelled))
    told = mended(ill, tmp_path / "mended", plant.labelled)
    assert told.endswith("examined again: healthy"), told
    as_before(tmp_path / "mended", ill, before)


def test_a_head_that_the_backbone_has_is_copied(made, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name.startswith("the head lost"))
    headed = made("whisper", "lora").backbone.with_name("whisper-headed")
    # the head that is lost is the backbone's own, which training left as it is
    ill = small_adapters.make(tmp_path / "ill", headed, "lora", "whisper", steps=3, keep_head=True)
    before, _ = small_adapters.plain_logits(ill)
    plant.do(ill)
    assert "the head was copied" in mended(ill, tmp_path / "mended")
    as_before(tmp_path / "mended", ill, before)
    assert look(small_adapters.Made(tmp_path / "mended", headed, "lora", "whisper", {})).healthy


def test_what_stock_wavlm_did_with_a_moved_base_is_not_guessed(sick, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name == "PiSSA without its conversion")
    told = mended(sick(plant, "wavlm", "lora"), tmp_path / "mended")
    assert told.startswith("not mended: stock WavLM reads the weights of its attention past any adapter")
    assert not (tmp_path / "mended").exists()


@pytest.mark.slow
def test_olora_is_converted_where_its_first_factors_lie_beside_it(made, tmp_path):
    backbone = made("wav2vec2", "lora").backbone
    settings = {"init_lora_weights": "olora", "steps": 5}
    ill = small_adapters.make(tmp_path / "ill", backbone, "lora", "wav2vec2", **settings)
    told = mended(ill, tmp_path / "not")
    assert "lie not beside it" in told and not (tmp_path / "not").exists()
    before, _ = small_adapters.plain_logits(ill)
    small_adapters.make(ill.folder / "initial", backbone, "lora", "wav2vec2", **settings | {"steps": 0})
    assert mended(ill, tmp_path / "mended").endswith("healthy")
    as_before(tmp_path / "mended", ill, before)


def test_half_precision_is_widened(made, tmp_path):
    ill = small_adapters.Made(tmp_path / "half", made("whisper", "lora").backbone, "lora", "whisper", {})
    shutil.copytree(made("whisper", "lora").folder, ill.folder)
    sicknesses.edit(ill, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    before, _ = small_adapters.plain_logits(ill)
    found = next(examine_all([ill.folder], str(ill.backbone), mend_into=tmp_path / "mended"))
    assert [finding.level for finding in found.findings if finding.code == "merge_changes"] == ["remark"]
    assert found.mended and "widened to float32" in found.mended and found.mended.endswith("healthy")
    assert {tensor.dtype for tensor in load_file(sicknesses.weights_of(ill)).values()} == {torch.bfloat16}
    as_before(tmp_path / "mended", ill, before)


def as_before(folder, ill, before):
    """That a folder loads in plain transformers and PEFT without a warning, and gives the logits of before."""
    after, warned = small_adapters.plain_logits(
        small_adapters.Made(folder, ill.backbone, ill.kind, ill.family, ill.settings)
    )
    assert not warned
    assert np.abs(after - before).max() <= 1e-6 * np.abs(before).max()


def test_what_needs_a_decision_is_left(sick, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name == "no head")
    assert "without a decision" in mended(sick(plant, "whisper", "lora"), tmp_path / "mended")
    assert not (tmp_path / "mended").exists()


def test_a_folder_that_is_not_empty_is_refused(sick, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name == "module.")
    ill = sick(plant, "whisper", "lora")
    with pytest.raises(LorascopeError, match="not empty"):
        mended(ill, ill.folder)
