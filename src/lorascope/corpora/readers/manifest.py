"""Any corpus by a manifest: CSV, TSV or Parquet with columns path, speaker, emotion, and optionally id, start, end, split, session, text, gender,
language."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import LorascopeError
from ..corpus import OPTIONAL, REQUIRED, About, Recordings, named_speakers
from .tables import filled, read_table

ABOUT = About("Any corpus by a manifest (CSV, TSV, Parquet)", "any", "any", None, None, "the corpus' own", "none")


def read(root: Path) -> Recordings:
    """Read the manifest `root`, or `manifest.csv` (.tsv, .parquet) in the folder `root`; paths are relative to the manifest's folder.

    Without a column `id` the path's stem is the id; speakers called unknown, in any case, are one unknown speaker. Raises `LorascopeError` naming file and line on a missing column, an empty cell, a row with other cells than
    the header, a time that is no number of seconds, or a start that isn't before its end.
    """
    file = _find(root)
    table, where = read_table(file, REQUIRED)
    if table.empty:
        raise LorascopeError(f"{file}: no rows; list one clip a line")
    for column in ("id", *REQUIRED):
        if column in table:
            table[column] = filled(table[column], column, where)
    table["path"] = [str(file.parent / path) for path in table["path"]]
    if "id" not in table:
        table["id"] = [Path(path).stem for path in table["path"]]
    for column in ("start", "end", "duration"):
        if column in table:
            table[column] = _seconds(table[column], column, where)
    if "start" in table or "end" in table:
        _check_pieces(table, where)
    table["speaker"], notes = named_speakers(table["speaker"])
    columns = ["id", *REQUIRED, *(column for column in OPTIONAL if column in table)]
    return Recordings(table[columns], where=where, notes=notes)


def _find(root: Path) -> Path:
    if root.is_file():
        return root
    for name in ("manifest.csv", "manifest.tsv", "manifest.parquet"):
        if (root / name).is_file():
            return root / name
    raise LorascopeError(
        f"{root}: no manifest.csv, .tsv or .parquet; give the manifest or its folder with corpus.root (on the command line --root)"
    )


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
