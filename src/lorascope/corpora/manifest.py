"""Any corpus by a manifest: CSV, TSV or Parquet with columns path, speaker, emotion, and optionally id, start, end, split, session, text, gender,
language."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import LorascopeError
from .corpus import OPTIONAL, REQUIRED, Recordings
from .labels import suggestion


def read(root: Path) -> Recordings:
    """Read the manifest `root`, or `manifest.csv` (.tsv, .parquet) in the folder `root`; paths are relative to the manifest's folder.

    Without a column `id` the path's stem is the id. Raises `LorascopeError` naming file and line on a missing column, an empty cell, a row with other cells than
    the header, a time that is no number of seconds, or a start that isn't before its end.
    """
    file = _find(root)
    table, where = _from_parquet(file) if file.suffix.lower() == ".parquet" else _from_text(file)
    for column in REQUIRED:
        if column not in table:
            raise LorascopeError(
                f"{file}: no column {column!r}{suggestion(column, list(table.columns))}; needed are {', '.join(REQUIRED)}"
            )
    if table.empty:
        raise LorascopeError(f"{file}: no rows; list one clip a line")
    for column in ("id", *REQUIRED):
        if column in table:
            table[column] = _filled(table[column], column, where)
    table["path"] = [str(file.parent / path) for path in table["path"]]
    if "id" not in table:
        table["id"] = [Path(path).stem for path in table["path"]]
    for column in ("start", "end", "duration"):
        if column in table:
            table[column] = _seconds(table[column], column, where)
    if "start" in table or "end" in table:
        _check_pieces(table, where)
    return Recordings(table[["id", *REQUIRED, *(column for column in OPTIONAL if column in table)]], where=where)


def _find(root: Path) -> Path:
    if root.is_file():
        return root
    for name in ("manifest.csv", "manifest.tsv", "manifest.parquet"):
        if (root / name).is_file():
            return root / name
    raise LorascopeError(
        f"{root}: no manifest.csv, .tsv or .parquet; give the manifest or its folder with corpus.root (on the command line --root)"
    )


def _from_text(file: Path) -> tuple[pd.DataFrame, list[str]]:
    """Rows as text with the line of each; by Python's csv and not pandas, which shifts or fills rows that don't fit the header."""
    rows, where = [], []
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.reader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
            header = [cell.strip() for cell in next(lines, [])]
            line = lines.line_num + 1
            for row in lines:
                if row and len(row) != len(header):
                    raise LorascopeError(
                        f"{file} line {line}: {len(row)} cells, but the header has {len(header)}; mend the line"
                    )
                if row:
                    rows.append([cell.strip() or None for cell in row])
                    where.append(f"{file} line {line}")
                line = lines.line_num + 1
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise _unreadable(file, error) from error
    if not header:
        raise LorascopeError(f"{file}: empty; begin with a line of column names: {', '.join(REQUIRED)}")
    for column in header:
        if header.count(column) > 1:
            raise LorascopeError(f"{file} line 1: column {column!r} is there twice; take one out")
    return pd.DataFrame(rows, columns=header), where


def _from_parquet(file: Path) -> tuple[pd.DataFrame, list[str]]:
    try:
        table = pd.read_parquet(file).reset_index()
    except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors
        raise _unreadable(file, error) from error
    return table, [f"{file} row {number}" for number in range(1, len(table) + 1)]


def _unreadable(file: Path, error: Exception) -> LorascopeError:
    told = " ".join(str(error).split())[:200]
    return LorascopeError(
        f"{file}: cannot be read as a table ({told}); save it as UTF-8 CSV with a header line, or as Parquet"
    )


def _filled(column: pd.Series, name: str, where: list[str]) -> pd.Series:
    text = column.astype(str).str.strip()
    empty = (column.isna() | (text == "")).to_numpy()
    if empty.any():
        raise LorascopeError(f"{where[int(empty.argmax())]}: {name} is empty; fill it in or delete the line")
    return text


def _seconds(column: pd.Series, name: str, where: list[str]) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = (column.notna() & ~np.isfinite(numbers)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise LorascopeError(
            f"{where[row]}: {name} {str(column.iloc[row])!r} is not a number of seconds; mend it or leave it empty"
        )
    return numbers


def _check_pieces(table: pd.DataFrame, where: list[str]) -> None:
    start = table["start"].fillna(0.0) if "start" in table else pd.Series(0.0, index=table.index)
    end = table["end"].fillna(float("inf")) if "end" in table else pd.Series(float("inf"), index=table.index)
    wrong = ((start < 0) | (end <= start)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise LorascopeError(
            f"{where[row]}: the clip runs from {start.iloc[row]:g} s to {end.iloc[row]:g} s; start must not be negative and must lie before end"
        )
