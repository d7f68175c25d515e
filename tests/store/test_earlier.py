"""A folder that lorascope 0.1.0 wrote (a small run on tones, without its sounds, adapters, figures and report) is
still read, and reported on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from lorascope.report import write_all
from lorascope.store.results import Results

pytestmark = pytest.mark.figures

EARLIER = Path(__file__).parent / "run-0.1.0"


def test_results_of_0_1_0_are_read() -> None:
    results = Results(EARLIER)
    assert results.manifest["lorascope"] == "0.1.0"
    assert {"cka", "contribution", "erasure", "lens", "ranks", "rank_scores", "spectra"} <= set(results.names)
    assert all(len(results[name]) for name in results.names)
    predictions = results.predictions
    assert set(predictions["fold"]) == {"ann", "cy"} and set(predictions["role"]) == {"table1", "rank-space"}
    right = predictions["emotion"] == predictions["predicted"]
    for cell in results.manifest["cells"]:
        rows = (predictions["label"] == cell["label"]) & (predictions["fold"] == cell["fold"])
        recalls = right[rows].groupby(predictions["emotion"][rows]).mean()
        metrics = pd.read_json(EARLIER / "cells" / cell["hash"] / "metrics.json", typ="series")
        assert recalls.mean() == pytest.approx(metrics["uar"])


def test_a_run_of_0_1_0_is_reported_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(EARLIER, run)
    before = Results(run).table1.set_index("label")
    report = write_all(run)
    after = Results(run).table1.set_index("label")
    # how intervals are made may change from release to release, what was measured may not
    for column in ("folds", "clips", "uar_mean", "war_mean", "pooled_uar"):
        pd.testing.assert_series_equal(after[column], before[column])
    stems = {file.stem for file in (run / "figures").iterdir()}
    assert {"fig1", "fig2a", "fig2b", "fig3", "fig4", "confusion"} <= stems
    assert all(label in report.read_text(encoding="utf-8") for label in before.index)
