"""Tasks that have nothing to do with emotion run to the report, in which no word of it is left."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

import pandas as pd
import pytest

from lorascope.api import run
from lorascope.corpora import load_corpus
from lorascope.experiment.loading import experiment_from

from .conftest import settings_of
from .corpora.conftest import real_corpus
from .tiny import write_tone

TASKS = {"keyword": ("yes", "no"), "dysarthria": ("control", "mild", "severe")}


def manifest_of(folder: Path, classes: tuple[str, ...]) -> Path:
    rows = []
    for s, speaker in enumerate(("ann", "bob", "cy", "dan")):
        for c, name in enumerate(classes):
            for take in range(3):
                write_tone(folder / f"{speaker}-{name}-{take}.wav", 150 * 2**c + 20 * s + 5 * take, seed=9 * s + take)
                rows.append((f"{speaker}-{name}-{take}.wav", speaker, name))
    pd.DataFrame(rows, columns=["path", "speaker", "label"]).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def packed(page: str) -> str:
    """What the page's data: links hold, as text."""
    links = re.findall(r"data:(text/csv|application/gzip)[^,]*;base64,([A-Za-z0-9+/=]+)", page)
    assert links
    raw = [(kind, base64.b64decode(data)) for kind, data in links]
    return "\n".join((gzip.decompress(data) if kind == "application/gzip" else data).decode() for kind, data in raw)


@pytest.mark.parametrize("task", ["keyword", pytest.param("dysarthria", marks=pytest.mark.slow)])
def test_a_task_runs_to_a_report_without_a_word_of_emotion(tmp_path: Path, backbone_folder: Path, task: str) -> None:
    manifest = manifest_of(tmp_path, TASKS[task])
    settings = settings_of(manifest, backbone_folder, folds={"only": ["ann"]})
    settings["corpus"] = settings["corpus"] | {"task": task}
    results = run(experiment_from(settings), tmp_path / "run")
    page = results.report.read_text(encoding="utf-8")
    assert all(name in page for name in TASKS[task])
    told = page + packed(page) + (tmp_path / "run" / "table1.tex").read_text(encoding="utf-8")
    assert "emotion" not in told.lower()
    assert f"{task.capitalize()} recognition" in told and f"{task},predicted" in told


@pytest.mark.slow
def test_speakers_are_told_apart_over_sessions(tmp_path: Path, backbone_folder: Path) -> None:
    """`task: speaker`: the classes are the speakers, all of them in all parts; sessions are kept apart."""
    rows = []
    for s, speaker in enumerate(("ann", "bob", "cy", "dan")):
        for session in ("monday", "tuesday", "friday"):
            for take in range(3):
                name = f"{speaker}-{session}-{take}.wav"
                write_tone(tmp_path / name, 150 * 2**s + 9 * take, seed=len(rows))
                rows.append((name, speaker, session, "?"))
    pd.DataFrame(rows, columns=["path", "speaker", "session", "label"]).to_csv(tmp_path / "m.csv", index=False)
    settings = settings_of(tmp_path / "m.csv", backbone_folder, folds={"group_by": "session", "only": ["monday"]})
    settings["corpus"] = settings["corpus"] | {"task": "speaker"}
    results = run(experiment_from(settings), tmp_path / "run")
    assert sorted(results.manifest["corpus"]["classes"]) == ["ann", "bob", "cy", "dan"]
    page = results.report.read_text(encoding="utf-8")
    told = page + packed(page) + (tmp_path / "run" / "table1.tex").read_text(encoding="utf-8")
    assert "emotion" not in told.lower() and "Speaker recognition" in told and "monday" in page


def shown(folder: Path, backbone_folder: Path, corpus: dict, classes: set[str], speakers: list[str], **folds) -> str:
    """Runs a task on a few speakers of a real corpus; returns what its report says, checked for words of emotion."""
    settings = settings_of("", backbone_folder, folds={"selection": "test_fold", **folds})
    settings["methods"] = {
        "frozen": {"learning_rate": 1e-3, "epochs": 1},
        "lora": {"rank": 2, "alpha": 4, "learning_rate": 1e-3, "epochs": 1},
    }
    settings["analysis"] = {"draws": 50, "clips_per_class": 3, "measures": ["contribution", "lens"]}
    loaded = load_corpus(corpus["reader"], corpus["root"], task=corpus["task"])
    kept = loaded.clips[loaded.clips["speaker"].isin(speakers)].groupby(["speaker", "emotion"]).head(2)
    settings["corpus"] = corpus | {"exclude": sorted(set(loaded.clips.index) - set(kept.index))}
    results = run(experiment_from(settings), folder / "run")
    assert set(results.manifest["corpus"]["classes"]) == classes
    page = results.report.read_text(encoding="utf-8")
    told = page + packed(page) + (folder / "run" / "table1.tex").read_text(encoding="utf-8")
    # RAVDESS' own name has the word
    assert "emotion" not in told.lower().replace("emotional speech", "")
    assert f"{corpus['task'].capitalize()} recognition" in told
    return told


@pytest.mark.slow
@pytest.mark.parametrize(("task", "count"), [("gender", 2), ("sentence", 10)])
def test_emodb_by_gender_and_by_sentence(tmp_path: Path, backbone_folder: Path, task: str, count: int) -> None:
    corpus = {"reader": "emodb", "root": str(real_corpus("emodb")), "task": task}
    classes = set(load_corpus("emodb", corpus["root"], task=task).classes)
    assert len(classes) == count
    who = ["03", "08", "10", "13"]
    shown(tmp_path, backbone_folder, corpus, classes, who, protocol="speaker_groups", groups=2)


@pytest.mark.slow
def test_ravdess_by_intensity_grouped_by_gender(tmp_path: Path, backbone_folder: Path) -> None:
    corpus = {"reader": "ravdess", "root": str(real_corpus("ravdess")), "task": "intensity"}
    who = ["01", "02", "03", "04"]
    told = shown(tmp_path, backbone_folder, corpus, {"normal", "strong"}, who, group_by="gender")
    assert "female" in told


@pytest.mark.slow
def test_two_languages_in_one_manifest(tmp_path: Path, backbone_folder: Path) -> None:
    rows = []
    for name, who in (("emodb", ("03", "08", "10")), ("ravdess", ("01", "02", "03"))):
        clips = load_corpus(name, real_corpus(name)).clips
        clips = clips[clips["speaker"].isin(who)].groupby("speaker").head(4)
        rows += [
            (row["path"], f"{name}-{row['speaker']}", row["language"], f"pair {who.index(row['speaker'])}")
            for _, row in clips.iterrows()
        ]
    pd.DataFrame(rows, columns=["path", "speaker", "label", "pair"]).to_csv(tmp_path / "manifest.csv", index=False)
    corpus = {"reader": "csv", "root": str(tmp_path / "manifest.csv"), "task": "language"}
    speakers = sorted({speaker for _, speaker, _, _ in rows})
    shown(tmp_path, backbone_folder, corpus, {"de", "en"}, speakers, group_by="pair")
