"""The page's first screen: its answers say what tables and intervals say, and stop the reader where there is nothing to
read; its drawings put numbers where they belong.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorascope.findings.scores import compare, summarise
from lorascope.report.cautions import cautions, of_section, split
from lorascope.report.first_screen import findings, thirds
from lorascope.report.small_plots import MOST_ROWS, Value, drawing
from lorascope.store.finished import FinishedRun

from .folders import make_analysis, make_run
from .recipe import Recipe


@pytest.fixture
def edit(tmp_path: Path):
    """A small analysis of an adapter made elsewhere, whose tables a test may change before it is read."""
    run = make_analysis(tmp_path / "run")

    def change(stem: str, function) -> FinishedRun:
        file = run / "analysis" / f"{stem}.parquet"
        function(pd.read_parquet(file)).to_parquet(file)
        return FinishedRun(run)

    return change


def _of(folder: FinishedRun) -> dict:
    return {finding.question: finding for finding in findings(folder, cautions(folder))}


def _scored(trained: tuple[float, float, float], frozen: tuple[float, float, float], top_share: float = 0.4):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        for model, scores in (("trained", trained), ("frozen", frozen)):
            rows = table["model"].eq(model) & table["layer"].eq(table["layer"].max())
            table.loc[rows, ["uar", "uar_low", "uar_high"]] = scores
            table.loc[rows, "top_class_share"] = top_share
        return table

    return change


def test_a_run_is_told_by_its_comparison(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Recipe(skill={"frozen": 0.5, "lora": 4.0}))
    helped = _of(FinishedRun(run))["Did it help?"]
    row = compare(run).query("main and metric == 'uar'").iloc[0]
    assert row["low"] > 0 and helped.answer == "Yes" and not helped.stop and not helped.meaning
    scores = summarise(run).set_index("label")["pooled_uar"]
    assert all(f"{score:.3f}" in helped.evidence[0] for score in scores)
    assert f"{row['difference']:+.3f}" in helped.evidence[1] and f"{row['high']:+.3f}" in helped.evidence[1]
    assert {mark.name: mark.number for mark in helped.drawing.marks} == {
        label: f"{score:.3f}" for label, score in scores.items()
    }


def test_a_run_that_is_no_better_begins_with_what_that_means(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Recipe(skill={"frozen": 8.0, "lora": 1.0}))
    helped = _of(FinishedRun(run))["Did it help?"]
    scores = summarise(run).set_index("label")["pooled_uar"]
    lora, frozen = scores["LoRA r=32 v_proj"], scores["frozen encoder"]
    assert helped.answer == "No, it is worse"
    assert f"no better than frozen encoder here (UAR {lora:.3f} against {frozen:.3f})" in helped.meaning
    assert "not what made it better" in helped.meaning


def test_a_run_that_guesses_is_not_read_on(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Recipe(skill={"frozen": 0.5, "lora": 0.0}))
    helped = _of(FinishedRun(run))["Did it help?"]
    assert helped.stop and "not clearly better than guessing (0.250): read nothing below" in helped.answer


@pytest.mark.parametrize(
    ("trained", "frozen", "answer"),
    [
        ((0.98, 0.90, 1.0), (0.48, 0.40, 0.60), "Yes"),
        ((0.48, 0.40, 0.60), (0.98, 0.90, 1.0), "No, it is worse"),
        ((0.60, 0.50, 0.70), (0.55, 0.45, 0.65), "Not clearly"),
    ],
)
def test_an_adapter_is_told_by_its_own_answers(edit, trained, frozen, answer) -> None:
    helped = _of(edit("lens", _scored(trained, frozen)))["Did it help?"]
    assert helped.answer == answer and not helped.stop
    assert f"{trained[0]:.3f} [{trained[1]:.3f}, {trained[2]:.3f}]" in helped.evidence[0]
    assert f"{frozen[0]:.3f} [{frozen[1]:.3f}, {frozen[2]:.3f}]" in helped.evidence[0]


def test_one_answer_to_everything_is_told_before_all_else(edit) -> None:
    helped = _of(edit("lens", _scored((0.25, 0.2, 0.3), (0.5, 0.4, 0.6), top_share=1.0)))["Did it help?"]
    assert helped.stop and helped.answer.startswith("It gives one answer")


def test_where_tells_shares_of_the_depth(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(ratio=0.01, ratio_low=-0.1, ratio_high=0.1)
        top = table["layer"].eq(3)
        table.loc[top, ["ratio", "ratio_low", "ratio_high"]] = (-0.17, -0.2, -0.1)
        return table

    where = _of(edit("contribution", change))["Where?"]
    # .17 of .20
    assert where.answer == "Most in the top third" and "top third 85%" in where.evidence[0]
    assert "Clear at layer 3; largest −0.170 [−0.200, −0.100] at layer 3" in where.evidence[1]
    flat = edit("contribution", lambda table: table.assign(ratio_low=-0.5, ratio_high=0.5))
    assert _of(flat)["Where?"].answer == "No layer stands out"


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 12, 32])
def test_thirds_hold_every_layer_once(layers) -> None:
    sizes = np.random.default_rng(layers).random(layers)
    shares = thirds(sizes)
    outer = max(1, round(layers / 3))
    assert shares["top"] == pytest.approx(sizes[layers - outer :].sum() / sizes.sum())
    if layers > 1:
        assert sum(shares.values()) == pytest.approx(1)


def test_cautions_stand_beside_what_they_concern(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Recipe(speakers=3, synthetic=True))
    found = cautions(FinishedRun(run))
    weighty, general = split(found)
    assert sorted(weighty + general) == sorted(found) and weighty[0][0] == "Synthetic speech"
    assert any("Table 1 rests on 3 folds" in text for text in of_section(found, "results"))
    assert not of_section(found, "contribution")


def test_marks_lie_in_the_order_of_their_values() -> None:
    values = [Value("a", -0.5, -0.7, -0.2), Value("b", 0.1, main=True), Value("c", math.nan), Value("d", 0.9, 0.8, 1.0)]
    shown = drawing("layers", values, 0.0, "none", signed=True)
    assert [mark.name for mark in shown.marks] == ["a", "b", "d"]
    a, b, d = shown.marks
    assert 0 < a.low < a.at < a.high < shown.line < b.at < d.low < d.at < d.high < 100
    assert b.low is None and b.number == "+0.100" and a.number == "−0.500" and "a: −0.500" in shown.words
    assert drawing("rows", [Value("c", math.nan)]) is None
    many = [Value(str(number), number, main=number == 9) for number in range(10)]
    kept = drawing("rows", many).marks
    assert len(kept) == MOST_ROWS and kept[-1].name == "9"


def test_the_page_begins_with_it_and_says_that_speech_is_synthetic(marked: Path) -> None:
    page = (marked / "report.html").read_text()
    first = page[page.index("<main") : page.index('id="cautions"')]
    assert "On synthetic speech" in first
    questions = re.findall(r"<article.*?<h2>(.*?)</h2>", first, re.DOTALL)
    assert questions[:2] == ["Did it help?", "Where?"] and questions[-2:] == ["Can I believe it?", "What next?"]
    sections = set(re.findall(r'<section id="(\w+)"', page))
    linked = re.findall(r'<a href="#(\w+)" aria-label="More', first)
    assert len(linked) == len(questions) and set(linked) <= sections
