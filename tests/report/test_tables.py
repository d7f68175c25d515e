"""The files of Table 1: their numbers, their escapes, and the marks that go wherever numbers go."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from lorascope.report.tables import (
    compare,
    comparison_lines,
    escape_latex,
    latex,
    markdown,
    print_table1,
    summarise,
    write_tables,
)

from .conftest import OPTIMISTIC
from .folders import make_run
from .recipe import Recipe


@pytest.fixture(scope="module")
def texts(marked: Path) -> dict[str, str]:
    console = Console(file=io.StringIO(), width=160)
    print_table1(marked, console)
    files = {file.name: file.read_text() for file in write_tables(marked)}
    return files | {"terminal": console.file.getvalue()}  # pyright: ignore[reportAttributeAccessIssue]


def test_every_form_bears_both_marks(texts: dict[str, str]) -> None:
    assert set(texts) == {"table1.csv", "table1.md", "table1.tex", "comparison.csv", "terminal"}
    for name, text in texts.items():
        assert "synthetic" in text.lower(), name
        assert OPTIMISTIC in text, name
    assert pd.read_csv(io.StringIO(texts["comparison.csv"]))["synthetic"].all()


def test_an_honest_run_bears_no_mark(plain: Path) -> None:
    for file in write_tables(plain):
        if file.suffix != ".csv":
            assert "optimistic" not in file.read_text().lower()
            assert "ynthetic" not in file.read_text()
    assert not pd.read_csv(plain / "table1.csv")["synthetic"].any()
    assert pd.read_csv(plain / "table1.csv")["optimistic"].isna().all()


def test_csv_reads_back_as_the_table(marked: Path, texts: dict[str, str]) -> None:
    back = pd.read_csv(io.StringIO(texts["table1.csv"]))
    pd.testing.assert_frame_equal(back, summarise(marked), check_dtype=False)


def test_every_form_shows_the_mean(marked: Path, texts: dict[str, str]) -> None:
    shown = f"{summarise(marked)['uar_mean'].iloc[0]:.3f}"
    for name in ("table1.md", "table1.tex", "terminal"):
        assert shown in texts[name]


def test_latex_escapes_what_files_bring() -> None:
    assert escape_latex(r"a_b & 50% $x$ {y} #1 ~ ^ \input") == (
        r"a\_b \& 50\% \$x\$ \{y\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}input"
    )


def test_latex_holds_no_bare_special_and_balanced_braces(tmp_path: Path) -> None:
    table = summarise(make_run(tmp_path / "run", Recipe(ranks=(32,)))).assign(label=r"r_1 & \evil{50%} #$^~")
    body = latex(table, ["optimistic: 100 % of_it"])
    rows = [line for line in body.splitlines() if "evil" in line]
    assert len(rows) == 2
    for line in rows:
        # Seven column breaks and none from the label.
        assert len(re.findall(r"(?<!\\)&", line)) == 7
        assert r"\evil" not in line
    unescaped = re.sub(r"\\[{}]", "", body)
    assert unescaped.count("{") == unescaped.count("}")
    assert r"100 \% of\_it" in body


def test_markdown_escapes_column_breaks(plain: Path) -> None:
    text = markdown(summarise(plain).assign(label="a|b"), [])
    assert "a\\|b" in text
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1


def test_a_difference_is_only_called_one_where_its_interval_excludes_zero(plain: Path) -> None:
    row = compare(plain).iloc[:1]
    ends, verdicts = ((-0.1, 0.2), (0.01, 0.2), (-0.2, -0.01)), ["no clear difference", "higher", "lower"]
    alone = row.assign(pooled_low=np.nan, pooled_high=np.nan)
    lines = [comparison_lines(alone.assign(low=low, high=high))[0] for low, high in ends]
    assert [line.rsplit(": ", 1)[1] for line in lines] == [f"{verdict}." for verdict in verdicts]
    # and of the pooled clips, which speak of other things than the folds do
    lines = [comparison_lines(row.assign(pooled_low=low, pooled_high=high))[0] for low, high in ends]
    assert all("pooled over 6 speakers" in line for line in lines)
    assert [line.rsplit(": ", 1)[1] for line in lines] == [f"{words} for these trained models." for words in verdicts]


def test_a_run_without_cells_writes_no_table_and_says_so(bare: Path) -> None:
    assert write_tables(bare) == []
    console = Console(file=io.StringIO())
    print_table1(bare, console)
    assert "no Table 1" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_many_speakers_fit_in_the_notes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", replace(Recipe(), speakers=3, ranks=(32,)))
    assert "3; " in markdown(summarise(run), [])


def test_the_terminal_of_80_columns_cuts_nothing(plain: Path) -> None:
    console = Console(file=io.StringIO(), width=80)
    print_table1(plain, console)
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "…" not in text
    assert "Pooled UAR [95 % CI]" in text
    row = summarise(plain).iloc[1]
    assert f"{row['pooled_uar']:.3f} [{row['pooled_uar_low']:.3f}, {row['pooled_uar_high']:.3f}]" in text
