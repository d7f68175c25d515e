"""`analyze` on corpora that need a section of their own, and adapters whose classes are no emotions."""

import json

import pandas as pd
import pytest

from lorascope.api import analyze
from lorascope.corpora import load_corpus
from lorascope.errors import LorascopeError
from lorascope.experiment.config import AnalysisConfig, CorpusConfig
from lorascope.experiment.loading import corpus_from_file
from lorascope.report.cautions import cautions
from lorascope.store.finished import FinishedRun

from ..tiny import plain_adapter, tiny_whisper

QUICK = AnalysisConfig(draws=50, clips_per_class=2, measures=("contribution", "lens"))


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr("lorascope.report.write_all", lambda run, _: run / "report.html")
    whisper = tiny_whisper(layers=2, classes=("LABEL_0", "LABEL_1"))
    whisper.save_pretrained(tmp_path / "backbone")
    plain_adapter(whisper).save_pretrained(tmp_path / "adapter")
    return tmp_path


def test_other_classes_by_a_path_and_the_speakers_caution_comes_first(folders, corpus):
    table = pd.read_csv(corpus)
    table = table[table["emotion"].isin(["anger", "sadness"])]
    table["path"] = [str(corpus.parent / path) for path in table["path"]]
    table.assign(emotion=table["emotion"].map({"anger": "mci", "sadness": "control"})).to_csv(folders / "own.csv")
    results = analyze(
        str(folders / "backbone"),
        folders / "adapter",
        folders / "out",
        str(folders / "own.csv"),
        labels=["control", "mci"],
        context="trim",
        config=QUICK,
    )
    assert set(results.manifest["corpus"]["classes"]) == {"control", "mci"}
    assert "test" not in results.manifest["analysis"]["speakers"]
    kind, text = cautions(FinishedRun(folders / "out"))[0]
    assert kind == "Speakers" and "not known" in text


def test_a_section_with_label_map_and_options(folders, corpus):
    table = pd.read_csv(corpus)
    table["path"] = [str(corpus.parent / path) for path in table["path"]]
    table["what"] = table.pop("emotion").map({"anger": "x1", "sadness": "x2"}).fillna("x3")
    table.to_csv(folders / "own.csv", index=False)
    (folders / "corpus.yaml").write_text(json.dumps({"label_map": {"x1": "anger", "x2": "sadness", "x3": None}}))
    section = corpus_from_file("csv", folders / "corpus.yaml", ["columns={emotion: what}"])
    assert section == CorpusConfig(
        reader="csv",
        label_map={"x1": "anger", "x2": "sadness", "x3": None},
        options={"columns": {"emotion": "what"}},
    )
    results = analyze(
        str(folders / "backbone"),
        folders / "adapter",
        folders / "out",
        section,
        root=folders / "own.csv",
        labels=["anger", "sadness"],
        context="trim",
        config=QUICK,
    )
    assert len(results["lens"]) and results.manifest["analysis"]["clips"] == 4
    with pytest.raises(LorascopeError, match=r"--corpus-config: .*labelmap"):
        (folders / "corpus.yaml").write_text("labelmap: {}")
        corpus_from_file("csv", folders / "corpus.yaml", [])


def test_a_regression_head_is_called_one(folders, corpus):
    whisper = tiny_whisper(layers=2, classes=("arousal",))
    whisper.save_pretrained(folders / "arousal")
    plain_adapter(whisper).save_pretrained(folders / "of-arousal")
    with pytest.raises(LorascopeError, match="a regression head"):
        analyze(str(folders / "arousal"), folders / "of-arousal", folders / "out", "csv", root=corpus, config=QUICK)


def test_folders_named_by_label_need_no_speakers_and_intervals_speak_of_these_clips(folders, corpus):
    for path, emotion in pd.read_csv(corpus)[["path", "emotion"]].itertuples(index=False):
        if emotion in ("anger", "sadness"):
            (folders / "clips" / emotion).mkdir(parents=True, exist_ok=True)
            (folders / "clips" / emotion / path).symlink_to(corpus.parent / path)
    results = analyze(
        str(folders / "backbone"),
        folders / "adapter",
        folders / "out",
        str(folders / "clips"),
        labels=["anger", "sadness"],
        context="trim",
        config=QUICK,
    )
    assert set(results["lens"]["interval_of"]) == {"these clips"}
    told = " ".join(text for _, text in cautions(FinishedRun(folders / "out")))
    assert "All analysed clips are of speakers who are not known: the intervals speak of these clips" in told
    # to train on them is refused as ever
    with pytest.raises(LorascopeError, match="no clip's speaker is known, so"):
        load_corpus("audiofolder", folders / "clips", ("anger", "sadness"))
