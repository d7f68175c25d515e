"""What is mended loads in plain transformers and PEFT and gives the logits of before."""

from __future__ import annotations

import numpy as np
import pytest
import sicknesses
import small_adapters

from lorascope.errors import LorascopeError
from lorascope.examination.examine import examine
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
    after, warned = small_adapters.plain_logits(
        small_adapters.Made(tmp_path / "mended", ill.backbone, kind, family, ill.settings)
    )
    assert not warned
    assert np.abs(after - before).max() <= 1e-6 * np.abs(before).max()


def test_a_head_that_the_backbone_has_is_copied(made, sick, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name.startswith("the head lost"))
    ill = sick(plant, "whisper", "lora")
    assert "the head was copied" in mended(ill, tmp_path / "mended")
    assert look(small_adapters.Made(tmp_path / "mended", ill.backbone, "lora", "whisper", {})).healthy


def test_what_needs_a_decision_is_left(sick, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name == "no head")
    assert "without a decision" in mended(sick(plant, "whisper", "lora"), tmp_path / "mended")
    assert not (tmp_path / "mended").exists()


def test_a_folder_that_is_not_empty_is_refused(sick, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name == "module.")
    ill = sick(plant, "whisper", "lora")
    with pytest.raises(LorascopeError, match="not empty"):
        mended(ill, ill.folder)
