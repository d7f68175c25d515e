"""The main job on a small corpus and a real tiny model: everything is left, and nothing is done twice."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from lorascope.api import run
from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.experiment.planning import describe, plan
from lorascope.training import cell as cells

from .conftest import make_corpus, settings_of

FILES = (
    "config.yaml",
    "manifest.json",
    "table1.csv",
    "table1.md",
    "table1.tex",
    "report.html",
    *(f"figures/{name}.{suffix}" for name in ("fig1", "fig2a", "fig2b", "fig3") for suffix in ("pdf", "svg", "png")),
    *(
        f"analysis/{name}.parquet"
        for name in ("contribution", "lens", "ranks", "rank_scores", "spectra", "spectra_summary", "cka", "erasure")
    ),
)


def test_a_run_leaves_everything(finished):
    _, results = finished
    root = results.folder.root
    for file in FILES:
        assert (root / file).stat().st_size > 0, file
    for cell in results.manifest["cells"]:
        assert {p.name for p in (root / "cells" / cell["hash"]).iterdir()} >= {
            "adapter",
            "metrics.json",
            "predictions.parquet",
            "train.log",
        }
    assert not [path for path in root.rglob("*") if "partial" in path.name]


def test_the_resolved_configuration_gives_the_same_experiment(finished):
    experiment, results = finished
    assert experiment_from(yaml.safe_load(results.folder.config.read_text())) == experiment


def test_the_manifest_tells_how_it_was_made(finished):
    experiment, results = finished
    manifest = results.manifest
    assert manifest["seeds"]["training"] == experiment.seed
    assert set(manifest["versions"]) >= {"python", "torch", "transformers", "peft", "nnsight"}
    assert len(manifest["clips"]) == manifest["corpus"]["clips"] == 48
    assert all(len(value) == 64 for value in manifest["clips"].values())
    assert manifest["analysis"]["fold"] == "ann"
    # two methods in two folds, the other rank behind those of the analysed one
    assert [cell["role"] for cell in manifest["cells"]] == ["table1", "table1", "rank-space", "table1", "table1"]


def test_table1_is_the_predictions(finished):
    _, results = finished
    table, predictions = results.table1, results.predictions
    of_table = predictions[predictions["role"] == "table1"]
    assert len(table) == of_table["label"].nunique() == 2
    for label, group in of_table.groupby("label"):
        recalls = (group["predicted"] == group["emotion"]).groupby(group["emotion"]).mean()
        row = table[table["label"] == label].iloc[0]
        assert row["pooled_uar"] == pytest.approx(recalls.mean(), abs=1e-6)
        # two test speakers say nothing of others
        assert (
            group["speaker"].nunique() == 2 and np.isnan(row[["pooled_uar_low", "pooled_uar_high"]].astype(float)).all()
        )


def test_no_test_speaker_is_seen_before_its_test(finished):
    experiment, results = finished
    for cell in describe(experiment)["cells"]:
        speakers = cell["speakers"]
        assert not set(speakers["test"]) & (set(speakers["train"]) | set(speakers["validation"]))
        assert not set(speakers["train"]) & set(speakers["validation"])
    table = results.predictions
    assert (table["speaker"] == table["fold"]).all()


def test_the_analysed_clips_are_the_held_out_speakers(finished):
    experiment, results = finished
    about = results.manifest["analysis"]
    held_out = set(about["speakers"]["test"]) | set(about["speakers"]["validation"])
    fold = plan(experiment)[0].fold
    assert held_out == set(fold.test_speakers) | set(fold.validation_speakers)
    assert {clip.split("-")[0] for clip in about["clip_ids"]} == held_out
    assert all(entry["taken"] <= min(25, entry["available"]) for entry in about["per_class"])


def test_ranks_of_all_trained_adapters_are_there(finished):
    _, results = finished
    scores = results["rank_scores"]
    assert set(scores.loc[scores["model"] == "trained", "rank"]) == {2, 4}


def test_results_are_data_frames_with_their_names(finished):
    _, results = finished
    assert isinstance(results["lens"], pd.DataFrame) and "lens" in results.names
    with pytest.raises(LorascopeError, match="no table 'lense'; there are cka"):
        results["lense"]


def test_running_again_redoes_nothing(finished, monkeypatch):
    experiment, results = finished
    before = {
        path: path.stat().st_mtime_ns
        for path in results.folder.root.rglob("*")
        if path.is_file() and ("cells" in path.parts or "analysis" in path.parts)
    }
    monkeypatch.setattr(cells, "train_and_test", None)
    monkeypatch.setattr("lorascope.work.kinds.analysis.analyse", None)
    again = run(experiment, results.folder.root)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(again.table1, results.table1)


def test_an_interrupted_run_continues(tmp_path, corpus, backbone_folder, monkeypatch, finished):
    experiment, undisturbed = finished
    original, calls = cells.train_and_test, []

    def interrupted(cell, *rest):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(cell.label)
        return original(cell, *rest)

    monkeypatch.setattr(cells, "train_and_test", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, tmp_path / "run")
    assert not (tmp_path / "run" / "manifest.json").exists()
    redone = []

    def counting(cell, *rest):
        redone.append(cell.label)
        return original(cell, *rest)

    monkeypatch.setattr(cells, "train_and_test", counting)
    results = run(experiment, tmp_path / "run")
    assert len(redone) == 3
    pd.testing.assert_frame_equal(results.table1, undisturbed.table1)
    for name in ("lens", "spectra_summary", "erasure"):
        pd.testing.assert_frame_equal(results[name], undisturbed[name])


def test_leaks_are_marked_wherever_results_are_shown(tmp_path, corpus, backbone_folder):
    settings = settings_of(
        corpus,
        backbone_folder,
        folds={"only": ["ann"], "selection": "test_fold"},
        analysis=None,
        methods={"lora": None, "frozen": {"epochs": 1}},
    )
    results = run(experiment_from(settings), tmp_path / "run")
    root = results.folder.root
    assert any("test fold" in warning for warning in results.manifest["warnings"])
    metrics = json.loads(next((root / "cells").glob("*/metrics.json")).read_text())
    assert metrics["validation_speakers"] == [] and metrics["optimistic"]
    for file in ("table1.md", "table1.tex", "report.html"):
        assert "optimistic" in (root / file).read_text().lower(), file
    assert results.table1["optimistic"].astype(str).str.len().gt(0).all()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path, corpus, backbone_folder):
    (tmp_path / "thesis.docx").write_text("all of it")
    with pytest.raises(LorascopeError, match="is not empty and holds no run"):
        run(experiment_from(settings_of(corpus, backbone_folder)), tmp_path)


def test_classes_may_go_by_any_of_their_names(corpus, backbone_folder, finished):
    settings = settings_of(corpus, backbone_folder)
    settings["corpus"] = settings["corpus"] | {"classes": ["angry", "hap", "neu", "SAD"]}
    cells_by_synonym = plan(experiment_from(settings))
    assert {cell.classes for cell in cells_by_synonym} == {("anger", "happiness", "neutrality", "sadness")}


def test_a_run_across_corpora_tests_all_speakers_of_the_other(tmp_path, corpus, backbone_folder):
    other = make_corpus(tmp_path / "other", clips_per_class=1)
    settings = settings_of(corpus, backbone_folder, folds={}, analysis=None)
    settings["test_corpus"] = {"reader": "csv", "root": str(other)}
    settings["methods"] = {"frozen": {"learning_rate": 1e-2, "epochs": 1}, "lora": None}
    results = run(experiment_from(settings), tmp_path / "run")
    (cell,) = results.folder.root.glob("cells/*/metrics.json")
    metrics = json.loads(cell.read_text())
    assert metrics["fold"] == "csv-1-to-csv-2" and metrics["clips"] == {"train": 36, "validation": 12, "test": 16}
    assert metrics["test_speakers"] == [f"csv-2/{name}" for name in ("ann", "bob", "cy", "dee")]
    notes = json.loads(results.folder.manifest.read_text())["corpus"]["notes"]
    assert any("recorded at 16 kHz" in note for note in notes)
    assert any("1 of 4 training speakers are held out" in note for note in notes)
    assert all(note in results.report.read_text() for note in notes if "'" not in note)


def test_one_random_baseline_is_enough_for_all_analyses_and_the_report(tmp_path, corpus, backbone_folder):
    analysis = {"draws": 50, "baselines": ["permuted"], "memory_mib": 0}
    changes = {"folds": {"only": ["ann"]}, "analysis": analysis}
    results = run(experiment_from(settings_of(corpus, backbone_folder, **changes)), tmp_path / "run")
    assert results.report.is_file()
    assert set(results["spectra_summary"]["model"]) == {"trained", "permuted"}
