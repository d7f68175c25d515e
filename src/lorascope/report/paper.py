"""What a paper takes from a run: its figures as wide as a venue's columns, its tables in LaTeX, Markdown and CSV, and
captions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LorascopeError
from ..findings.over_units import ENDS
from ..findings.scores import compare, summarise
from ..store.finished import ANALYSIS_TABLES, FinishedRun, records
from ..store.folder import write_text
from .figures import STEMS, drawn, style
from .figures.sheet import drawing_for, sheet_of
from .interval_words import interval_words
from .sections import SECTIONS
from .tables import ABSENT, comparison_lines, latex, latex_table, markdown, markdown_table

CAPTIONS = "captions.md"

#: More than this no page of a paper holds, inches.
PAGE = 9.0


@dataclass(frozen=True)
class Numbers:
    """The table behind a figure: the figure's module, the stem of the analysis' table, the rows that count (of what a
    table lacks none is left out), and the columns; one with an interval bears it.
    """

    module: str
    stem: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...] = ()
    title: str = ""


_CORRECTED = ("variant", ("corrected",))
_MODELS = ("model", ("trained", "frozen"))

#: The tables of the figures, in their order.
NUMBERS = (
    Numbers(
        "contribution",
        "contribution",
        ("model", "component", "layer", "ratio", "cosine"),
        (_CORRECTED, ("frames", ("valid",)), ("model", ("difference", "trained"))),
        "Contribution of each layer's parts to the residual stream",
    ),
    Numbers("lens", "lens", ("model", "layer", "kl", "overlap", "uar"), (_CORRECTED, _MODELS), "Logit lens by layer"),
    Numbers(
        "rank_space",
        "rank_scores",
        ("model", "rank", "module", "layer", "silhouette", "knn", "probe_uar"),
        (_CORRECTED, ("model", ("trained", "gaussian"))),
        "Separation of the classes in the adapter's rank space",
    ),
    Numbers(
        "spectra",
        "spectra_summary",
        ("model", "module", "factor", "quantity", "layer", "k90", "participation"),
        (_CORRECTED, ("model", ("trained", "gaussian"))),
        "Directions that the adapter uses",
    ),
    Numbers(
        "spectra",
        "cka",
        ("module", "quantity", "layer", "value", "null_low", "null_high"),
        (_CORRECTED, ("pair", ("A~B:trained",)), ("kernel", ("linear",))),
        "CKA of A and B",
    ),
    Numbers("erasure", "erasure", ("model", "mode", "layer", "delta_uar", "delta_loss"), (_MODELS,), "Blocks skipped"),
    Numbers("dial", "dial", ("dial", "at", "module", "alpha", "uar", "delta_uar"), (), "The adapter turned down"),
    Numbers("rank_dial", "rank_dial", ("way", "share", "uar", "delta_uar"), (), "Some of the adapter's directions"),
    Numbers("patching", "patching", ("receiver", "part", "layer", "share"), (), "Streams put into the other model"),
    Numbers(
        "weights",
        "weights",
        ("layer", "module", "rank", "relative_norm", "stable_rank", "entropy_rank", "left_share", "right_share"),
        (),
        "The update as a matrix",
    ),
    Numbers("probes", "probes", ("target", "model", "depth", "score", "control_task"), (_MODELS,), "Linear probes"),
    Numbers("frames", "frame_focus", ("model", "depth", "focus"), (_MODELS,), "Share of frames that make half"),
    Numbers("heads", "heads", ("model", "layer", "head", "ratio", "gold"), (), "Attention heads"),
    Numbers("trajectory", "trajectory_half", ("quantity", "layer", "module", "half"), (), "Half-way epochs"),
    Numbers(
        "counterfactual",
        "counterfactual",
        ("change", "model", "flipped", "delta_uar", "delta_gold"),
        (),
        "Changed sound",
    ),
    Numbers("recognition", "recognition", ("quantity", "against", "model", "emotion", "rate"), (), "Error rates"),
    Numbers("frontier", "frontier", ("dial", "alpha", "share", "uar", "wer"), (), "Gain against recognition"),
)


def write_paper(
    run: Path,
    out: Path,
    venue: str = "ieee",
    columns: int = 1,
    formats: Sequence[str] = ("pdf",),
    only: Collection[str] = (),
    variant: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Write a run's figures for a `venue` (ieee, acl, nature, slides), `columns` wide, its tables and `captions.md`
    into `out`; return their paths.

    `only` are stems as `fig1`, or names of what they show as `lens`, and `table1`; all by default. With a `variant`
    figures show that one alone. Raises `LorascopeError` for a folder that is no whole run, for names that aren't known,
    and where nothing is there to be written.
    """
    sheet, modules = sheet_of(venue, columns), _modules(only)
    for name in formats:
        if name not in style.FORMATS:
            raise LorascopeError(f"--format {name}: expected pdf, svg or png")
    folder = folder_of(run, variant)
    folder.check()
    files: list[Path] = []
    captions = []
    with drawing_for(sheet):
        for stem, figure, words in drawn(folder, modules) if modules or not only else ():
            files += style.save(figure, out, stem, folder.marks, words, formats)
            height = float(figure.get_size_inches()[1])
            if venue != "slides" and height > PAGE:
                say(f"{stem} is {height:.1f} in high, more than a page holds; take two columns, or one variant")
            captions.append((stem, _caption(stem, words, folder, variant)))
    if not only or "table1" in only:
        files += _write_table1(folder, out)
    for numbers in NUMBERS:
        if not only or numbers.module in modules:
            files += _write_numbers(numbers, folder, out)
    if not files:
        raise LorascopeError(f"{run}: nothing of {', '.join(only) or 'figures and tables'} was measured here")
    if captions:
        lines = [f"- `{stem}`: {caption}" for stem, caption in captions]
        write_text(out / CAPTIONS, "\n".join(["# Captions", "", *lines, ""]))
        files.append(out / CAPTIONS)
    return files


@dataclass(frozen=True)
class Variant(FinishedRun):
    """A run of whose tables only the rows of one variant are read, where a table has variants."""

    variant: str = "corrected"

    def table(self, stem: str) -> pd.DataFrame | None:
        """As of any run, of one variant."""
        return self._of(super().table(stem))

    def curves(self, stem: str) -> pd.DataFrame | None:
        """As of any run, of one variant."""
        return self._of(super().curves(stem))

    def control(self, stem: str) -> pd.DataFrame | None:
        """As of any run, of one variant."""
        return self._of(super().control(stem))

    def _of(self, table: pd.DataFrame | None) -> pd.DataFrame | None:
        if table is None or "variant" not in table:
            return table
        own = table[table["variant"] == self.variant].reset_index(drop=True)
        return None if own.empty else own


def folder_of(run: Path, variant: str | None) -> FinishedRun:
    """A run's folder, or of its tables one variant. Raises `LorascopeError` naming the variants that there are."""
    if variant is None:
        return FinishedRun(run)
    tables = [FinishedRun(run).table(stem) for stem in ANALYSIS_TABLES]
    there = {each for table in tables if table is not None and "variant" in table for each in table["variant"]}
    if variant not in there:
        raise LorascopeError(f"no variant {variant!r}; there are {', '.join(sorted(there)) or 'none'}")
    return Variant(run, variant=variant)


def module_of(name: str) -> str:
    """The module that draws a figure, by its stem (`fig2a`) or by what it shows (`lens`). Raises `LorascopeError`
    naming those that there are.
    """
    if name in STEMS.values():
        return name
    found = STEMS.get(name.split("-")[0])
    if found is None:
        there = ", ".join(f"{stem} ({shows})" if stem != shows else stem for stem, shows in STEMS.items())
        raise LorascopeError(f"no figure {name!r}; there are {there}")
    return found


def _modules(only: Collection[str]) -> set[str]:
    return {module_of(name) for name in only if name != "table1"}


def _caption(stem: str, words: str, folder: FinishedRun, variant: str | None) -> str:
    section = next((each for each in SECTIONS if stem == each.stem or stem.startswith(f"{each.stem}-")), None)
    shows = "Gold class by predicted class, all test clips of all folds." if section is None else section.alt
    parts = [
        shows,
        f"Only the variant {variant} is shown." if variant else "",
        f"{words[0].upper()}{words[1:]}." if words else "",
    ]
    return " ".join([*(part for part in parts if part), *(f"{mark[0].upper()}{mark[1:]}." for mark in folder.marks)])


def _write_table1(folder: FinishedRun, out: Path) -> list[Path]:
    table = summarise(folder.path)
    if table.empty:
        return []
    comparison = compare(folder.path)
    lines = comparison_lines(comparison)
    texts = {
        "table1.csv": table.to_csv(index=False, lineterminator="\n"),
        "table1.md": markdown(table, folder.marks) + "".join(f"\n{line}\n" for line in lines),
        "table1.tex": latex(table, folder.marks, folder.task),
        "comparison.csv": comparison.to_csv(index=False, lineterminator="\n"),
    }
    return list(_written(texts, out))


def _write_numbers(numbers: Numbers, folder: FinishedRun, out: Path) -> list[Path]:
    frame = folder.table(numbers.stem)
    if frame is None:
        return []
    for column, values in numbers.rows:
        if column in frame:
            # the first of several that is there: a difference, where there is one
            wanted = values[:1] if values[0] == "difference" and (frame[column] == values[0]).any() else values
            frame = frame[frame[column].isin(wanted)]
    columns = [column for column in numbers.columns if column in frame]
    if frame.empty or not columns:
        return []
    marks = {"synthetic": folder.synthetic, "optimistic": "; ".join(folder.optimistic)}
    ends = [f"{ENDS.get(column, column)}_{end}" for column in columns for end in ("low", "high")]
    kept = [*columns, *(end for end in ends if end in frame and end not in columns)]
    heads = [folder.task if column == "emotion" else column.replace("_", " ") for column in columns]
    cells = [[_cell(row, column) for column in columns] for row in records(frame)]
    words = interval_words([frame])
    under = [f"{words}."] if words else []
    under += [f"{mark[0].upper()}{mark[1:]}." for mark in folder.marks]
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in columns]
    texts = {
        f"{numbers.stem}.csv": frame[kept].assign(**marks).to_csv(index=False, lineterminator="\n"),
        f"{numbers.stem}.md": markdown_table(heads, cells, numeric, under),
        f"{numbers.stem}.tex": latex_table(heads, cells, numeric, f"{numbers.title}.", under),
    }
    return list(_written(texts, out))


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if value is None or value is pd.NA or value != value or value == "":
        return ABSENT
    if not isinstance(value, float):
        return str(value)
    if value.is_integer() and f"{ENDS.get(column, column)}_low" not in row:
        return f"{value:g}"
    low, high = (row.get(f"{ENDS.get(column, column)}_{end}") for end in ("low", "high"))
    shown = _number(value)
    if isinstance(low, float) and isinstance(high, float) and low == low:
        shown += f" [{_number(low)}, {_number(high)}]"
    return shown


def _number(value: float) -> str:
    return (f"{value:.3f}" if abs(value) >= 5e-4 or value == 0 else f"{value:.1e}").replace("-", "−")


def _written(texts: dict[str, str], out: Path) -> Iterator[Path]:
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(out / name, text)
        yield out / name
