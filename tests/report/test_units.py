"""The report of several analyses: their mean, each behind it, a page each, and in its first lines what it rests on."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from lorascope.report import write_all
from lorascope.report.figures import cka, contribution, lens, spectra, style
from lorascope.report.unit_words import units_words
from lorascope.store.finished import FinishedRun

from .folders import make_units

ONE = "One adapter, one fold: how others would come out is unknown."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_units(tmp_path_factory.mktemp("units") / "run", folds=2)
    write_all(folder)
    return folder


def test_the_first_lines_say_how_many_adapters_speak(run: Path, plain: Path, bare: Path, tmp_path: Path) -> None:
    told = {"run": run, "plain": plain}
    pages = {name: (folder / "report.html").read_text() for name, folder in told.items()}
    header = {name: page[page.index("<header>") : page.index("</header>")] for name, page in pages.items()}
    assert "Mean of 4 adapters (2 folds, 2 seeds) with its 95 % interval over folds" in header["run"]
    assert ONE in header["plain"] and ONE not in header["run"]
    assert units_words(FinishedRun(make_units(tmp_path / "seeds", folds=1))).startswith(
        "Mean of 2 adapters (1 fold, 2 seeds)"
    )
    assert units_words(FinishedRun(make_units(tmp_path / "one", folds=1, seeds=(1,)))) == ONE


def test_each_adapter_has_a_page_a_click_away_with_its_own_numbers(run: Path) -> None:
    links = re.findall(r'href="(units/[^"]+)"', (run / "report.html").read_text())
    units = FinishedRun(run).shown
    assert len(links) == len(set(links)) == len(units) == 4
    for link, unit in zip(links, units, strict=True):
        page = (run / link).read_text()
        assert f"Fold {unit.fold}, seed {unit.seed}: one of the adapters" in page
        assert "Table 1" not in page and '<script type="application/octet-stream" id="plotly">' not in page
        own = FinishedRun(run, only=unit.hash).table("lens")
        pd.testing.assert_frame_equal(own, unit.table("lens"))
        drawn = (run / link).with_suffix("")
        assert {file.suffix for file in drawn.iterdir()} == {".svg"} and (drawn / "fig1.svg").is_file()


@pytest.mark.parametrize(
    ("module", "stem", "panel", "label"),
    [
        (contribution, "contribution", 1, contribution.LABELS["corrected"]),
        (lens, "lens", 0, lens.LABELS["corrected"]),
        (cka, "cka", None, "corrected: trained A and B, linear, debiased, 95 % interval"),
    ],
)
def test_a_panel_has_the_mean_and_a_faint_line_a_unit(run: Path, module, stem: str, panel, label: str) -> None:
    folder = FinishedRun(run)
    if panel is None:
        axes = plt.figure().subplots()
        table = folder.curves(stem)
        cka.panel(axes, table, "activation", table["layer"].max() + 1)
    else:
        axes = next(iter(module.figures(folder).values())).subfigs[0].axes[panel]
    lines = axes.get_lines()
    mean = next(line for line in lines if line.get_label() == label)
    faint = [line for line in lines if line.get_alpha() is not None and line.get_color() == mean.get_color()]
    assert len(faint) == 4
    by_fold = [(a.get_ydata() + b.get_ydata()) / 2 for a, b in zip(faint[::2], faint[1::2], strict=True)]
    assert sum(by_fold) / 2 == pytest.approx(mean.get_ydata())


def test_a_wide_interval_does_not_flatten_the_curves(run: Path) -> None:
    axes = contribution.figures(FinishedRun(run))["fig1"].subfigs[0].axes[1]
    lines = [value for line in axes.get_lines() for value in line.get_ydata()]
    low, high = axes.get_ylim()
    # two folds: t's quantile is 12.7
    assert high - low < 4 * (max(lines) - min(lines))


def test_the_control_stands_in_the_figures_that_are_about_learning(run: Path) -> None:
    folder = FinishedRun(run)
    for figure in (contribution.figures(folder)["fig1"], lens.figures(folder)["fig2a"]):
        labels = {line.get_label() for axes in figure.subfigs[0].axes for line in axes.get_lines()}
        assert style.CONTROL_LABEL in labels
    alone = FinishedRun(run, only=folder.shown[0].hash)
    labels = {line.get_label() for axes in lens.figures(alone)["fig2a"].subfigs[0].axes for line in axes.get_lines()}
    assert style.CONTROL_LABEL not in labels


def test_energy_curves_have_a_line_a_fold_and_seed(run: Path) -> None:
    part = spectra.figures(FinishedRun(run))["fig3"].subfigs[0].subfigs[0]
    assert len([line for line in part.axes[0].get_lines() if line.get_alpha() == 0.45]) == 4


def test_readings_go_by_the_mean_over_folds(run: Path) -> None:
    page = (run / "report.html").read_text()
    table = FinishedRun(run).table("lens")
    start = table.query("model == 'trained' and variant == 'corrected' and layer == 0")["kl"].iloc[0]
    assert f"KL from the final answer is {start:.2f} nats at the embedding" in page
    assert "95 % intervals speak of folds" in page


@pytest.mark.slow
def test_the_report_of_the_same_folder_has_the_same_bytes(run: Path) -> None:
    files = [file for file in run.rglob("*") if file.suffix in (".html", ".svg", ".parquet")]
    before = {file: file.read_bytes() for file in files}
    write_all(run)
    assert {file: file.read_bytes() for file in files} == before
