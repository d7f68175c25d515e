"""The plan as people and programs read it: folds of every protocol, what is left out, and what is trained in which."""

from __future__ import annotations

import pandas as pd
import pytest

from lorascope.experiment.config import Experiment
from lorascope.experiment.loading import experiment_from
from lorascope.experiment.planning import describe
from lorascope.experiment.show import print_plan

from ..conftest import settings_of
from ..tiny import CLASSES, write_tone

SPEAKERS = tuple(f"s{number:02d}" for number in range(15))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """15 speakers and some clips of whom nobody knows who speaks; one sound for all, since a plan reads no sound."""
    folder = tmp_path_factory.mktemp("many")
    sound = write_tone(folder / "a.wav")
    rows = [(f"{s}-{e}", sound, s, e) for s in (*SPEAKERS, "unknown") for e in CLASSES]
    pd.DataFrame(rows, columns=["id", "path", "speaker", "emotion"]).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def experiment_of(manifest, backbone_folder, **changes) -> Experiment:
    return experiment_from(settings_of(manifest, backbone_folder, **({"folds": {}} | changes)))


def shown(experiment: Experiment, monkeypatch, capsys) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    print_plan(describe(experiment))
    return capsys.readouterr().out.splitlines()


def test_groups_take_a_line_each(manifest, backbone_folder, monkeypatch, capsys):
    experiment = experiment_of(manifest, backbone_folder, folds={"protocol": "speaker_groups", "groups": 5})
    lines = shown(experiment, monkeypatch, capsys)
    folds = [line.split() for line in lines if line.startswith("group-")]
    assert [words[0] for words in folds] == [f"group-{number}" for number in range(1, 6)]
    assert sorted(speaker for words in folds for speaker in words[1:4]) == sorted(SPEAKERS)
    assert all(words[-5:] == ["12", "/", "12", "/", "36"] for words in folds)
    assert "note: 4 clips of unknown speakers are in no part" in lines
    assert "11 cells:" in lines and "  frozen, in every fold" in lines
    assert "  LoRA r=2 v_proj (rank space), in fold group-1" in lines


def test_many_names_are_counted_and_json_has_them_all(manifest, backbone_folder, monkeypatch, capsys):
    experiment = experiment_of(manifest, backbone_folder, folds={"only": ["s03"]})
    (line,) = [line for line in shown(experiment, monkeypatch, capsys) if line.startswith("s03")]
    assert "… s14 (13)" in line
    speakers = describe(experiment)["cells"][0]["speakers"]
    assert len(speakers["train"]) == 13 and speakers["removed"] == ["unknown"]
