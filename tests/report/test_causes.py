"""Figures and sections of what a config must ask for: drawn from the measures' own tables, absent where they weren't
taken.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from lorascope.report import readings, write_all
from lorascope.report.figures import dial, frames, heads, patching, probes, rank_dial, weights
from lorascope.store.finished import ANALYSIS_TABLES, ASKED_TABLES, FinishedRun

from ..analysis.small import Small
from .folders import make_analysis
from .recipe import Recipe

pytestmark = pytest.mark.figures

ASKED = ("dial", "rank_dial", "patching", "weights", "probes", "frame_lens", "heads")
STEMS = {f"fig{number}" for number in range(5, 12)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A made-up run beside the tables of a small model's measures, with its report."""
    small = Small(tmp_path_factory.mktemp("small"), targets=("v_proj", "fc1"))
    small.clips["text"] = [f"t{i % 3}" for i in range(len(small.clips))]
    # none of the other tables: their figures take longest to draw
    run = make_analysis(tmp_path_factory.mktemp("asked") / "run", Recipe(without=tuple(ANALYSIS_TABLES)))
    tables = small.tables(*ASKED)
    # what needs more than a model is in test_hearing.py
    elsewhere = {
        "counterfactual",
        "counterfactual_classes",
        "recognition",
        "transcripts",
        "frontier",
        "frontier_chosen",
        "frontier_blocks",
        "recurrence",
    }
    # vectors are for the comparison of several adapters, and for no reader
    assert (
        set(tables) - {"weight_directions"}
        == {stem for stem in ASKED_TABLES if not stem.startswith("trajectory_")} - elsewhere
    )
    for stem, table in tables.items():
        table.to_parquet(run / "analysis" / f"{stem}.parquet")
    write_all(run)
    return run


def test_every_figure_and_section_is_there(asked: Path) -> None:
    stems = {file.stem for file in (asked / "figures").glob("*.png")}
    assert stems >= STEMS | {"fig8-fc1"}
    page = (asked / "report.html").read_text()
    for name in ("dial", "rank_dial", "patching", "weights", "probes", "frames", "heads"):
        assert f'<section id="{name}">' in page


def test_no_column_is_called_as_what_tells_units_apart(asked: Path) -> None:
    """`findings` writes these over a table's own: the probes' control task once was the method's control there."""
    for file in (asked / "analysis").glob("*.parquet"):
        assert not {"method", "control", "fold", "seed", "trained_on", "tested_on"} & set(pd.read_parquet(file)), (
            file.stem
        )


def test_a_run_that_did_not_ask_has_none_of_it(plain: Path) -> None:
    page = (plain / "report.html").read_text()
    assert not STEMS & {file.stem for file in (plain / "figures").iterdir()}
    assert '<section id="dial">' not in page and '<section id="erasure">' in page
    folder = FinishedRun(plain)
    for module in (dial, frames, heads, patching, probes, rank_dial, weights):
        assert module.figures(folder) == {}
    assert readings.dial_reading(folder) == readings.heads_reading(folder) == []


def test_what_is_drawn_is_what_the_tables_say(asked: Path) -> None:
    folder = FinishedRun(asked)
    whole = dial.figures(folder)["fig5"].subfigs[0].axes[0].get_lines()[0]
    table = folder.table("dial")
    assert table is not None
    assert list(whole.get_ydata()) == list(table[table["dial"] == "whole"].sort_values("alpha")["uar"])
    stream = patching.figures(folder)["fig7"].subfigs[0].axes[0].get_lines()[0]
    patched = folder.table("patching")
    assert patched is not None
    rows = patched[(patched["receiver"] == "adapted") & (patched["part"] == "resid_pre")].sort_values("layer")
    quantity = "share" if rows["share"].notna().any() else "moved"
    assert list(stream.get_ydata()) == list(rows[quantity])
    random = rank_dial.figures(folder)["fig6"].subfigs[0].axes[0].get_lines()[0]
    cuts = folder.table("rank_dial")
    assert cuts is not None
    assert list(random.get_ydata()) == list(cuts[cuts["way"] == "random"]["uar"])


@pytest.fixture
def edit(asked: Path, tmp_path: Path):
    """A reading of one changed table."""

    def edited(stem: str, change) -> FinishedRun:
        run = tmp_path / "run"
        shutil.copytree(asked, run, dirs_exist_ok=True)
        table = pd.read_parquet(run / "analysis" / f"{stem}.parquet")
        change(table).to_parquet(run / "analysis" / f"{stem}.parquet")
        return FinishedRun(run)

    return edited


def test_the_dial_reading_names_only_blocks_whose_interval_leaves_out_0(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        off = (table["dial"] == "block") & (table["alpha"] == 0)
        table.loc[off, ["delta_uar", "delta_uar_low", "delta_uar_high"]] = (-0.1, -0.3, 0.1)
        table.loc[off & (table["at"] == 1), ["delta_uar", "delta_uar_low", "delta_uar_high"]] = (-0.2, -0.3, -0.1)
        return table

    text = " ".join(readings.dial_reading(edit("dial", change)))
    assert "Turning off one block lowers UAR clearly at layer 1, most at layer 1 (−0.200 [−0.300, −0.100])." in text

    def none(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(delta_uar_high=0.1)

    assert "No single block's part is clearly needed" in " ".join(readings.dial_reading(edit("dial", none)))


def test_the_patching_reading_tells_when_nothing_can_be_shared_out(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(share=float("nan"), note="the two models' margins don't clearly differ")

    sentences = readings.patching_reading(edit("patching", change))
    assert sentences[0] == "Frozen into adapted: the two models' margins don't clearly differ."

    def half(table: pd.DataFrame) -> pd.DataFrame:
        deep = (table["part"] == "resid_pre") & (table["layer"] >= 2)
        return table.assign(share=0.6, share_low=0.4, share_high=0.8, total=-2.0).assign(
            share_low=lambda t: t["share_low"].mask(deep, 0.55)
        )

    text = readings.patching_reading(edit("patching", half))[0]
    assert text.endswith("(−2.00 logits) from depth 2 on.")


def test_the_probes_reading_tells_a_change_only_where_its_interval_leaves_out_0(edit) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(score_low=-0.1, score_high=0.1)

    assert "no clear change" in readings.probes_reading(edit("probes", change))[0]

    def clear(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(score=0.3, score_low=0.2, score_high=0.4)

    sentences = readings.probes_reading(edit("probes", clear))
    assert sentences[0].endswith("+0.300 [+0.200, +0.400].")
    assert any("was not probed: the clips have no gender" in sentence for sentence in sentences)
