"""The command line: help at once, and every kind of bad input told in one line with exit
code 2 (issue 2, section 6).
"""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from transformers import WhisperForAudioClassification

from lorascope.cli import main
from lorascope.models.weights import wheels as offline

from .conftest import make_corpus, settings_of
from .tiny import plain_adapter, tiny_config, tiny_whisper


def call(capsys, *arguments):
    """(exit code, standard output, standard error) of a command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
        sys.exit(0)
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def test_help_needs_neither_torch_nor_pandas():
    code = (
        "import sys; sys.argv = ['lorascope', '--help']\ntry:\n import lorascope.cli as c; "
        "c.main()\nexcept SystemExit: pass\nprint(sorted({'torch', 'transformers', 'pandas', "
        "'pydantic', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    for verb in ("run", "plan", "sweep", "analyze", "report"):
        assert verb in done.stdout


def test_ctrl_c_tells_how_to_go_on(capsys, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lorascope.experiment.loading.load_experiment", interrupted)
    code, _, err = call(capsys, "run", "experiment.yaml", "--out", tmp_path)
    assert code == 130 and "the same command continues" in err


@pytest.fixture
def experiment(tmp_path, backbone_folder):
    """A folder with its own corpus and an experiment on it, to be broken; gives (folder, write)."""
    make_corpus(tmp_path / "corpus", clips_per_class=1)

    def write(**changes):
        settings = settings_of(tmp_path / "corpus" / "manifest.csv", backbone_folder, **changes)
        (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(settings))
        return tmp_path / "experiment.yaml"

    return tmp_path, write


def edit(folder, function):
    file = folder / "corpus" / "manifest.csv"
    function(pd.read_csv(file)).to_csv(file, index=False)


def with_row(column, row, value):
    def change(table):
        table.loc[row, column] = value
        return table

    return change


def sound(samples, rate=16_000):
    def change(folder):
        soundfile.write(folder / "corpus" / "ann-anger-0.wav", samples, rate, subtype="FLOAT")

    return change


def drop(query):
    return lambda folder: edit(folder, lambda table: table.query(query))


FAULTS = {
    "unreadable clip": (
        lambda f: (f / "corpus" / "ann-anger-0.wav").write_bytes(b"RIFF nothing"),
        {},
        ["ann-anger-0.wav", "cannot be read as audio", "corpus.exclude"],
    ),
    "empty clip": (sound(np.zeros(0)), {}, ["ann-anger-0.wav", "no samples", "corpus.exclude"]),
    "silent clip": (sound(np.zeros(8000)), {}, ["ann-anger-0.wav", "silence", "corpus.exclude"]),
    "NaN in a clip": (sound(np.array([0.1, np.nan, 0.2] * 1000)), {}, ["ann-anger-0.wav", "NaN", "corpus.exclude"]),
    "missing file": (
        lambda f: (f / "corpus" / "bob-sadness-0.wav").unlink(),
        {},
        ["manifest.csv line 9", "bob-sadness-0.wav"],
    ),
    "unknown label": (
        lambda f: edit(f, with_row("emotion", 5, "happines")),
        {},
        ["manifest.csv line 7", "'happines'", "did you mean 'happiness'"],
    ),
    "duplicate id": (
        lambda f: edit(f, lambda t: pd.concat([t, t.iloc[[3]]])),
        {},
        ["manifest.csv line 18", "ann-sadness-0", "line 5"],
    ),
    "missing column": (
        lambda f: edit(f, lambda t: t.rename(columns={"speaker": "spkr"})),
        {},
        ["manifest.csv", "'speaker'"],
    ),
    "missing manifest": (lambda f: (f / "corpus" / "manifest.csv").unlink(), {}, ["manifest.csv", "corpus.root"]),
    "a class with no clips": (drop("emotion != 'sadness'"), {}, ["'sadness'", "corpus.classes"]),
    "a speaker with one class in training only": (
        drop("speaker in ['ann', 'bob'] or emotion != 'anger'"),
        {"folds": {"only": ["ann"]}},
        ["fold", "anger"],
    ),
    "one speaker only": (drop("speaker == 'ann'"), {}, ["speaker", "ann"]),
    "two speakers only": (drop("speaker in ['ann', 'bob']"), {"folds": {}}, ["speakers", "at least 3"]),
    "wrong key": (lambda f: None, {"backbon": {"name": "x"}}, ["experiment.yaml", "backbon", "did you mean backbone"]),
    "wrong value": (
        lambda f: None,
        {"analysis": {"clips_per_class": 0}},
        ["experiment.yaml", "analysis.clips_per_class"],
    ),
    "wrong word": (
        lambda f: None,
        {"folds": {"selection": "test_set"}},
        ["experiment.yaml", "folds.selection", "test_fold"],
    ),
    "a fold that is not there": (lambda f: None, {"folds": {"only": ["zoe"]}}, ["folds.only", "zoe", "ann"]),
    "an analysed fold that is not there": (
        lambda f: None,
        {"analysis": {"fold": "zoe", "draws": 50}},
        ["analysis.fold", "zoe"],
    ),
    "unknown reader": (lambda f: None, {"corpus": {"reader": "emobd"}}, ["corpus.reader", "did you mean 'emodb'"]),
    "fp16 without a GPU": (lambda f: None, {"precision": "fp16"}, ["precision", "fp32"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_of_a_run_is_one_line_and_nothing_is_written(experiment, capsys, fault):
    if fault == "fp16 without a GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    folder, write = experiment
    spoil, changes, expected = FAULTS[fault]
    file = write(**changes)
    spoil(folder)
    code, out, err = call(capsys, "run", file, "--out", folder / "out")
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    for piece in expected:
        assert piece in line
    assert "Traceback" not in out + err
    assert not (folder / "out").exists()


def test_debug_shows_the_traceback(experiment):
    folder, write = experiment
    file = write(backbon={})
    done = subprocess.run(
        [sys.executable, "-m", "lorascope", "run", str(file), "--out", str(folder / "out"), "--debug"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "Traceback" in done.stderr and "did you mean backbone" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "methods.lora.rank"], "expected key.path=value"),
        (["--set", "methods.lora.rank=[1"], "not YAML"),
        (["--set", "name.x=1"], "name is a value, not a section"),
        (["--set", "methods.lora.rankk=8"], "did you mean rank"),
    ],
)
def test_wrong_overrides_are_told(experiment, capsys, arguments, expected):
    _, write = experiment
    code, _, err = call(capsys, "plan", write(), *arguments)
    assert code == 2 and expected in err and len(err.strip().splitlines()) == 1


def test_plan_tells_every_cell_as_json(experiment, capsys):
    _, write = experiment
    code, out, _ = call(capsys, "plan", write(folds={}), "--json", "--set", "methods.lora.rank=8")
    assert code == 0
    plan = json.loads(out)
    assert len(plan["cells"]) == 9
    assert {cell["label"] for cell in plan["cells"]} == {"frozen", "LoRA r=8 v_proj", "LoRA r=2 v_proj"}
    for cell in plan["cells"]:
        assert cell["clips"] == {"train": 8, "validation": 4, "test": 4}
    code, out, _ = call(capsys, "plan", write())
    assert code == 0 and "left out" not in out and "ann" in out


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter")
    plain_adapter(tiny_whisper()).save_pretrained(folder)
    return folder


@pytest.fixture
def analyze(capsys, corpus, backbone_folder, adapter, tmp_path):
    def run(**changes):
        options = {
            "backbone": backbone_folder,
            "adapter": adapter,
            "corpus": "csv",
            "root": corpus,
            "out": tmp_path / "out",
        } | changes
        code, out, err = call(
            capsys, "analyze", *[text for key, value in options.items() for text in (f"--{key}", value)]
        )
        assert code == 2 and "Traceback" not in out + err and not (tmp_path / "out").exists()
        (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
        return line

    return run


def test_an_adapter_for_another_backbone_is_told(analyze, tmp_path):
    tiny_whisper(layers=2).save_pretrained(tmp_path / "other")
    assert "made for another backbone" in analyze(backbone=tmp_path / "other")


def test_an_adapter_with_another_number_of_classes_is_told(analyze, tmp_path):
    tiny_whisper(classes=("ang", "hap", "neu")).save_pretrained(tmp_path / "three")
    assert "its classifier has 4 classes" in analyze(backbone=tmp_path / "three")


def test_a_folder_without_weights_is_told(analyze, tmp_path, adapter):
    tiny_config().save_pretrained(tmp_path / "bare")
    assert "model.safetensors" in analyze(backbone=tmp_path / "bare")
    shutil.copytree(adapter, tmp_path / "empty")
    (tmp_path / "empty" / "adapter_model.safetensors").unlink()
    assert "adapter_model.safetensors" in analyze(adapter=tmp_path / "empty")


def test_a_wrong_hash_is_told(analyze, tmp_path, monkeypatch):
    (tmp_path / "model.bin").write_bytes(b"not the weights")

    class Distribution:
        def locate_file(self, inside):
            return tmp_path / "model.bin"

    monkeypatch.setattr(offline, "distribution", lambda name: Distribution())
    monkeypatch.setattr("lorascope.models.weights.backbone._cached", lambda target: False)
    monkeypatch.setattr("lorascope.models.weights.backbone.hub_refuses", lambda target: "the hub cannot be reached")
    line = analyze(backbone="whisper-tiny.en", labels="ang,hap,neu,sad")
    assert "SHA-256" in line and "force-reinstall" in line


def test_unmatched_class_names_are_told(analyze, tmp_path):
    WhisperForAudioClassification(tiny_config(classes=("one", "two", "three", "four"))).save_pretrained(
        tmp_path / "odd"
    )
    line = analyze(backbone=tmp_path / "odd")
    assert "'one' cannot be matched" in line and "--labels" in line


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"context": "short"}, "expected trim or full"),
        ({"set": "drawss=100"}, "did you mean draws"),
        ({"clip-ids": "nowhere.txt"}, "nowhere.txt"),
        ({"frozen": "nowhere"}, "frozen nowhere: no such folder"),
        ({"corpus": "csvv"}, "did you mean 'csv'"),
        ({"root": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_options_of_analyze_are_told(analyze, changes, expected):
    assert expected in analyze(**changes)


def test_report_of_a_folder_without_results_is_told(capsys, tmp_path):
    code, _, err = call(capsys, "report", tmp_path)
    assert code == 2 and "no manifest.json" in err


def test_report_makes_the_page_again(capsys, finished):
    _, results = finished
    results.report.unlink()
    code, out, _ = call(capsys, "report", results.folder.root, "--audio", "2")
    assert code == 0 and results.report.is_file() and "LoRA r=4" in out
    assert "2 of them can be heard" in results.report.read_text()


@pytest.mark.parametrize(
    "name", ["b[/x]", *(pytest.param(name, marks=pytest.mark.slow) for name in ("b[v2]", "b:smile:", "b[link=x]"))]
)
def test_nothing_that_the_user_names_is_markup(capsys, finished, tmp_path, name):
    _, results = finished
    shutil.copytree(results.folder.root, tmp_path / name)
    code, out, _ = call(capsys, "report", tmp_path / name)
    assert code == 0 and f"report: {tmp_path / name}/report.html" in out.replace("\n", "")


def test_names_in_a_corpus_are_no_markup(experiment, capsys):
    folder, write = experiment
    manifest = folder / "corpus" / "manifest.csv"
    table = pd.read_csv(manifest, dtype=str)
    first = table["speaker"].iloc[0]
    manifest.write_text(table.replace({"speaker": {first: "[/ann]"}}).to_csv(index=False))
    code, out, _ = call(capsys, "plan", write(folds={}))
    assert code == 0 and "[/ann]" in out
    code, out, _ = call(capsys, "corpora", "check", "csv", "--root", manifest)
    assert "[/ann]" in out and str(folder) in out.replace("\n", "")
