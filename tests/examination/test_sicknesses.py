"""Every sickness, planted, is named by its code; healthy adapters are called healthy. All kinds in all families are
examined by benchmarks/doctor.py; here every plant once, family and kind in turn.
"""

from __future__ import annotations

import pytest
import sicknesses
import small_adapters

from .conftest import codes, look

#: The first plant of each code; benchmarks/doctor.py has all of them in all families and kinds.
FIRST = list({plant.code: plant for plant in reversed(sicknesses.PLANTS)}.values())[::-1]
ONCE = [
    (plant, plant.families[number % len(plant.families)], plant.kinds[number % len(plant.kinds)])
    for number, plant in enumerate(FIRST)
]


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
