"""`lorascope doctor` and `lorascope.doctor`: exit codes, JSON, several adapters, bad input."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import sicknesses
import small_adapters
import torch

import lorascope
from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.examination.labelled import same_class

from ..corpora.trees import emodb_tree
from .conftest import look


def run(capsys, *words):
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as end:
        main(["doctor", *map(str, words)])
    told = capsys.readouterr()
    return end.value.code or 0, told.out, told.err


def plant(name):
    return next(each for each in sicknesses.PLANTS if each.name == name)


def test_healthy_is_0_and_sick_is_1(made, sick, capsys):
    well = made("wav2vec2", "lora")
    code, out, _ = run(capsys, well.folder, "--backbone", well.backbone)
    assert code == 0 and "healthy" in out and "keys_unknown" in out
    ill = sick(plant("module."), "wav2vec2", "lora")
    code, out, _ = run(capsys, ill.folder, "--backbone", ill.backbone)
    assert code == 1 and "sick: keys_unknown" in out and "--fix --out mended" in out
    assert "docs/doctor.md#keys_unknown" in out


def test_json_of_several_and_checkpoints_in_a_folder(made, sick, tmp_path, capsys):
    well, ill = made("wav2vec2", "lora"), sick(plant("NaN"), "wav2vec2", "lora")
    for number in (9, 10):
        shutil.copytree(well.folder, tmp_path / "run" / f"checkpoint-{number}")
    code, out, _ = run(capsys, tmp_path / "run", ill.folder, "--backbone", well.backbone, "--json")
    found = json.loads(out)["adapters"]
    assert code == 1 and [each["healthy"] for each in found] == [True, True, False]
    assert [each["adapter"].rsplit("-")[-1] for each in found[:2]] == ["9", "10"]
    finding = next(each for each in found[2]["findings"] if each["code"] == "not_finite")
    assert finding["level"] == "sick" and finding["layers"] == [1] and finding["mend"] and finding["evidence"]
    assert "chance" in found[0]["skipped"]


def test_the_function_gives_the_same_as_a_table(sick):
    ill = sick(plant("alpha 4096"), "hubert", "lora")
    table = lorascope.doctor(ill.folder, str(ill.backbone))
    state = table.set_index("code")["state"]
    assert state["scale"] == "sick" and state["exploded"] == "explained" and state["not_whole"] == "well"


def test_fix_writes_what_is_healthy(sick, tmp_path, capsys):
    ill = sick(plant("prefix doubled"), "whisper", "ia3")
    code, out, _ = run(capsys, ill.folder, "--backbone", ill.backbone, "--fix", "--out", tmp_path / "mended")
    assert code == 1 and "examined again: healthy" in out
    assert run(capsys, tmp_path / "mended", "--backbone", ill.backbone)[0] == 0
    assert "Mended by lorascope doctor" in (tmp_path / "mended" / "README.md").read_text()


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda folder: folder, "no adapter (it is empty)"),
        (lambda folder: folder / "nowhere", "no such folder"),
        (lambda folder: (folder / "cells").mkdir() or folder, "a run folder"),
    ],
)
def test_no_adapter_is_2_in_a_line(prepare, told, tmp_path, capsys):
    code, _, error = run(capsys, prepare(tmp_path))
    assert code == 2 and told in error.splitlines()[-1] and error.splitlines()[-1].startswith("error: ")


def test_a_backbone_of_another_family_and_a_corpus_that_fits_nothing_are_2(made, tmp_path, capsys):
    well = made("wav2vec2", "lora")
    other = made("whisper", "lora").backbone
    code, _, error = run(capsys, well.folder, "--backbone", other)
    assert code == 2 and "made on wav2vec 2.0, but" in error.splitlines()[-1]
    skilled = made("wav2vec2", "lora", True)
    rows = skilled.manifest.read_text()
    for name in small_adapters.CLASSES:
        rows = rows.replace(name, f"dialect-{name}")
    (skilled.manifest.parent / "other.csv").write_text(rows)
    code, _, error = run(capsys, skilled.folder, "--manifest", skilled.manifest.parent / "other.csv")
    assert code == 2 and "none of its labels" in error.splitlines()[-1]


def test_labels_of_another_task_are_taken_as_they_are(made, tmp_path, capsys):
    """The labels stand in the column of the task; as emotions they would be the other column's."""
    skilled = made("wav2vec2", "lora", True)
    table = pd.read_csv(skilled.manifest, dtype=str)
    table["path"] = [str(skilled.manifest.parent / path) for path in table["path"]]
    table["word"], table["emotion"] = table["emotion"], "neutral"
    table.to_csv(tmp_path / "words.csv", index=False)
    given = (skilled.folder, "--backbone", skilled.backbone, "--manifest", tmp_path / "words.csv")
    code, out, _ = run(capsys, *given, "--task", "word", "--json")
    found = json.loads(out)["adapters"][0]
    assert code == 0 and "chance" not in found["skipped"] and "label_order" not in found["skipped"]
    # two names of one emotion are two words
    assert same_class("happy", "joy") and not same_class("happy", "joy", "word") and same_class("on", "on ", "word")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--task", "word"], "--task: is what labels are of; give labelled clips with --corpus or --manifest"),
        (["--corpus", "emodb", "--root", ".", "--task", "mood"], "--task: this reader gives no 'mood'"),
        (["--corpus", "emodb", "--root", "nowhere"], "nowhere: no such file or folder; give the corpus' folder"),
    ],
)
def test_hints_name_options_of_the_doctor(made, tmp_path, capsys, monkeypatch, words, told):
    emodb_tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    well = made("wav2vec2", "lora")
    code, _, error = run(capsys, well.folder, "--backbone", well.backbone, *words)
    assert code == 2 and told in error.splitlines()[-1] and "corpus." not in error.splitlines()[-1]


def test_of_several_one_that_cannot_be_examined_stops_nobody(made, tmp_path, capsys):
    well = made("wav2vec2", "lora")
    code, out, _ = run(capsys, tmp_path, well.folder, "--backbone", well.backbone, "--json")
    first, second = json.loads(out)["adapters"]
    assert code == 2 and "no adapter" in first["error"] and second["healthy"]


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("it was executed",))


def test_a_pickle_is_not_executed(made, tmp_path):
    well = made("wav2vec2", "lora")
    shutil.copytree(well.folder, tmp_path / "pickled")
    (tmp_path / "pickled" / "adapter_model.safetensors").unlink()
    torch.save({"x": Bomb()}, tmp_path / "pickled" / "adapter_model.bin")
    found = look(small_adapters.Made(tmp_path / "pickled", well.backbone, "lora", "wav2vec2", {}))
    assert [finding.code for finding in found.sick] == ["not_whole"]
    assert "code would have to be run" in found.sick[0].message


def test_the_function_refuses_what_is_no_adapter(tmp_path):
    with pytest.raises(LorascopeError, match="no adapter"):
        lorascope.doctor(tmp_path)
