"""Figures, sections and readings of changed sound and of recognition, from the measures' own tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lorascope.analysis.measures import counterfactual as measure
from lorascope.report import readings, write_all
from lorascope.report.figures import counterfactual, frontier, recognition
from lorascope.store.finished import ANALYSIS_TABLES, FinishedRun

from ..analysis.measures import test_counterfactual, test_frontier, test_recognition
from ..analysis.small import Small
from .folders import make_analysis
from .recipe import Recipe

pytestmark = pytest.mark.figures

SAID = test_recognition.SAID
SHOWN = ("F0 +3 st", "tempo ×1.25")


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A made-up run beside the tables of planted models, with its report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "CHANGES", {name: measure.CHANGES[name] for name in SHOWN})
        sounds = test_counterfactual.sounds_of()
        tables = test_counterfactual.tables(sounds, tmp_path_factory.mktemp("cache"), patch)
    tables |= test_recognition.tables([1, 0, 2, 0, 3, 0, 0, 0], transcript=[SAID] * 8)
    tables |= test_frontier.play(Small(tmp_path_factory.mktemp("small")))[1]
    run = make_analysis(tmp_path_factory.mktemp("heard") / "run", Recipe(without=tuple(ANALYSIS_TABLES)))
    for stem, table in tables.items():
        table.to_parquet(run / "analysis" / f"{stem}.parquet")
    write_all(run)
    return run


def test_figures_and_sections_are_there(heard: Path) -> None:
    assert {"fig13", "fig14", "fig15"} <= {file.stem for file in (heard / "figures").glob("*.svg")}
    page = (heard / "report.html").read_text()
    assert '<section id="counterfactual">' in page
    assert '<section id="recognition">' in page and '<section id="frontier">' in page


def test_what_is_drawn_is_what_the_tables_say(heard: Path) -> None:
    folder = FinishedRun(heard)
    flips = counterfactual.figures(folder)["fig13"].subfigs[0].axes[0].get_lines()[0]
    table = folder.table("counterfactual")
    assert table is not None
    assert list(flips.get_xdata()) == list(table[table["model"] == "trained"]["flipped"])
    rates = recognition.figures(folder)["fig14"].subfigs[0].axes[0].get_lines()
    table = folder.table("recognition")
    assert table is not None
    rows = table[(table["quantity"] == "wer") & (table["against"] == "text") & (table["model"] == "trained")]
    assert list(rates[1].get_ydata()) == list(rows["rate"])
    drawn = frontier.figures(folder)["fig15"].subfigs[0].axes[0].get_lines()
    table = folder.table("frontier")
    assert table is not None
    rows = table[(table["dial"] == "whole") & (table["pareto"] == 1)]
    filled = next(line for line in drawn if line.get_label() == "whole adapter times α, on the frontier")
    assert list(filled.get_xdata()) == list(rows["wer"]) and list(filled.get_ydata()) == list(rows["uar"])


def test_the_readings_name_the_cue_and_the_cost(heard: Path) -> None:
    folder = FinishedRun(heard)
    told = " ".join(readings.counterfactual_reading(folder))
    assert "The resynthesis alone, against the clips as they are, flips answers: frozen 0.00" in told
    assert "Frozen" in told and "Most answers flip under tempo ×1.25: 1.00" in told
    told = " ".join(readings.recognition_reading(folder))
    assert (
        "bare encoder 0.00" in told and "adapted 0.21" in told and "Most errors with the adapted encoder: anger" in told
    )


def test_without_a_number_the_reason_is_read_and_nothing_drawn(heard: Path, tmp_path: Path) -> None:
    run = make_analysis(tmp_path / "run", Recipe(without=tuple(ANALYSIS_TABLES)))
    assert readings.counterfactual_reading(FinishedRun(run)) == readings.recognition_reading(FinishedRun(run)) == []
    assert counterfactual.figures(FinishedRun(run)) == recognition.figures(FinishedRun(run)) == {}
    assert frontier.figures(FinishedRun(run)) == {} and readings.frontier_reading(FinishedRun(run)) == []
    table = pd.read_parquet(heard / "analysis" / "recognition.parquet")
    lost = (table["against"] == "text") & (table["model"] == "trained")
    table.loc[lost, ["rate", "rate_low", "rate_high"]] = float("nan")
    table.assign(note="the corpus has no text of its clips").to_parquet(run / "analysis" / "recognition.parquet")
    told = " ".join(readings.recognition_reading(FinishedRun(run)))
    assert "there is no rate: the corpus has no text" in told and "Against the bare encoder's transcripts" in told
