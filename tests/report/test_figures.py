"""Figures: what is drawn is what the tables say, in three formats, the same bytes twice, marked where it must be."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lorascope.report.figures import cka, confusion, contribution, draw, erasure, lens, rank_space, spectra
from lorascope.report.interval_words import interval_words
from lorascope.report.plots import plots
from lorascope.store.finished import FinishedRun

from .conftest import OPTIMISTIC
from .folders import make_analysis
from .recipe import Recipe

pytestmark = pytest.mark.figures

STEMS = {"fig1", "fig2a", "fig2b", "fig2b-released", "fig3", "fig4", "confusion"}
MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


def _panels(figure: Figure) -> list:
    return list(figure.subfigs[0].axes) or [axes for part in figure.subfigs[0].subfigs for axes in part.axes]


def _curves(axes) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_every_figure_is_there_in_three_formats(plain: Path, marked: Path) -> None:
    files = list((plain / "figures").iterdir())
    assert {file.stem for file in files} == STEMS
    assert len(files) == 3 * len(STEMS)
    for file in files:
        assert file.read_bytes().startswith(MAGIC[file.suffix])
    extra = {"fig2b-q_proj", "fig2b-q_proj-released", "fig3-q_proj"}
    assert {file.stem for file in (marked / "figures").iterdir()} == STEMS | extra


def test_marks_stand_on_every_figure_that_needs_them(plain: Path, marked: Path) -> None:
    for file in (marked / "figures").glob("*.svg"):
        text = file.read_text()
        assert "synthetic speech" in text, file.name
        assert "optimistic" in text, file.name
        assert OPTIMISTIC.split()[-1] in text, file.name
    for file in (plain / "figures").glob("*.svg"):
        assert "synthetic" not in file.read_text()
        assert "optimistic" not in file.read_text()


def test_figures_say_what_their_intervals_speak_of(plain: Path) -> None:
    for file in (plain / "figures").glob("*.svg"):
        text = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text()))
        assert ("95 % intervals speak of these clips" in text) == (file.stem != "confusion"), file.name


def test_what_intervals_speak_of_in_words() -> None:
    tables = [pd.DataFrame({"interval_of": [of]}) for of in ("speakers", "these clips", "")]
    assert interval_words(tables[:1]) == "95 % intervals speak of speakers: others of the same kind"
    assert "of these clips: " in interval_words(tables[1:]) and "of speakers" not in interval_words(tables[1:])
    # tables of folders made before they said so, and tables that are missing
    assert interval_words([pd.DataFrame({"kl": [1.0]}), None]) == ""


def test_text_stays_text_and_names_are_no_formulas(marked: Path) -> None:
    text = (marked / "figures" / "fig2b.svg").read_text()
    assert "<text" in text
    assert "&lt;b&gt;$x$&lt;/b&gt;" in text


def test_a_figure_whose_table_is_missing_is_not_drawn(bare: Path) -> None:
    assert {file.stem for file in (bare / "figures").iterdir()} == {"fig2a", "fig3"}


@pytest.mark.slow
def test_drawing_again_gives_the_same_bytes_and_needs_no_torch(tmp_path: Path) -> None:
    run = make_analysis(tmp_path / "run", Recipe(without=("ranks", "contribution", "spectra", "cka")))
    before = {file: file.read_bytes() for file in draw(FinishedRun(run), run / "figures")}
    assert len(before) == 6
    for file in before:
        file.unlink()
    code = (
        "import sys; from pathlib import Path; from lorascope.report.page import FinishedRun, draw; "
        "run = Path(sys.argv[1]); draw(FinishedRun(run), run / 'figures'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=True, env={"PYTHONHASHSEED": "7", "PATH": ""})
    assert {file: file.read_bytes() for file in before} == before


def test_figure_1_draws_the_difference_by_variant(plain: Path) -> None:
    table = pd.read_parquet(plain / "analysis" / "contribution.parquet")
    panels = _panels(contribution.figures(FinishedRun(plain))["fig1"])
    drawn = _curves(panels[1])[contribution.LABELS["corrected"]]
    rows = table.query("model == 'difference' and component == 'mlp' and variant == 'corrected' and frames == 'valid'")
    assert drawn == pytest.approx(rows.sort_values("layer")["ratio"].tolist())
    paper = table.query("model == 'difference' and component == 'attn' and variant == 'paper' and frames == 'all'")
    assert _curves(panels[3])[contribution.LABELS["paper"]] == pytest.approx(paper["cosine"].tolist())


def test_figure_2a_draws_chance_and_marks_the_constant_lens(plain: Path) -> None:
    table = pd.read_parquet(plain / "analysis" / "lens.parquet").query("model == 'trained'")
    overlap = _panels(lens.figures(FinishedRun(plain))["fig2a"])[1]
    chance = table.query("variant == 'corrected'")["chance_overlap"]
    assert _curves(overlap)[lens.CHANCE] == pytest.approx(chance.tolist())
    hollow = [line for line in overlap.get_lines() if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    constant = set(table[table["top_class_share"] >= 0.95]["layer"])
    assert constant
    assert all(set(line.get_xdata()) == constant for line in hollow)
    assert len(hollow) == 3


def test_figure_2b_has_a_row_a_rank_and_the_numbers_below(plain: Path) -> None:
    scores = pd.read_parquet(plain / "analysis" / "rank_scores.parquet")
    panels = _panels(rank_space.figures(FinishedRun(plain))["fig2b"])
    assert [panel.get_ylabel() for panel in panels if panel.get_ylabel()] == ["r = 8", "r = 32"]
    row = scores.query("model == 'trained' and rank == 8 and layer == 0 and variant == 'corrected'").iloc[0]
    assert f"probe UAR {row['probe_uar']:.2f}" in panels[0].get_xlabel()
    random = scores.query("model == 'gaussian' and rank == 32 and layer == 0 and variant == 'corrected'").iloc[0]
    assert f"random A: {random['probe_uar']:.2f}" in panels[4].get_xlabel()


def test_figure_3_draws_the_mean_energy_and_tells_k90(plain: Path) -> None:
    folder = FinishedRun(plain)
    panels = _panels(spectra.figures(folder)["fig3"])
    energy = pd.read_parquet(plain / "analysis" / "spectra.parquet")
    rows = energy.query("model == 'gaussian' and factor == 'B' and quantity == 'gradient' and variant == 'corrected'")
    assert _curves(panels[3])["gaussian, mean over layers"] == pytest.approx(
        rows.groupby("index")["energy"].mean().tolist()
    )
    summary = pd.read_parquet(plain / "analysis" / "spectra_summary.parquet")
    rows = summary.query("model == 'trained' and factor == 'A' and quantity == 'activation' and variant == 'corrected'")
    assert f"trained\N{NO-BREAK SPACE}{rows['k90'].mean():.1f}" in panels[0].get_xlabel()
    # B is zero in a fresh adapter: named, not drawn.
    assert "peft-init exactly 0" in panels[1].get_xlabel().replace("\N{NO-BREAK SPACE}", " ")
    assert "peft-init, mean over layers" not in _curves(panels[1])


def test_figure_3_cka_has_interval_null_and_random_reference(plain: Path) -> None:
    panel = _panels(spectra.figures(FinishedRun(plain))["fig3"])[4]
    curves = _curves(panel)
    table = pd.read_parquet(plain / "analysis" / "cka.parquet").query("quantity == 'activation' and kernel == 'linear'")
    rows = table.query("pair == 'A~B:trained' and variant == 'corrected'")
    assert curves["corrected: trained A and B, linear, debiased, 95 % interval"] == pytest.approx(
        rows["value"].tolist()
    )
    assert cka.REFERENCES["A~B:gaussian"]["label"] in curves
    labels = panel.get_legend_handles_labels()[1]
    assert "corrected: its null (clips shuffled), 95 %" in labels
    assert "released, forward “trained”: A trained and A random, linear" in labels


def test_erasure_draws_changes_and_confusion_its_shares(plain: Path) -> None:
    table = pd.read_parquet(plain / "analysis" / "erasure.parquet").query("model == 'frozen' and mode == 'single'")
    drawn = _curves(_panels(erasure.figures(FinishedRun(plain))["fig4"])[0])["frozen: this block skipped"]
    assert drawn == pytest.approx(table["delta_uar"].tolist())
    panels = _panels(confusion.figures(FinishedRun(plain))["confusion"])
    assert [panel.get_title() for panel in panels] == ["frozen encoder", "LoRA r=32 v_proj"]
    assert panels[0].images[0].get_array().sum(axis=1).tolist() == pytest.approx([1] * 4)


@pytest.mark.parametrize("layers", [4, 12, 32])
def test_layers_have_whole_and_few_ticks(tmp_path: Path, layers: int) -> None:
    run = make_analysis(tmp_path / "run", Recipe(layers=layers, without=("ranks", "spectra", "cka")))
    axes = _panels(contribution.figures(FinishedRun(run))["fig1"])[-1]
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick < layers]
    assert all(tick == int(tick) for tick in ticks)
    assert 3 <= len(ticks) <= 10


def test_layers_that_are_not_adapted_are_gaps(tmp_path: Path) -> None:
    """Of 8 blocks 0, 1, 3, 5 and 6 are adapted: no line leads across the others, and the axis shows all."""
    run = make_analysis(tmp_path / "run", Recipe(layers=8, without=("ranks", "contribution", "lens", "erasure")))
    for stem in ("cka", "spectra_summary", "spectra"):
        table = pd.read_parquet(run / "analysis" / f"{stem}.parquet")
        table[table["layer"].isin([0, 1, 3, 5, 6])].to_parquet(run / "analysis" / f"{stem}.parquet")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["backbone"]["layers"] = 8
    (run / "manifest.json").write_text(json.dumps(manifest))
    folder = FinishedRun(run)
    panel = _panels(spectra.figures(folder)["fig3"])[4]
    label = "corrected: trained A and B, linear, debiased, 95 % interval"
    drawn = next(each for each in panel.get_lines() if each.get_label() == label)
    assert list(drawn.get_xdata()) == list(range(7))
    assert list(np.flatnonzero(np.isnan(np.asarray(drawn.get_ydata(), dtype=float)))) == [2, 4]
    # block 3 stands alone: a point, and a bar for its interval
    points = [each for each in panel.get_lines() if list(each.get_xdata()) == [3] and each.get_linestyle() == "None"]
    assert points and any(isinstance(each, LineCollection) for each in panel.collections)
    assert panel.get_xlim()[1] > 7
    views = plots(folder)["cka"].views().values()
    curves = [curve for rows in views for row in rows for panel in row for curve in panel.curves]
    for curve in curves:
        assert list(curve.x) == list(range(7)) and list(np.flatnonzero(np.isnan(curve.y))) == [2, 4]
    assert curves


def test_no_global_state_of_matplotlib_is_left_changed(plain: Path) -> None:
    assert matplotlib.rcParams["svg.hashsalt"] != "lorascope"
