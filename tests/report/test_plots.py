"""The plots of the page show the numbers of the tables for every choice; no text of theirs is markup."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from lorascope.findings.over_units import write_findings
from lorascope.report.plots import plots
from lorascope.report.plots.on_page import on_page
from lorascope.report.plots.spec import LAYER, Axis, Curve, Facet, Level, Look, Panel, Plot, curve
from lorascope.store.finished import FinishedRun

from .folders import make_units

pytestmark = pytest.mark.figures


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_units(tmp_path_factory.mktemp("plots") / "run", folds=2)
    write_findings(folder)
    return folder


def _curve(plot: Plot, choice: tuple[str, ...], panel: int, name: str) -> Curve:
    panels = [each for row in plot.views()[choice] for each in row]
    return next(each for each in panels[panel].curves if each.name == name)


def test_a_curve_is_its_table_with_the_interval_and_the_units_behind(units: Path) -> None:
    folder = FinishedRun(units)
    table = folder.table("contribution").query(
        "model == 'difference' and component == 'mlp' and variant == 'same-input' and frames == 'valid'"
    )
    drawn = _curve(plots(folder)["fig1"], ("same-input", "change"), 1, "trained − frozen")
    assert list(drawn.x) == table["layer"].tolist()
    assert list(drawn.y) == table["ratio"].tolist() and list(drawn.low) == table["ratio_low"].tolist()
    assert len(drawn.behind) == len(folder.shown) > 1


def test_all_models_stand_in_one_panel(units: Path) -> None:
    drawn = plots(FinishedRun(units))["fig2a"].views()[("corrected",)][0][0]
    names = [each.name for each in drawn.curves]
    assert names == ["trained", "frozen encoder", "trained on shuffled labels"]


def test_every_choice_is_plain_data(units: Path, marked: Path) -> None:
    for run in (units, marked):
        made = plots(FinishedRun(run))
        assert {"fig1", "fig2a", "fig2b", "fig3", "cka", "fig4", "confusion"} <= set(made)
        for plot in made.values():
            data = json.loads(json.dumps(on_page(plot), allow_nan=False))
            assert data["views"], plot.stem
            for key in data["views"]:
                assert len(key.split("|")) == len(data["facets"]) or not data["facets"]


def test_points_know_their_clips(plain: Path) -> None:
    folder = FinishedRun(plain)
    plot = plots(folder)["fig2b"]
    choice = next(iter(plot.views()))
    clouds = plot.views()[choice][0][0].curves
    key = dict(zip([facet.name for facet in plot.facets], choice, strict=True))
    table = folder.table("ranks").query("model == 'trained' and variant == 'corrected'")
    table = table[(table["layer"] == int(key["layer"])) & (table["rank"] == int(key["rank"]))]
    assert sorted(clip for cloud in clouds for clip in cloud.clips) == sorted(table["clip"])
    by_clip = table.set_index("clip")["x"]
    assert all(x == by_clip[clip] for cloud in clouds for clip, x in zip(cloud.clips, cloud.x, strict=True))


def test_an_axis_shows_all_values_but_no_more_than_half_their_reach_of_an_interval() -> None:
    wide = Curve("a", Look("blue"), [0, 1], [1.0, 2.0], [-50.0, 1.5], [50.0, 2.1])
    assert Panel("", LAYER, Axis(), (wide,)).ends(room=0) == (0.5, 2.5)
    # with a level the values reach from 1 to 5, whatever stands upright
    levels = (Level(5.0), Level(90.0, upright=True))
    assert Panel("", LAYER, Axis(), (wide,), levels=levels).ends(room=0) == (-1.0, 7.0)
    assert Panel("", LAYER, Axis(), (Curve("a", Look("blue"), [0], [math.nan]),)).ends() is None


def test_missing_layers_are_a_gap_and_a_column_without_numbers_is_no_curve() -> None:
    table = pd.DataFrame({"layer": [0, 3], "uar": [0.5, 0.75], "none": [math.nan, math.nan]})
    (drawn,) = curve(table, "uar", "a", Look("blue"))
    assert list(drawn.x) == [0, 1, 2, 3]
    assert [math.isnan(y) for y in drawn.y] == [False, True, True, False]
    assert curve(table, "none", "a", Look("blue")) == ()


def test_a_choice_that_nothing_was_measured_for_is_no_option() -> None:
    shown = Panel("", Axis(), Axis(), (Curve("<b>", Look("blue"), [0], [1.0]),))
    empty = Panel("", Axis(), Axis())
    facet = Facet("variant", "Variant", {"a": "A", "b": "B"}, {"a": "what a is"})
    data = on_page(Plot("x", lambda choice: [[shown if choice["variant"] == "a" else empty]], (facet,)))
    assert data["facets"] == [{"name": "variant", "words": "Variant", "options": [["a", "A", "what a is"]]}]
    assert list(data["views"]) == ["a"] and data["views"]["a"][0][0]["curves"][0]["name"] == "&lt;b&gt;"
