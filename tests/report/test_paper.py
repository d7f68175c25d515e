"""Figures and tables for a paper: as wide as a column, no letter too small, nothing cut off; figures on given axes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from lorascope.api.results import Results
from lorascope.errors import LorascopeError
from lorascope.report.figures import drawn, layout, lens
from lorascope.report.figures.sheet import VENUES, drawing_for, sheet_of
from lorascope.report.paper import write_paper
from lorascope.store.finished import FinishedRun

from .conftest import HOSTILE

pytestmark = pytest.mark.figures


@pytest.fixture(scope="module")
def written(marked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paper")
    write_paper(marked, out, "ieee", 1, ("pdf", "svg"), ("fig1", "confusion", "lens", "table1"))
    return out


@pytest.mark.parametrize("columns", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "venue", ["acl", *(pytest.param(name, marks=pytest.mark.slow) for name in VENUES if name != "acl")]
)
def test_a_figure_is_as_wide_as_its_column_and_can_be_read(plain: Path, venue: str, columns: int) -> None:
    sheet = sheet_of(venue, columns)
    with drawing_for(sheet):
        made = {stem: figure for stem, figure, _ in drawn(FinishedRun(plain), {"contribution", "lens", "spectra"})}
        assert set(made) == {"fig1", "fig2a", "fig3"}
        for figure in made.values():
            layout.settle(figure)
            figure.draw_without_rendering()
            assert figure.get_size_inches()[0] == sheet.width
            box = figure.get_tightbbox()
            assert box.x0 > -0.02 and box.x1 < sheet.width + 0.02
            texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
            assert min(text.get_fontsize() for text in texts) >= 7
            inside = [axes for axes in figure.axes if axes.get_visible()]
            assert min(axes.get_window_extent().height for axes in inside) > 0.5 * figure.dpi


def test_panels_that_flow_into_more_rows_say_what_they_show(plain: Path) -> None:
    with drawing_for(sheet_of("ieee", 1)):
        figure = next(figure for _, figure, _ in drawn(FinishedRun(plain), {"contribution"}))
        layout.settle(figure)
    (grid,) = figure.grids
    assert grid.panels.shape == (2, 3) and grid.places.max(axis=(0, 1)).tolist() == [2, 1]
    assert [axes.get_title(loc="left") for axes in grid.panels[1]] == ["attention", "MLP", "attention + MLP"]
    assert all("cosine with input" in axes.get_ylabel() for axes in grid.panels[1])
    # over a shared axis the lowest of a column names it
    assert [axes.get_xlabel() for axes in grid.panels[0]] == ["", "", "layer"]


def test_fonts_are_embedded_and_marks_stay(written: Path) -> None:
    pdf = (written / "fig1.pdf").read_bytes()
    assert b"/Type0" in pdf and b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert "<text" not in (written / "fig1.svg").read_text()
    captions = (written / "captions.md").read_text()
    assert "Synthetic speech." in captions and "Optimistic:" in captions


def test_a_table_is_three_files_of_the_same_numbers(written: Path, marked: Path) -> None:
    table = pd.read_csv(written / "lens.csv")
    stored = pd.read_parquet(marked / "analysis" / "lens.parquet").query(
        "variant == 'corrected' and model in ['trained', 'frozen']"
    )
    assert table["kl"].tolist() == pytest.approx(stored["kl"].tolist())
    assert table["synthetic"].all() and table["optimistic"].notna().all()
    rows = [line for line in (written / "lens.md").read_text().splitlines() if line.startswith("| ")]
    tex = (written / "lens.tex").read_text()
    assert len(rows) - 1 == len(table) == len(re.findall(r"(?m)^(?:trained|frozen) &", tex))
    assert r"\toprule" in tex and r"\bottomrule" in tex
    first = stored.iloc[0]
    assert f"{first['kl']:.3f} [{first['kl_low']:.3f}, {first['kl_high']:.3f}]".replace("-", "−") in rows[1]
    assert (written / "table1.tex").is_file() and (written / "comparison.csv").is_file()


def test_bad_names_are_one_line(plain: Path, bare: Path, tmp_path: Path) -> None:
    for wrong, told in (
        ({"venue": "icml"}, "--style icml: expected one of ieee"),
        ({"columns": 3}, "--columns 3: expected 1 or 2"),
        ({"formats": ("gif",)}, "--format gif"),
        ({"only": ("fig99",)}, r"no figure 'fig99'; there are fig1 \(contribution\)"),
        ({"variant": "mine"}, "no variant 'mine'; there are corrected"),
        ({"only": ("dial",)}, "nothing of dial"),
    ):
        with pytest.raises(LorascopeError, match=told):
            write_paper(plain, tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
    with pytest.raises(LorascopeError, match="no such file"):
        write_paper(tmp_path, tmp_path / "out")


def test_a_figure_is_drawn_from_python(plain: Path) -> None:
    results = Results(plain)
    whole = results.plot("lens")
    assert isinstance(whole, Figure) and len(whole.axes) == 4
    only = results.plot("lens", variant="corrected")
    labels = only.axes[0].get_legend_handles_labels()[1]
    assert lens.LABELS["corrected"] in labels and lens.LABELS["paper"] not in labels
    assert matplotlib.rcParams["text.parse_math"]
    for name, told in (
        ("lense", "no figure 'lense'"),
        ("dial", "dial was not measured"),
        ("fig2b-x", "no figure 'fig"),
    ):
        with pytest.raises(LorascopeError, match=told):
            results.plot(name)


def test_a_figure_is_drawn_on_axes_of_ones_own(plain: Path, marked: Path) -> None:
    table = pd.read_parquet(plain / "analysis" / "lens.parquet").query("model == 'trained' and variant == 'corrected'")
    mine = Figure()
    axes = mine.subplots()
    assert Results(plain).plot("fig2a", "corrected", ax=axes, panel=1) is mine and mine.axes == [axes]
    curve = next(line for line in axes.get_lines() if line.get_label() == lens.LABELS["corrected"])
    assert list(curve.get_ydata()) == pytest.approx(table.sort_values("layer")["overlap"].tolist())
    assert axes.get_legend() is not None
    several = Figure().subplots(2, 2)
    Results(marked).plot("lens", ax=several)
    assert all(each.get_lines() for each in several.flat)
    assert "synthetic speech" in several[1, 1].texts[-1].get_text()
    with pytest.raises(LorascopeError, match="panel 9: the figure has 4"):
        Results(plain).plot("lens", ax=axes, panel=9)
    with pytest.raises(LorascopeError, match="2 axes: the figure has 4 panels"):
        Results(plain).plot("lens", ax=several[0])
    # the panels of a figure in two parts are counted through
    Results(plain).plot("fig3", ax=(last := Figure().subplots()), panel=5)
    assert last.get_title(loc="left").startswith("(f)")


def test_jupyter_shows_table_1_and_nothing_unescaped(plain: Path, marked: Path, bare: Path) -> None:
    shown = Results(plain)._repr_html_()
    assert "Table 1" in shown and "frozen encoder" in shown and "<code>lens</code>" in shown
    assert "synthetic" in Results(marked)._repr_html_() and HOSTILE not in Results(marked)._repr_html_()
    assert "<table>" not in Results(bare)._repr_html_()


def test_a_name_in_a_file_is_no_markup(plain: Path, tmp_path: Path) -> None:
    """A label from a manifest goes into the page that Jupyter shows as text."""
    run = tmp_path / "run"
    for file in [plain / "manifest.json", *plain.glob("cells/*/*")]:
        copy = run / file.relative_to(plain)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    manifest = json.loads((run / "manifest.json").read_text())
    for cell in manifest["cells"]:
        cell["label"] += HOSTILE
    (run / "manifest.json").write_text(json.dumps(manifest | {"analysis": None}))
    shown = Results(run)._repr_html_()
    assert HOSTILE not in shown and "&lt;script&gt;" in shown
