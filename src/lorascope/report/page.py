"""Writes report.html: one file that opens anywhere, without a network, and says what was run, what came out and how far
to trust it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..findings.scores import compare, confusion, per_fold, summarise
from ..store.finished import ANALYSIS_TABLES, ASKED_TABLES, FinishedAnalysis, FinishedRun
from ..store.folder import write_text
from ..store.units import clear
from . import inline
from .cautions import cautions, of_section, split
from .clips import Sound, clips_data
from .figures import draw
from .figures.style import FORMATS
from .first_screen import findings
from .interval_words import interval_words
from .plots import plots
from .plots.on_page import on_page
from .plots.spec import Plot
from .rendering import render
from .section import Section, Table, table
from .sections import PARTS, SECTIONS
from .tables import HEADS, comparison_lines, formatted, notes
from .unit_words import units_words

#: Where the pages of single analyses lie in a run folder.
UNITS = "units"


def write_report(run: Path, sounds: Mapping[str, Sound] | None = None) -> Path:
    """Draw the figures and write report.html into the run folder, and of several analyses a page each into units/;
    return the first one's path. `sounds` are those of clips that can be heard in it.

    Raises `LorascopeError` where the folder is no run folder or a file in it can't be read.
    """
    folder = FinishedRun(run)
    clear(run / UNITS)
    pages = [_unit_page(run, unit) for unit in folder.shown] if len(folder.shown) > 1 else []
    file = run / "report.html"
    write_text(file, _page(folder, run / "figures", plots(folder), pages, sounds=sounds or {}))
    return file


def _unit_page(run: Path, unit: FinishedAnalysis) -> dict[str, Any]:
    """Write the page of one of several analyses, without what may be explored; returns what links it."""
    name = f"fold-{unit.fold}-seed-{unit.seed}"
    folder = FinishedRun(run, only=unit.hash)
    write_text(run / UNITS / f"{name}.html", _page(folder, run / UNITS / name, {}, [], ("svg",)))
    return {"href": f"{UNITS}/{name}.html", "fold": unit.fold, "seed": unit.seed}


def _page(
    folder: FinishedRun,
    figures: Path,
    interactive: Mapping[str, Plot],
    pages: list[dict[str, Any]],
    formats: Sequence[str] = tuple(FORMATS),
    sounds: Mapping[str, Sound] | None = None,
) -> str:
    """The page of a folder, whose drawings go to `figures`."""
    drawn = {file.stem: file for file in draw(folder, figures, formats) if file.suffix == ".svg"}
    clips = None if sounds is None else clips_data(folder, sounds)
    told = cautions(folder)
    weighty, others = split(told)
    return render(
        "report.html",
        manifest=folder.manifest,
        analysis=folder.analysis or None,
        pages=pages,
        figures=figures.relative_to(folder.path).as_posix(),
        command=_command(folder.manifest["command"]),
        config=folder.config,
        marks=folder.marks,
        units=units_words(folder),
        findings=findings(folder, told),
        cautions=weighty,
        general=others,
        concerning={name: of_section(told, name) for name in ("results", *(section.id for section in SECTIONS))},
        subject="What the adaptation did" if "spectra" in folder.left_out else "What LoRA did",
        run=_what_was_run(folder),
        single=folder.only is not None,
        results=None if folder.only else _results(folder, drawn),
        clips=None if clips is None else inline.packed(clips),
        heard=len(sounds or {}),
        parts=_parts(folder, drawn, interactive),
        downloads=[] if folder.only else _downloads(folder),
        plots={name: inline.packed(on_page(plot)) for name, plot in interactive.items()},
        plotly=inline.plotting_library() if interactive else "",
    )


def _what_was_run(folder: FinishedRun) -> dict[str, Any]:
    manifest = folder.manifest
    folds = per_fold(folder.path)
    analysis = folder.analysis
    left_out = pd.DataFrame(manifest["corpus"].get("left_out") or [])
    return {
        "methods": _methods(folder),
        "folds": table(folds, "Every trained cell: who was tested, who chose, and what came out")
        if len(folds)
        else None,
        "candidates": _candidates(folder),
        "left_out": table(left_out, "Left out of the corpus") if len(left_out) else None,
        "per_class": table(
            pd.DataFrame(analysis["per_class"]).rename(columns={"emotion": folder.task}), "Analysed clips"
        )
        if analysis.get("per_class")
        else None,
    }


def _methods(folder: FinishedRun) -> list[str]:
    lines: dict[str, None] = {}
    for cell in folder.table1_cells:
        metrics = cell.metrics
        lines[f"{metrics['label']} ({metrics['trainable_parameters']:,} trained parameters)"] = None
    ranks = sorted({cell.metrics["rank"] for cell in folder.cells if cell.role == "rank-space"})
    if ranks:
        lines[f"for the rank space also r = {', '.join(map(str, ranks))}, on the analysed folds"] = None
    return list(lines)


def _candidates(folder: FinishedRun) -> Table | None:
    rows = [
        {"label": cell.metrics["label"], "fold": cell.metrics["fold"]}
        | candidate
        | {
            "chosen": all(
                candidate.get(key) == cell.metrics["chosen"].get(key)
                for key in ("learning_rate", "depth", "C", "rank", "targets")
            )
        }
        for cell in folder.cells
        for candidate in cell.metrics["candidates"]
    ]
    frame = pd.DataFrame(rows)
    # One candidate a cell is no choice: the fold table already has it.
    if len(rows) <= len(folder.cells):
        return None
    return table(frame, "Candidate hyper-parameters and their scores on the selection clips")


def _results(folder: FinishedRun, drawn: dict[str, Path]) -> dict[str, Any] | None:
    summary = summarise(folder.path)
    if summary.empty:
        return None
    comparison = compare(folder.path)
    # With one backbone the title already names it, and the table fits.
    first = 0 if summary["backbone"].nunique() > 1 else 1
    rows = [[(cell, "", place > 1) for place, cell in enumerate(row)][first:] for row in formatted(summary)]
    return {
        "table": {"caption": "Table 1", "heads": list(HEADS[first:]), "rows": rows},
        "notes": notes(summary, folder.marks),
        "lines": comparison_lines(comparison),
        "comparison": table(comparison.drop(columns=["synthetic", "main"]), "Paired comparison over folds")
        if len(comparison)
        else None,
        "confusion": inline.svg(drawn["confusion"], "Confusion matrices, one a method: gold class by predicted class"),
    }


def _parts(folder: FinishedRun, drawn: dict[str, Path], interactive: Mapping[str, Plot]) -> list[dict[str, Any]]:
    """The tabs that have something to show, each with its sections."""
    found = []
    for part in PARTS:
        shown = [section for section in part.sections if section.shown(folder)]
        if shown:
            sections = [_section(section, folder, drawn, interactive) for section in shown]
            found.append({"id": part.id, "title": part.title, "words": part.words, "sections": sections})
    return found


def _section(
    section: Section, folder: FinishedRun, drawn: dict[str, Path], interactive: Mapping[str, Plot]
) -> dict[str, Any]:
    figures = [
        {"stem": stem, "svg": inline.svg(file, f"{section.title}. {section.alt}")}
        for stem, file in drawn.items()
        if stem == section.stem or stem.startswith(f"{section.stem}-")
    ]
    gone = [stem for stem in section.needs if folder.table(stem) is None]
    words = interval_words(folder.table(stem) for stem in section.needs)
    missing = [f"analysis/{stem}.parquet" for stem in gone if stem not in folder.left_out]
    return {
        "id": section.id,
        "title": section.title,
        "missing": missing,
        "left_out": list(dict.fromkeys(folder.left_out[stem] for stem in gone if stem in folder.left_out)),
        "reading": [sentence for read in section.read for sentence in read(folder)] + ([f"{words}."] if words else []),
        "figures": figures,
        "alt": section.alt,
        "plots": [name for name in section.plots or (section.stem,) if name in interactive],
        "tables": section.tables(folder),
    }


def _downloads(folder: FinishedRun) -> list[dict[str, Any]]:
    frames = {
        "table1": summarise(folder.path),
        "comparison": compare(folder.path),
        "per_fold": per_fold(folder.path),
        "confusion": confusion(folder.path),
    }
    links = [
        inline.download(name, frame.rename(columns={"emotion": folder.task})) | {"about": "", "folder": "."}
        for name, frame in frames.items()
        if len(frame)
    ]
    for stem, words in (ANALYSIS_TABLES | ASKED_TABLES).items():
        frame = folder.table(stem)
        if frame is not None:
            marked = frame.assign(synthetic=folder.synthetic, optimistic="; ".join(folder.optimistic))
            place = "findings" if "folds" in frame else "analysis"
            marked = marked.rename(columns={"emotion": folder.task})
            links.append(inline.download(stem, marked) | {"about": words, "folder": place})
    return links


def _command(command: str | list[str]) -> str:
    return command if isinstance(command, str) else shlex.join(command)
