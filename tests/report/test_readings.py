"""Readings and cautions on tables written by hand: they say what the intervals say, and
nothing when they say nothing.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lorascope.report import readings
from lorascope.report.cautions import cautions
from lorascope.report.readings.words import layers_in_words
from lorascope.store.finished import FinishedRun

from .folders import make_analysis, make_run
from .recipe import Recipe


@pytest.fixture
def edit(tmp_path: Path):
    """A small analysis whose tables a test may change before reading it."""
    run = make_analysis(tmp_path / "run", Recipe(ranks=(8, 32)))

    def change(stem: str, function) -> FinishedRun:
        file = run / "analysis" / f"{stem}.parquet"
        function(pd.read_parquet(file)).to_parquet(file)
        return FinishedRun(run)

    return change


def test_layers_are_told_as_ranges() -> None:
    assert layers_in_words([3, 1, 2, 7, 9, 10]) == "1–3, 7, 9–10"


def test_an_interval_that_holds_zero_is_no_clear_difference(edit) -> None:
    folder = edit(
        "contribution", lambda table: table.assign(ratio_low=-0.1, ratio_high=0.1, cosine_low=-0.1, cosine_high=0.1)
    )
    sentences = readings.contribution_reading(folder)
    assert len(sentences) == 6
    for sentence in sentences:
        assert "no clear difference from the frozen encoder at any layer" in sentence
        assert "no layer differs clearly" in sentence
        assert "higher" not in sentence
        assert "Largest" not in sentence


def test_a_clear_layer_is_named_with_its_sign_and_interval(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(ratio=0.0, ratio_low=-0.1, ratio_high=0.1)
        here = table["model"].eq("difference") & table["layer"].eq(2) & table["component"].eq("mlp")
        table.loc[here, ["ratio", "ratio_low", "ratio_high"]] = (-0.25, -0.3, -0.2)
        return table

    mlp = readings.contribution_reading(edit("contribution", change))[2]
    assert mlp.startswith("MLP, relative norm: lower than frozen at layer 2; no clear difference at layers 0–1, 3.")
    assert "−0.250 [−0.300, −0.200] at layer 2" in mlp
    assert "a clear difference remains at layer 2" in mlp


def test_the_lens_reading_counts_only_layers_above_chance_that_say_something(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(chance_overlap=0.4, overlap_low=0.3, top_class_share=0.5)
        table.loc[table["layer"] >= 2, "overlap_low"] = 0.5
        table.loc[table["layer"] == 3, "top_class_share"] = 0.99
        return table

    text = " ".join(readings.lens_reading(edit("lens", change)))
    assert (
        "Trained: below the top, overlap is clearly above chance at layer 2; at layer 3 one class takes nearly all"
        in text
    )


def test_a_rise_of_kl_is_told_only_where_intervals_part(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(kl=1.0, kl_low=0.9, kl_high=1.1)

    assert "rises" not in " ".join(readings.lens_reading(edit("lens", change)))

    def rise(table: pd.DataFrame) -> pd.DataFrame:
        here = table["layer"].eq(3) & table["model"].eq("trained")
        return table.assign(kl_low=table["kl_low"].mask(here, 1.2), kl_high=table["kl_high"].mask(here, 1.4))

    text = " ".join(readings.lens_reading(edit("lens", rise)))
    assert "Trained: KL rises clearly from layer to layer at 2→3" in text
    assert "the trained one's KL is lower at no layer and higher at layer 3" in text


def test_probes_are_told_apart_only_where_intervals_part(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(probe_uar=0.5, probe_low=0.4, probe_high=0.6)
        deep = table["layer"].eq(3) & table["rank"].eq(32) & table["model"].eq("trained")
        table.loc[deep, ["probe_uar", "probe_low", "probe_high"]] = (0.8, 0.7, 0.9)
        return table

    sentences = readings.ranks_reading(edit("rank_scores", change))
    assert sentences[0].endswith("0.50 [0.40, 0.60] at layer 3: no clear difference.")
    assert sentences[1].endswith("0.80 [0.70, 0.90] at layer 3: higher.")
    assert sentences[2] == "At layer 3, r = 8 against r = 32: higher with r = 32."
    assert sentences[3].endswith("better at layer 3 and worse at no layer.")


def test_k90_is_the_mean_of_the_table_and_zero_matrices_are_named(edit) -> None:
    folder = edit("spectra_summary", lambda table: table)
    table = folder.table("spectra_summary")
    assert table is not None
    rows = table.query("factor == 'B' and quantity == 'activation' and variant == 'corrected'")
    means = rows.groupby("model")["k90"].mean()
    sentence = readings.spectra_reading(folder)[1]
    assert f"trained {means['trained']:.1f} vs gaussian {means['gaussian']:.1f}" in sentence
    assert "peft-init: exactly 0, no spectrum." in sentence
    assert "No interval is computed" in readings.spectra_reading(folder)[3]


def test_spectra_with_touching_intervals_do_not_differ(edit) -> None:
    folder = edit("spectra_summary", lambda table: table.assign(k90_low=1.0, k90_high=9.0))
    assert "No clear difference from gaussian at any layer." in readings.spectra_reading(folder)[0]


def test_cka_within_its_null_is_not_above_chance(edit) -> None:
    folder = edit("cka", lambda table: table.assign(ci_low=-0.1, null_high=0.2))
    sentences = readings.cka_reading(folder)
    assert "clearly above chance at no layer" in sentences[0]
    assert "no clear difference at any layer" in sentences[0]


def test_blocks_that_may_not_matter_are_not_said_to(edit) -> None:
    folder = edit("erasure", lambda table: table.assign(delta_uar_low=-0.3, delta_uar_high=0.1))
    assert readings.erasure_reading(folder)[0] == "Trained: skipping any one block lowers the UAR by no clear amount."


def test_a_measure_that_was_not_taken_has_no_reading(tmp_path: Path) -> None:
    every = ("contribution", "lens", "ranks", "rank_scores", "spectra", "spectra_summary", "cka", "erasure")
    folder = FinishedRun(make_analysis(tmp_path / "run", Recipe(without=every)))
    assert not [sentence for name in readings.__all__ for sentence in getattr(readings, name)(folder)]
    assert sum("is not there or empty" in text for text in folder.missing) == len(every)


def test_cautions_of_an_unlucky_run(tmp_path: Path) -> None:
    recipe = Recipe(synthetic=True, optimistic=("chosen on the test fold",), speakers=3, ranks=(32,))
    found = cautions(FinishedRun(make_run(tmp_path / "run", recipe)))
    kinds = [kind for kind, _ in found]
    assert kinds[:2] == ["Synthetic speech", "Optimistic"]
    text = " ".join(sentence for _, sentence in found)
    assert "Table 1 rests on 3 folds: too few" in text
    assert "anger 10 (of 10 available)" in text
    assert "one class (anger) takes at least 95 % of the clips at layers 0–1" in text
    assert len(found) == len(set(found))


def test_folds_of_hardly_any_clips_or_without_a_class_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert "Small folds" not in [kind for kind, _ in cautions(FinishedRun(run))]
    for file in (run / "cells").glob("*/metrics.json"):
        metrics = json.loads(file.read_text())
        # one fold of a single clip, whose UAR is 1.000 or 0.000, and one that lacks the last class
        if metrics["fold"] == "03":
            metrics["confusion"] = [[1, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4]
        if metrics["fold"] == "05":
            metrics["confusion"][3] = [0] * 4
        file.write_text(json.dumps(metrics))
    few, lacking = (text for kind, text in cautions(FinishedRun(run)) if kind == "Small folds")
    assert few.startswith("Test clips of fold 03 (1): fewer than 5: the mean over folds")
    assert lacking.startswith(
        "Classes without a test clip in fold 03 (happiness, neutrality, sadness), 05 (sadness): the mean over folds"
    )


def test_a_cell_without_metrics_is_missing_not_forgotten(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", replace(Recipe(), ranks=(32,)))
    manifest = json.loads((run / "manifest.json").read_text())
    lost = manifest["cells"][0]
    (run / "cells" / lost["hash"] / "metrics.json").unlink()
    assert any(
        lost["hash"] in text and "fold 03" in text for kind, text in cautions(FinishedRun(run)) if kind == "Missing"
    )


def test_notes_of_the_tables_come_through_once(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(note="7 clips are too few for CKA", ci_low=float("nan"))

    notes = [text for kind, text in cautions(edit("cka", change)) if "too few for CKA" in text]
    assert len(notes) == 1
    assert "layers 0–3" in notes[0]
