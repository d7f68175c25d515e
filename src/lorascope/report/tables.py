"""Writes Table 1 and the comparison as files (CSV, Markdown, LaTeX) and prints Table 1 on the terminal.

Numbers come from `scores`; here they only get their form. Marks (synthetic speech, optimistic selection) go wherever
numbers go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..findings.scores import compare, summarise
from ..store.finished import FinishedRun, records

__all__ = ["compare", "print_table1", "summarise", "write_tables"]

#: Heads of the formatted Table 1, in order.
HEADS = ("Backbone", "Method", "Trainable", "Folds", "UAR", "WAR", "Pooled UAR [95 % CI]", "Pooled WAR [95 % CI]")

_NUMERIC = tuple(place > 1 for place in range(len(HEADS)))

#: What of it is printed on the terminal.
TERMINAL_HEADS = ("Backbone", "Method", "Folds", "UAR", "WAR", "Pooled UAR [95 % CI]")

ABSENT = "–"

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "α": r"$\alpha$",
    "×": r"$\times$",
    "·": r"$\cdot$",
}


def write_tables(run: Path) -> list[Path]:
    """Write table1.{csv,md,tex} and comparison.csv into the run folder; return their paths.

    A run that trained no cell has no Table 1: nothing is written and the list is empty.
    """
    table = summarise(run)
    if table.empty:
        return []
    folder = FinishedRun(run)
    comparison = compare(run)
    files = {
        "table1.csv": table.to_csv(index=False, lineterminator="\n"),
        "table1.md": markdown(table, folder.marks),
        "table1.tex": latex(table, folder.marks, folder.task),
        "comparison.csv": comparison.to_csv(index=False, lineterminator="\n"),
    }
    for name, text in files.items():
        (run / name).write_text(text, encoding="utf-8")
    return [run / name for name in files]


def print_table1(run: Path, console: Console) -> None:
    """Print Table 1, its notes and the comparison's sentence-long rows on a rich console."""
    table = summarise(run)
    if table.empty:
        console.print("No cell was trained, hence no Table 1.")
        return
    several = table["backbone"].nunique() > 1
    # What fits 80 columns; the files hold the rest.
    heads = [head for head in TERMINAL_HEADS if several or head != "Backbone"]
    where = "" if several else f" {table['backbone'].iloc[0]},"
    shown = Table(
        title=Text(f"Table 1:{where} unseen speakers, mean ± std over folds"),
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
        show_edge=False,
    )
    for head in heads:
        # on any console: rich reads square brackets in a str as markup
        shown.add_column(Text(head), justify="left" if head in HEADS[:2] else "right", no_wrap=True)
    for row in formatted(table):
        shown.add_row(*(Text(row[HEADS.index(head)]) for head in heads))
    console.print(shown)
    for note in notes(table, FinishedRun(run).marks):
        console.print(Text(note))
    for line in comparison_lines(compare(run)):
        console.print(Text(line))


def formatted(table: pd.DataFrame) -> list[list[str]]:
    """The cells of Table 1 as text, a list a row, in the order of `HEADS`; an optimistic row's method bears a
    dagger.
    """
    return [
        [
            row["backbone"],
            f"{row['label']} †" if row["optimistic"] else row["label"],
            f"{row['trainable_parameters']:,}",
            str(row["folds"]),
            _with_spread(row["uar_mean"], row["uar_std"]),
            _with_spread(row["war_mean"], row["war_std"]),
            _with_interval(row["pooled_uar"], row["pooled_uar_low"], row["pooled_uar_high"]),
            _with_interval(row["pooled_war"], row["pooled_war_low"], row["pooled_war_high"]),
        ]
        for row in records(table)
    ]


def notes(table: pd.DataFrame, marks: list[str]) -> list[str]:
    """The sentences that belong under Table 1: what the numbers are, chance level, and the marks."""
    first = table.iloc[0]
    lines = [
        f"Guessing gives a UAR of {first['chance']:.3f}. ± is the standard deviation over folds; intervals speak of "
        f"speakers, by leaving out each of the test speakers ({_range(table['speakers'])}; {_range(table['clips'])} "
        "clips)."
    ]
    if table["uar_std"].isna().any():
        lines.append(f"{ABSENT} for a spread: one fold has none.")
    if table["pooled_uar_low"].isna().any():
        lines.append(
            f"{ABSENT} for an interval: fewer than three speakers have none, nor has a UAR of which one speaker has "
            "all clips of a class."
        )
    for mark in marks:
        dagger = "† " if mark.startswith("optimistic") else ""
        lines.append(f"{dagger}{mark[0].upper()}{mark[1:]}.")
    return lines


def comparison_lines(comparison: pd.DataFrame, only_main: bool = False) -> list[str]:
    """One sentence a main row of the comparison, which calls a difference only what its interval calls one; and, unless
    `only_main`, where the other rows are.
    """
    lines = []
    for row in records(comparison[comparison["main"].astype(bool)]):
        metric, low, high = row["metric"].upper(), row["low"], row["high"]
        folds = "1 fold" if row["folds"] == 1 else f"{row['folds']} folds"
        pair = f"{row['label']} − {row['reference']}: {metric} {row['difference']:+.3f} over {folds}"
        pooled = _pooled_words(row)
        if math.isnan(low):
            lines.append(f"{pair}; too few or too equal for a test over folds{pooled}.".replace(" -", " −"))
            continue
        verdict = "no clear difference" if low <= 0 <= high else "higher" if low > 0 else "lower"
        tests = (
            f"95 % CI {low:+.3f} to {high:+.3f}, corrected t p = {row['p']:.3f}, Wilcoxon p = {row['wilcoxon_p']:.3f}"
        )
        lines.append(f"{pair} ({tests}): {verdict}{pooled}.".replace(" -", " −"))
    if not only_main and not comparison["main"].all():
        lines.append(
            "Of several baselines, the one above has the highest UAR on the validation speakers; comparison.csv has "
            "the other pairs."
        )
    return lines


def _pooled_words(row: dict[str, Any]) -> str:
    """What the pooled difference says of other speakers, "" where there are too few for an interval."""
    low, high = row["pooled_low"], row["pooled_high"]
    if math.isnan(low):
        return ""
    verdict = "no clear difference" if low <= 0 <= high else "higher" if low > 0 else "lower"
    of = f"pooled over {row['speakers']} speakers {row['pooled_difference']:+.3f}"
    return f"; {of} (95 % CI {low:+.3f} to {high:+.3f}): {verdict} for these trained models"


def markdown(table: pd.DataFrame, marks: list[str]) -> str:
    """Table 1 as Markdown, its notes below."""
    return markdown_table(HEADS, formatted(table), _NUMERIC, notes(table, marks))


def markdown_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], under: Sequence[str]
) -> str:
    """Cells as a Markdown table, the numeric columns to the right, and sentences under it."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "".join("---:|" if right else "---|" for right in numeric)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"{note}\n" for note in under)])


def latex(table: pd.DataFrame, marks: list[str], task: str = "emotion") -> str:
    """Table 1 as a LaTeX table for the package booktabs, its notes below."""
    unseen = "groups" if task == "speaker" else "speakers"
    caption = f"{task.capitalize()} recognition on unseen {unseen} (mean ± standard deviation over folds)."
    return latex_table(HEADS, formatted(table), _NUMERIC, caption, notes(table, marks))


#: A table of more rows than a page holds breaks over pages.
LONG = 45


def latex_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    caption: str,
    under: Sequence[str],
) -> str:
    """Cells as a LaTeX table for the package booktabs, the numeric columns to the right, and sentences under it."""
    columns = "".join("r" if right else "l" for right in numeric)
    head = " & ".join(escape_latex(each) for each in heads) + r" \\"
    body = [" & ".join(escape_latex(cell) for cell in row) + r" \\" for row in rows]
    below = [r"\par\smallskip\footnotesize " + escape_latex(note) for note in under]
    named = rf"\caption{{{escape_latex(caption)}}}"
    if len(rows) > LONG:
        opening = [
            "% Needs \\usepackage{booktabs,longtable}; longtable stands in one column (\\onecolumn).",
            rf"\begin{{longtable}}{{{columns}}}",
            named + r" \\",
        ]
        lines = [*opening, r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot", *body]
        return "\n".join([*lines, r"\end{longtable}", *below, ""])
    return "\n".join(
        [
            "% Needs \\usepackage{booktabs,graphicx}; table* spans both columns of a two-column page.",
            r"\begin{table*}",
            r"\centering",
            named,
            rf"\resizebox{{\ifdim\width>\textwidth \textwidth\else\width\fi}}{{!}}{{\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            *below,
            r"\end{table*}",
            "",
        ]
    )


def escape_latex(text: str) -> str:
    """Text in which nothing is a LaTeX command any more.

    >>> escape_latex("50 % of r_1 & {A}")
    '50 \\\\% of r\\\\_1 \\\\& \\\\{A\\\\}'
    """
    return "".join(_LATEX.get(character, character) for character in text).replace("†", r"$\dagger$")


def _with_spread(mean: float, spread: float) -> str:
    return f"{mean:.3f} ± {ABSENT if math.isnan(spread) else f'{spread:.3f}'}"


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{ABSENT if math.isnan(low) else f'{low:.3f}, {high:.3f}'}]"


def _range(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"
