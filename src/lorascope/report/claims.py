"""The table, the forest plot and the page of statements that were decided."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..findings.claims import Claims
from ..findings.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from ..findings.claims.words import HEADS, lacking, lines, of_variant, over_all, parting, sentence
from ..store.files import beside, make_folder
from ..store.finished import records
from ..store.folder import write_text
from . import inline
from .figures import style
from .rendering import render

STEM = "claims"
#: Colour and fill of a mark by its verdict.
LOOKS = {SUPPORTED: (style.BLUE, True), CONTRADICTED: (style.VERMILLION, True), UNDECIDED: (style.MUTED, False)}
WIDEST = 6.0


def write_claims(found: Claims, folder: Path) -> Path:
    """Write claims.parquet, claims.csv, overall.csv, claims.json, figures/claims.* and index.html into a folder; return
    the page's path.
    """
    make_folder(folder)
    with beside(folder / "claims.parquet") as file:
        found.table.to_parquet(file, index=False)
    for name, table in (("claims", found.table), ("overall", found.overall)):
        write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(folder / "claims.json", json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n")
    files = _drawn(found, folder / "figures")
    write_text(folder / "index.html", _page(found, files))
    return folder / "index.html"


def printed(found: Claims, terminal: Any) -> None:
    """Print what was decided: the verdicts over all settings, every number behind them, and what would be needed."""
    from rich.table import Table

    told = Table(box=None, padding=(0, 1), header_style="bold")
    for place, head in enumerate(HEADS):
        told.add_column(head, justify="right" if place in (4, 5, 6, 9) else "left", overflow="fold")
    for row in lines(found.table):
        told.add_row(*row)
    terminal.print(told)
    terminal.print()
    for row in records(found.overall):
        exploratory = " (exploratory)" if row["exploratory"] else ""
        terminal.print(f"{row['statement']}{exploratory}: {row['sentence']}: {over_all(row)}", soft_wrap=True)
    for text, whose in lacking(found.table).items():
        terminal.print(f"\nThese lines would make {', '.join(whose)} testable:\n", soft_wrap=True)
        for line in text.splitlines():
            terminal.print(f"    {line}", soft_wrap=True)
    for setting in found.settings:
        for note in setting.notes:
            terminal.print(f"\n{setting.name}: {note}", soft_wrap=True)
    for mark in found.marks:
        terminal.print(f"\n{mark[0].upper()}{mark[1:]}.", soft_wrap=True)


def _drawn(found: Claims, folder: Path) -> list[Path]:
    note = "mean over folds and its 95 % interval, in standard deviations over folds; right: the side that was stated"
    with matplotlib.rc_context(style.RC):
        return style.save(forest(found.table), folder, STEM, found.marks, note)


def forest(table: pd.DataFrame) -> Figure:
    """A row a statement, a mark a setting: the mean over its standard deviation over folds, with the interval on the
    same scale, positive on the side that was stated; of several parts the one that is least in that direction. Filled
    where it is decided.
    """
    chosen = _weakest(of_variant(table))
    statements = list(dict.fromkeys(table["statement"]))
    settings = list(dict.fromkeys(zip(table["corpus"], table["encoder"], strict=True)))
    height = 0.2 + 0.07 * len(settings)
    made, body = style.new_figure(style.TWO_COLUMNS, 1.0 + height * len(statements))
    axes = body.subplots()
    for number, setting in enumerate(settings):
        look = {"marker": style.MARKERS[number % len(style.MARKERS)], "markersize": 4.5}
        shift = (number - (len(settings) - 1) / 2) * 0.7 / max(len(settings), 1)
        axes.plot([], [], linestyle="", color=style.MUTED, label=" × ".join(setting), **look)
        for row in chosen:
            if (row["corpus"], row["encoder"]) != setting or not np.isfinite(row["size"]):
                continue
            sign = 1 if row["direction"] == ">" else -1
            scale = row["size"] / row["value"] if row["value"] else np.nan
            ends = np.clip(sorted(sign * scale * np.array([row["low"], row["high"]])), -WIDEST, WIDEST)
            colour, filled = LOOKS.get(row["verdict"], (style.GRID, False))
            at = statements.index(row["statement"]) + shift
            axes.plot(ends, [at, at], color=colour, linewidth=1.1)
            middle = float(np.clip(sign * row["size"], -WIDEST, WIDEST))
            face = colour if filled else "white"
            axes.plot([middle], [at], linestyle="", color=colour, markerfacecolor=face, **look)
    for verdict, (colour, filled) in LOOKS.items():
        face = colour if filled else "white"
        axes.plot([], [], linestyle="", marker="o", color=colour, markerfacecolor=face, label=verdict)
    axes.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(statements)), statements)
    axes.set_ylim(len(statements) - 0.4, -0.6)
    axes.set_xlim(-WIDEST - 0.2, WIDEST + 0.2)
    axes.set_xlabel("← the other side   ·   mean / sd over folds   ·   as it was stated →")
    style.legend_below(body, [axes], 4)
    return made


def _weakest(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Of every statement and setting the part that lies least on the stated side."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in records(table):
        key = row["statement"], row["corpus"], row["encoder"]
        if key not in found or _towards(row) < _towards(found[key]):
            found[key] = row
    return list(found.values())


def _towards(row: dict[str, Any]) -> float:
    return row["size"] * (1 if row["direction"] == ">" else -1)


def _page(found: Claims, files: Sequence[Path]) -> str:
    drawn = next(file for file in files if file.suffix == ".svg")
    return render(
        "claims.html",
        version=_version(),
        settings=[_told(setting) for setting in found.settings],
        marks=found.marks,
        overall=[row | {"words": over_all(row)} for row in records(found.overall)],
        statements=[_statement(row, found.table) for row in records(found.overall)],
        lacking=[{"lines": text, "statements": ", ".join(whose)} for text, whose in lacking(found.table).items()],
        figure=inline.svg(drawn, "Forest plot: a row a statement, a mark a setting"),
        heads=HEADS,
        rows=lines(found.table),
        downloads=[inline.download(STEM, found.table), inline.download("overall", found.overall)],
    )


def _version() -> str:
    from .. import __version__

    return __version__


def _told(setting: Any) -> dict[str, Any]:
    return {
        "name": setting.name,
        "adapter": setting.adapter,
        "folds": setting.folds,
        "adapters": len(setting.units),
        "third": setting.third,
        "layers": setting.layers,
        "created": setting.created,
        "notes": setting.notes,
    }


def _statement(row: dict[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    """What the page says of a statement: a sentence a setting, of the variant that decides and of those that part."""
    own = of_variant(table[table["statement"] == row["statement"]])
    sentences = []
    for _, of_setting in own.groupby(["corpus", "encoder"], sort=False):
        parts = records(of_setting)
        sentences.append({"verdict": parts[0]["verdict"], "text": sentence(parts), "parting": parting(table, parts[0])})
    return row | {"words": over_all(row), "sentences": sentences}
