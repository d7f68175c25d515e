"""Any corpus by a manifest: CSV, TSV or Parquet with columns path, speaker, emotion, and optionally id, start, end, split, session, text, gender,
language."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import LorascopeError
from .corpus import OPTIONAL, REQUIRED, Recordings
from .labels import suggestion


def read(root: Path) -> Recordings:
    """Read the manifest `root`, or `manifest.csv` (.tsv, .parquet) in the folder `root`; paths are relative to the manifest's folder.

    Without a column `id` the path's stem is the id. Raises `LorascopeError` naming file and line on a missing column, an empty cell, or a start that
    isn't before its end.
    """
    file = _find(root)
    table = _load(file)
    for column in REQUIRED:
        if column not in table:
            raise LorascopeError(f"{file}: no column {column!r}{suggestion(column, list(table.columns))}; needed are {', '.join(REQUIRED)}")
    if table.empty:
        raise LorascopeError(f"{file}: no rows; list one clip a line")
    row_word, first = ("row", 1) if file.suffix == ".parquet" else ("line", 2)
    where = [f"{file} {row_word} {number + first}" for number in range(len(table))]
    for column in REQUIRED:
        empty = table[column].isna() | (table[column].astype(str).str.strip() == "")
        if empty.any():
            raise LorascopeError(f"{where[int(empty.to_numpy().nonzero()[0][0])]}: {column} is empty; fill it in or delete the line")
    table = table.assign(path=[str(file.parent / path.strip()) for path in table["path"].astype(str)])
    for column in ("speaker", "emotion"):
        table[column] = table[column].astype(str).str.strip()
    if "id" not in table:
        table["id"] = [Path(path).stem for path in table["path"]]
    table["id"] = table["id"].astype(str)
    for column in ("start", "end"):
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
    raise LorascopeError(f"{root}: no manifest.csv, .tsv or .parquet; give the manifest or its folder with corpus.root (on the command line --root)")


def _load(file: Path) -> pd.DataFrame:
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        return pd.read_csv(file, sep="\t" if file.suffix == ".tsv" else ",", dtype=str, keep_default_na=False, na_values=[""], skip_blank_lines=False)
    except (ValueError, OSError) as error:  # pandas' parser errors and pyarrow's are ValueErrors
        raise LorascopeError(f"{file}: cannot be read as a table ({' '.join(str(error).split())}); save it as CSV with a header line") from error


def _seconds(column: pd.Series, name: str, where: list[str]) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = numbers.isna() & column.notna()
    if wrong.any():
        row = int(wrong.to_numpy().nonzero()[0][0])
        raise LorascopeError(f"{where[row]}: {name} {column.iloc[row]!r} is not a number of seconds; mend it or leave it empty")
    return numbers


def _check_pieces(table: pd.DataFrame, where: list[str]) -> None:
    start = table["start"].fillna(0.0) if "start" in table else pd.Series(0.0, index=table.index)
    end = table["end"].fillna(float("inf")) if "end" in table else pd.Series(float("inf"), index=table.index)
    wrong = (start < 0) | (end <= start)
    if wrong.any():
        row = int(wrong.to_numpy().nonzero()[0][0])
        raise LorascopeError(f"{where[row]}: the clip runs from {start.iloc[row]:g} s to {end.iloc[row]:g} s; start must not be negative and must lie before end")
