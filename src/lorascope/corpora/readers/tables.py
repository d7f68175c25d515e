"""Label files as tables of text with the place of every row: CSV, TSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ...errors import LorascopeError
from ...sound.unheard import is_pointer
from ..labels import suggestion
from .dialects import SEPARATORS, decode, separator


class Read(NamedTuple):
    """Rows of a file, where each stands ("file line 7") for errors, what was understood that is not the usual form, and
    what parts a text's cells."""

    table: pd.DataFrame
    where: list[str]
    notes: tuple[str, ...] = ()
    separator: str | None = None


def read_table(file: Path, needed: tuple[str, ...] = (), quotes: bool = True, any_form: bool = False) -> Read:
    """Rows of a .csv, .tsv, .jsonl or .parquet file by its suffix.

    Text files give text cells, missing (NaN) where empty; `quotes=False` takes quotation marks as they stand. With
    `any_form` a text in UTF-16 or Windows-1252, or with other signs between its cells than its suffix says, is read as
    well, and noted; a corpus' own table has one form, and another means that it is damaged. Raises `LorascopeError`
    naming file and line where the file can't be read, has no column of `needed`, or a row has other cells than the
    header.
    """
    if is_pointer(file):
        raise LorascopeError(f"{file}: a Git LFS pointer in the table's place; fetch it with `git lfs pull`")
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        read = _from_parquet(file)
    elif suffix == ".jsonl":
        read = _from_json_lines(file)
    else:
        read = _from_text(file, needed, quotes, any_form)
    need(read.table, needed, file)
    return read


def need(table: pd.DataFrame, columns: tuple[str, ...], file: Path) -> None:
    """Raises `LorascopeError` naming the first of the columns that the table lacks."""
    for column in columns:
        if column not in table:
            raise LorascopeError(
                f"{file}: no column {column!r}{suggestion(column, [str(name) for name in table.columns])}; needed are "
                f"{', '.join(columns)}"
            )


def filled(column: pd.Series, name: str, where: list[str]) -> pd.Series:
    """A column as text without spaces around it. Raises `LorascopeError` naming the row where a cell is empty."""
    text = column.astype(str).str.strip()
    empty = (column.isna() | (text == "")).to_numpy()
    if empty.any():
        raise LorascopeError(f"{where[int(empty.argmax())]}: {name} is empty; fill it in or delete the line")
    return text


def _from_text(file: Path, needed: tuple[str, ...], quotes: bool, any_form: bool) -> Read:
    """Rows as text with the line of each; by Python's csv and not pandas, which shifts or fills rows that don't fit the
    header.
    """
    rows, where = [], []
    try:
        data = file.read_bytes()
        text, encoding = decode(data) if any_form else (data.decode("utf-8-sig"), None)
        usual = "\t" if file.suffix.lower() == ".tsv" else ","
        between = separator(text.partition("\n")[0], usual) if any_form else usual
        quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True, quoting=quoting)
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
        raise LorascopeError(f"{file}: empty; begin with a line of column names: {', '.join(needed)}")
    for column in header:
        if header.count(column) > 1:
            raise LorascopeError(f"{file} line 1: column {column!r} is there twice; take one out")
    unusual = [f" as {encoding}"] if encoding else []
    unusual += [f" with {SEPARATORS[between]} between cells"] if between != usual else []
    notes = (f"{file.name} was read{''.join(unusual)}",) if unusual else ()
    return Read(pd.DataFrame(rows, columns=header), where, notes, between)


def _from_json_lines(file: Path) -> Read:
    rows, where = [], []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise _unreadable(file, error) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LorascopeError(f"{file} line {number}: not JSON ({error.msg}); write one object a line") from error
        if not isinstance(row, dict):
            raise LorascopeError(f"{file} line {number}: not an object; write one object a line")
        rows.append(row)
        where.append(f"{file} line {number}")
    # objects, or a missing number would make the others fractions
    return Read(pd.DataFrame(rows, dtype=object), where)


def _from_parquet(file: Path) -> Read:
    try:
        table = pd.read_parquet(file)
        # an index without a name counts rows, and is no column
        table = table.reset_index(drop=table.index.names == [None])
    except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors
        raise _unreadable(file, error) from error
    return Read(table, [f"{file} row {number}" for number in range(1, len(table) + 1)])


def _unreadable(file: Path, error: Exception) -> LorascopeError:
    told = " ".join(str(error).split())[:200]
    return LorascopeError(
        f"{file}: cannot be read as a table ({told}); save it as UTF-8 CSV with a header line, or as Parquet"
    )
