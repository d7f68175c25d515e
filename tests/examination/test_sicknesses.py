"""Every sickness, planted, is named by its code; healthy adapters are called healthy. All kinds in all families are
examined by benchmarks/doctor.py; here every plant once, family and kind in turn.
"""

from __future__ import annotations

import shutil

import pytest
import sicknesses
import small_adapters

from lorascope.examination.examine import examine
from lorascope.examination.examined import Examined
from lorascope.examination.labelled import read_clips
from lorascope.examination.patient import read_patient

from .conftest import codes, look

#: The first plant of each code; benchmarks/doctor.py has all of them in all families and kinds.
FIRST = list({plant.code: plant for plant in reversed(sicknesses.PLANTS)}.values())[::-1]
ONCE = [
    (plant, plant.families[number % len(plant.families)], plant.kinds[number % len(plant.kinds)])
    for number, plant in enumerate(FIRST)
]


def test_silence_does_not_hide_that_the_head_does_all(made, tmp_path):
    plant = next(plant for plant in sicknesses.PLANTS if plant.code == "head_does_all")
    ground = made("hubert", "lora")
    one = small_adapters.make(tmp_path / "full", ground.backbone, "full", "hubert", steps=10)
    plant.do(one)
    assert "head_does_all" in codes(look(one))


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "family", "kind"), ONCE, ids=[f"{p.name}-{f}-{k}" for p, f, k in ONCE])
def test_a_planted_sickness_is_named(plant, family, kind, sick):
    assert plant.code in codes(look(sick(plant, family, kind), plant.labelled))


@pytest.mark.parametrize("kind", small_adapters.KINDS)
def test_a_healthy_adapter_is_called_healthy(kind, made):
    number = small_adapters.KINDS.index(kind)
    found = look(made(small_adapters.FAMILIES[number % 4], kind))
    assert found.healthy, [finding.message for finding in found.sick]
    # nothing but labels is missing, so everything else was looked at
    assert set(found.skipped) <= {"label_order", "chance", "worse_than_off", "not_what_was_scored"}


def test_a_healthy_adapter_is_healthy_with_labels_too(made):
    found = look(made("whisper", "lora", True), labelled=True)
    assert found.healthy, [finding.message for finding in found.sick]
    assert not found.skipped


def test_a_whole_checkpoint_is_heard_without_its_backbone(made, tmp_path):
    one = made("wav2vec2", "full", True)
    shutil.copytree(one.folder, tmp_path / "tuned", ignore=shutil.ignore_patterns("lorascope.json"))
    found = examine(Examined(read_patient(tmp_path / "tuned"), None, read_clips(None, None, one.manifest)))
    assert found.healthy, [finding.message for finding in found.sick]
    assert not {"deaf_to_input", "label_order", "chance", "not_what_was_scored"} & set(found.skipped)
    assert {"no_effect", "worse_than_off", "base_changed"} <= set(found.skipped)


def test_every_code_of_the_checks_has_a_plant_and_a_section():
    from pathlib import Path

    from lorascope.examination.finding import all_checks

    remarks = {"effective_rank", "one_layer", "no_card"}
    named = {check.code for check in all_checks()}
    assert named - {plant.code for plant in sicknesses.PLANTS} == remarks
    text = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert [code for code in sorted(named) if f"\n### {code}\n" not in text] == []


def test_a_cause_is_told_before_its_consequences(sick):
    plant = next(plant for plant in sicknesses.PLANTS if plant.name == "never trained")
    found = look(sick(plant, "hubert", "lora"))
    assert [finding.code for finding in found.sick] == ["never_trained"]
    assert found.explained["no_effect"] == found.explained["layer_never_trained"] == "never_trained"
