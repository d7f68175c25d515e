"""Table 1 and the comparison against independent computations with pandas, numpy, scikit-learn and scipy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from lorascope.errors import LorascopeError
from lorascope.findings import scores
from lorascope.findings.scores import compare, confusion, per_fold, summarise
from lorascope.report.tables import comparison_lines

from .folders import make_run
from .recipe import Recipe


def _cells(run: Path, method: str) -> list[tuple[dict, pd.DataFrame]]:
    """Metrics and predictions of the table1 cells of a method, read without the code under test."""
    listed = json.loads((run / "manifest.json").read_text())["cells"]
    return [
        (
            json.loads((run / "cells" / cell["hash"] / "metrics.json").read_text()),
            pd.read_parquet(run / "cells" / cell["hash"] / "predictions.parquet"),
        )
        for cell in listed
        if cell["role"] == "table1" and cell["method"] == method
    ]


@pytest.mark.parametrize("method", ["frozen", "lora"])
def test_means_over_folds_are_those_of_the_predictions(plain: Path, method: str) -> None:
    cells = _cells(plain, method)
    uars = [balanced_accuracy_score(clips["emotion"], clips["predicted"]) for _, clips in cells]
    wars = [accuracy_score(clips["emotion"], clips["predicted"]) for _, clips in cells]
    row = summarise(plain).set_index("method").loc[method]
    assert row["folds"] == len(cells) == 6
    assert row["uar_mean"] == pytest.approx(sum(uars) / 6)
    assert row["uar_std"] == pytest.approx(np.std(uars, ddof=0))
    assert row["war_mean"] == pytest.approx(sum(wars) / 6)
    assert row["war_std"] == pytest.approx(np.std(wars, ddof=0))
    assert row["chance"] == 0.25


@pytest.mark.parametrize("method", ["frozen", "lora"])
def test_pooled_values_take_all_test_clips_as_one_set(plain: Path, method: str) -> None:
    clips = pd.concat([predictions for _, predictions in _cells(plain, method)])
    row = summarise(plain).set_index("method").loc[method]
    assert row["clips"] == len(clips)
    assert row["pooled_uar"] == pytest.approx(balanced_accuracy_score(clips["emotion"], clips["predicted"]))
    assert row["pooled_war"] == pytest.approx(accuracy_score(clips["emotion"], clips["predicted"]))


def test_pooled_interval_leaves_out_one_speaker_at_a_time(plain: Path) -> None:
    clips = pd.concat([predictions for _, predictions in _cells(plain, "lora")])
    right, n = clips["emotion"] == clips["predicted"], len(clips)
    shares = [right[clips["speaker"] != name].mean() for name in clips["speaker"].unique()]
    # Tukey's pseudo-values, on the logit scale with half a clip added on either side
    value, *without = (np.log((p * n + 0.5) / (n - p * n + 0.5)) for p in (right.mean(), *shares))
    speakers = len(without)
    pseudo = speakers * value - (speakers - 1) * np.array(without)
    reach = scipy_stats.t.ppf(0.975, speakers - 1) * scipy_stats.sem(pseudo)
    low, high = ((n + 1) / (1 + np.exp(-(value + side * reach))) / n - 0.5 / n for side in (-1, 1))
    row = summarise(plain).set_index("method").loc["lora"]
    assert speakers == row["speakers"] == 6
    assert (row["pooled_war_low"], row["pooled_war_high"]) == pytest.approx((low, high))
    assert row["pooled_uar_low"] < row["pooled_uar"] < row["pooled_uar_high"]


def test_pooled_differences_are_paired_by_clip(plain: Path) -> None:
    mine, theirs = (
        pd.concat([predictions for _, predictions in _cells(plain, method)]).set_index("clip")
        for method in ("lora", "frozen")
    )
    # those that both have
    shared = mine.index.intersection(theirs.index)
    mine, theirs = mine.loc[shared], theirs.loc[shared]
    gained = (mine["emotion"] == mine["predicted"]).astype(float) - (theirs["emotion"] == theirs["predicted"])
    speakers = mine["speaker"].unique()
    value, *without = (
        balanced_accuracy_score(mine["emotion"][kept], mine["predicted"][kept])
        - balanced_accuracy_score(theirs["emotion"][kept], theirs["predicted"][kept])
        for kept in (mine["speaker"] != name for name in ("", *speakers))
    )
    rows = compare(plain).set_index("metric")
    assert rows.loc["war", "pooled_difference"] == pytest.approx(gained.mean())
    pseudo = 6 * value - 5 * np.array(without)
    reach = scipy_stats.t.ppf(0.975, 5) * scipy_stats.sem(pseudo)
    row = rows.loc["uar", ["pooled_difference", "pooled_low", "pooled_high"]]
    assert row.tolist() == pytest.approx([value, value - reach, value + reach])
    assert (rows["speakers"] == 6).all()


def test_two_speakers_have_no_interval_over_speakers(plain: Path) -> None:
    clips = pd.concat([predictions for _, predictions in _cells(plain, "lora")]).assign(fold="all")
    two = clips[clips["speaker"].isin(clips["speaker"].unique()[:2])]
    classes = sorted(clips["emotion"].unique())
    assert set(scores.pooled_scores(two, classes)) == {"pooled_uar", "pooled_war"}
    assert set(scores.pooled_differences(two, two, classes)["uar"]) == {"speakers", "pooled_difference"}


def test_confusion_is_the_count_of_every_pair(plain: Path) -> None:
    classes = ["anger", "happiness", "neutrality", "sadness"]
    clips = pd.concat([predictions for _, predictions in _cells(plain, "lora")])
    tidy = confusion(plain)
    lora = tidy[tidy["label"] == "LoRA r=32 v_proj"].pivot(index="emotion", columns="predicted", values="clips")
    expected = confusion_matrix(clips["emotion"], clips["predicted"], labels=classes)
    assert (lora.loc[classes, classes].to_numpy() == expected).all()
    assert tidy.groupby(["label", "emotion"])["share"].sum().to_numpy() == pytest.approx(1)


def test_rank_space_cells_stay_out_of_table_1_but_not_out_of_the_fold_table(plain: Path) -> None:
    assert set(summarise(plain)["label"]) == {"frozen encoder", "LoRA r=32 v_proj"}
    folds = per_fold(plain)
    assert (folds["role"] == "rank-space").sum() == 1
    assert set(folds.loc[folds["role"] == "rank-space", "label"]) == {"LoRA r=8 v_proj"}


def test_comparison_pairs_the_folds_and_takes_frozen_as_reference(plain: Path) -> None:
    frozen = {metrics["fold"]: metrics for metrics, _ in _cells(plain, "frozen")}
    lora = {metrics["fold"]: metrics for metrics, _ in _cells(plain, "lora")}
    differences = np.array([lora[fold]["uar"] - frozen[fold]["uar"] for fold in sorted(frozen)])
    row = compare(plain).set_index("metric").loc["uar"]
    assert (row["label"], row["reference"]) == ("LoRA r=32 v_proj", "frozen encoder")
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["wilcoxon_p"] == pytest.approx(scipy_stats.wilcoxon(differences).pvalue)
    # Nadeau and Bengio: the plain paired t shrunk by how far the folds' training sets overlap.
    plain_t = scipy_stats.ttest_1samp(differences, 0).statistic
    sizes = [metrics["clips"] for metrics in [*frozen.values(), *lora.values()]]
    overlap = np.mean([size["test"] for size in sizes]) / np.mean([size["train"] for size in sizes])
    expected = plain_t * np.sqrt((1 / 6) / (1 / 6 + overlap))
    assert row["t"] == pytest.approx(expected, rel=0.02)
    assert row["low"] < row["difference"] < row["high"]


def test_one_fold_has_no_spread_and_no_test(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Recipe(ranks=(32,)))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["cells"] = [cell for cell in manifest["cells"] if cell["fold"] == "03"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    table = summarise(run)
    assert table["uar_std"].isna().all()
    assert table["pooled_uar_low"].isna().all()
    assert table["uar_mean"].notna().all()
    assert compare(run)[["t", "p", "wilcoxon_p"]].isna().all(axis=None)


def test_an_analysis_without_cells_has_empty_tables(bare: Path) -> None:
    assert summarise(bare).empty
    assert compare(bare).empty
    assert confusion(bare).empty


def test_two_cells_of_one_label_and_fold_are_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Recipe(ranks=(32,)))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["cells"].append(manifest["cells"][0])
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LorascopeError, match=r"both 'frozen encoder' on fold 03"):
        summarise(run)


def test_a_folder_without_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LorascopeError, match=r"manifest\.json: no such file"):
        summarise(tmp_path)


def _with_baselines(run: Path, validation: dict[str, float], test: float) -> None:
    """Give a run's frozen encoder a validation UAR, and add classic baselines with others; all get one test UAR."""
    manifest = json.loads((run / "manifest.json").read_text())
    for label, uar in validation.items():
        for cell in [cell for cell in manifest["cells"] if cell["method"] == "frozen"]:
            source = run / "cells" / cell["hash"]
            metrics = json.loads((source / "metrics.json").read_text())
            metrics["validation"]["uar"], metrics["uar"] = uar, test
            if label != "frozen encoder":
                name = f"{label}-{cell['fold']}"
                manifest["cells"].append(cell | {"hash": name, "label": label, "method": "classic"})
                metrics |= {"label": label, "method": "classic"}
                shutil.copytree(source, source := run / "cells" / name)
            (source / "metrics.json").write_text(json.dumps(metrics))
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("test", [0.1, 0.99])
def test_of_several_baselines_the_one_that_is_told_is_the_best_on_validation(tmp_path: Path, test: float) -> None:
    run = make_run(tmp_path / "run", Recipe(ranks=(32,)))
    _with_baselines(run, {"frozen encoder": 0.5, "one": 0.7, "two": 0.6}, test)
    table = compare(run).query("metric == 'uar'")
    lora = "LoRA r=32 v_proj"
    assert list(zip(table["label"], table["reference"], table["main"], strict=True)) == [
        (lora, "frozen encoder", False),
        (lora, "one", True),
        (lora, "two", False),
        ("one", "frozen encoder", False),
        ("two", "frozen encoder", False),
    ]
    lines = comparison_lines(compare(run))
    assert [line.split(":")[0] for line in lines[:-1]] == [f"{lora} − one"] * 2 and "comparison.csv" in lines[-1]


def test_baselines_alone_are_held_against_the_first(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Recipe(methods=("frozen",)))
    _with_baselines(run, {"frozen encoder": 0.5, "one": 0.7}, 0.6)
    table = compare(run)
    assert list(table["label"]) == ["one", "one"] and table["main"].all()


def test_the_fold_table_has_a_column_for_what_was_chosen_and_no_other(tmp_path: Path, plain: Path) -> None:
    assert "C" not in per_fold(plain) and "learning rate" in per_fold(plain)
    run = make_run(tmp_path / "run", Recipe(ranks=(32,)))
    name = json.loads((run / "manifest.json").read_text())["cells"][0]["hash"]
    file = run / "cells" / name / "metrics.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chosen": {"depth": 3, "C": 0.1}}))
    table = per_fold(run)
    assert table["depth"][0] == 3 and table["C"][0] == 0.1 and table["C"][1:].isna().all()
