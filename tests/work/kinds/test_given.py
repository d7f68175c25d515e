"""Adapters from elsewhere as units of work: of test speakers alone, taken up where they are whole, aggregated."""

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import WhisperForAudioClassification

from lorascope.api import analyze, analyze_folds
from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.experiment.config import AnalysisConfig

from ...tiny import tiny_config, write_tone

LABELS = ("neu", "Sad", "angry", "hap")
QUICK = AnalysisConfig(draws=50, clips_per_class=3, measures=("contribution", "lens"), baselines=("gaussian",))
SPEAKERS = (["ann"], ["bob"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A backbone and two adapters of it, drawn at random: what they show doesn't matter here."""
    root = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    WhisperForAudioClassification(tiny_config(classes=LABELS, layers=2, heads=2)).save_pretrained(root / "backbone")
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        model = WhisperForAudioClassification.from_pretrained(root / "backbone")
        config = LoraConfig(
            r=4, target_modules=["v_proj"], modules_to_save=["projector", "classifier"], init_lora_weights=False
        )
        get_peft_model(model, config).save_pretrained(root / name)
    return root


def _folds(made, corpus, out, said=None, speakers=SPEAKERS, adapters=("one", "two")):
    say = (said if said is not None else []).append
    adapters = [made / name for name in adapters]
    return analyze_folds(
        str(made / "backbone"), adapters, speakers, out, "csv", root=corpus, context="trim", config=QUICK, say=say
    )


@pytest.fixture(scope="module")
def folds(made, corpus, tmp_path_factory):
    return _folds(made, corpus, tmp_path_factory.mktemp("folds") / "out")


def test_each_adapter_is_measured_on_its_own_test_speakers(folds):
    listed = folds.manifest["analyses"]
    assert [unit["fold"] for unit in listed] == ["one", "two"]
    heard = [pd.read_json(folds.folder.analyses.place(unit["hash"]) / "about.json", typ="series") for unit in listed]
    assert [about["speakers"]["test"] for about in heard] == [list(names) for names in SPEAKERS]
    assert all(clip.startswith(about["speakers"]["test"][0]) for about in heard for clip in about["clip_ids"])


def test_what_they_show_is_aggregated(folds):
    units = folds.analysis("lens").query("model == 'trained' and variant == 'corrected' and layer == 1")
    found = folds.findings("lens").query("model == 'trained' and variant == 'corrected' and layer == 1").iloc[0]
    assert len(units) == found["folds"] == 2
    assert found["kl"] == pytest.approx(units["kl"].mean())
    assert found["kl_low"] < found["kl"] < found["kl_high"]
    page = folds.report.read_text()
    assert "Mean of 2 adapters (2 folds, 1 seed)" in page and 'href="units/fold-one-seed-0.html"' in page


def test_an_adapters_numbers_are_those_of_its_own_analysis(made, corpus, folds, tmp_path):
    alone = analyze(
        str(made / "backbone"), made / "two", tmp_path / "out", "csv", root=corpus, context="trim", config=QUICK,
        test_speakers=["bob"],
    )  # fmt: skip
    own = folds.analysis("contribution").query("fold == 'two'").drop(columns=["method", "control", "fold", "seed"])
    pd.testing.assert_frame_equal(alone["contribution"], own.reset_index(drop=True))
    # the same settings, weights and clips have the same address
    assert alone.manifest["analyses"][0]["hash"] == folds.manifest["analyses"][1]["hash"]


def test_an_analysis_that_is_whole_is_taken_up_and_a_changed_adapter_is_measured_anew(made, corpus, tmp_path):
    out = tmp_path / "out"
    first = _folds(made, corpus, out)
    said: list[str] = []
    _folds(made, corpus, out, said)
    assert [text for text in said if "done before" in text] == [
        f"[1/2] analysis of {made / 'one'}: done before",
        f"[2/2] analysis of {made / 'two'}: done before",
    ]
    changed: list[str] = []
    again = _folds(made, corpus, out, changed, adapters=("one", "one"), speakers=(["ann"], ["cy"]))
    assert len([text for text in changed if "done before" in text]) == 1
    assert again.manifest["analyses"][0]["hash"] == first.manifest["analyses"][0]["hash"]


@pytest.mark.parametrize(
    ("speakers", "told"),
    [
        ((["ann"],), "--test-speakers: 1 for 2 adapters"),
        ((["ann"], ["ann"]), "ann is tested by one and by two"),
        ((["ann"], []), "--test-speakers of two: names nobody"),
        ((["ann"], ["nobody"]), "no speaker 'nobody' among"),
    ],
)
def test_speakers_that_would_mislead_are_refused(made, corpus, tmp_path, speakers, told):
    with pytest.raises(LorascopeError, match=told):
        _folds(made, corpus, tmp_path / "out", speakers=speakers)
    assert not (tmp_path / "out").exists()


def test_the_command_line_takes_them_in_their_order(made, corpus, tmp_path, capsys):
    words = ["analyze", "--backbone", str(made / "backbone"), "--corpus", "csv", "--root", str(corpus)]
    words += ["--context", "trim", "--out", str(tmp_path / "out"), "--set", "draws=50", "--set", "clips_per_class=3"]
    words += ["--set", "measures=[lens]"]
    for name, speaker in zip(("one", "two"), ("ann", "bob"), strict=True):
        words += ["--adapter", str(made / name), "--test-speakers", speaker]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code in (None, 0)
    assert "report: " in capsys.readouterr().out
    assert (tmp_path / "out" / "findings" / "lens.parquet").is_file()


def test_an_adapter_of_another_task_is_analysed_by_the_names_of_its_classes(tmp_path, capsys):
    torch.manual_seed(0)
    classes = ("yes", "no")
    WhisperForAudioClassification(tiny_config(classes=classes, layers=2, heads=2)).save_pretrained(tmp_path / "base")
    model = WhisperForAudioClassification.from_pretrained(tmp_path / "base")
    saved = ["projector", "classifier"]
    config = LoraConfig(r=4, target_modules=["v_proj"], modules_to_save=saved, init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    (tmp_path / "sounds").mkdir()
    rows = []
    for number, speaker in enumerate(("ann", "bob", "cy")):
        for index, name in enumerate(classes):
            write_tone(tmp_path / "sounds" / f"{speaker}-{name}.wav", 150 * 2**index + 20 * number, seed=number)
            rows.append((f"{speaker}-{name}.wav", speaker, name))
    manifest = tmp_path / "sounds" / "manifest.csv"
    pd.DataFrame(rows, columns=["path", "speaker", "label"]).to_csv(manifest, index=False)
    words = ["analyze", "--backbone", str(tmp_path / "base"), "--adapter", str(tmp_path / "adapter")]
    words += ["--corpus", str(manifest), "--context", "trim", "--set", "draws=50", "--set", "measures=[lens]"]
    for out, more in (("named", ["--task", "keyword"]), ("unnamed", [])):
        with pytest.raises(SystemExit) as end:
            main([*words, "--out", str(tmp_path / out), *more])
        assert (end.value.code in (None, 0)) == bool(more)
    # without the task they would be emotions, and are none
    assert "'yes' cannot be matched" in capsys.readouterr().err
    page = (tmp_path / "named" / "report.html").read_text(encoding="utf-8")
    assert "emotion" not in page.lower() and '"task": "keyword"' in (tmp_path / "named" / "manifest.json").read_text()
