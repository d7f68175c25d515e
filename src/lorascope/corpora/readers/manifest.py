"""Any corpus by a manifest: CSV, TSV or Parquet with columns path, speaker, emotion, and optionally id, start, end,
split, session, text, gender, language. Further columns are kept: folds may group by them, and a task be named after
one. What other programs write is understood where it is clear, and told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import LorascopeError
from ..corpus import OPTIONAL, REQUIRED, TIMES, About, Recordings, named_speakers
from ..labels import suggestion
from .dialects import seconds
from .files import clip_ids
from .tables import filled, need, read_table

ABOUT = About("Any corpus by a manifest (CSV, TSV, Parquet)", "any", "any", None, None, "the corpus' own", "none")
#: Other programs' names of the column path, in any case.
PATH_COLUMNS = ("path", "file", "filename", "file_name", "audio", "wav")


def read(root: Path, columns: Mapping[str, str] | None = None) -> Recordings:
    """Read the manifest `root`, or `manifest.csv` (.tsv, .parquet) in the folder `root`; paths are relative to the
    manifest's folder.

    `columns` names the table's own columns by ours, as in {"emotion": "label"}. Without it path may be called file,
    filename, file_name, audio or wav. Without a column `id` the path's stem is the id (the path where stems clash),
    with the start where a file has several pieces; speakers called unknown, in any case, are one unknown speaker. Times
    are seconds, with a decimal comma where commas don't part the cells, or as in `0 days 00:00:01.2`. Raises
    `LorascopeError` naming file and line on a missing column, an empty cell, a row with other cells than the header, a
    time that is none, or a start that isn't before its end.
    """
    file = _find(root)
    table, where, form, separator = read_table(file, any_form=True)
    table, notes = _named(table, columns or {}, file)
    notes = [*form, *notes]
    need(table, REQUIRED, file)
    if table.empty:
        raise LorascopeError(f"{file}: no rows; list one clip a line")
    for column in ("id", *REQUIRED):
        if column in table:
            table[column] = filled(table[column], column, where)
    paths, windows = _local(list(table["path"]), file.parent)
    table["path"] = [str(file.parent / path) for path in paths]
    notes += [f"{file.name}: paths with \\ between folders were read: {windows}"] if windows else []
    for column in TIMES:
        if column in table:
            table[column], form = _seconds(table[column], column, separator != ",", where)
            notes += [f"{file.name}: {column} was read as {form}"] if form else []
    if "start" in table or "end" in table:
        _check_pieces(table, where)
    if "id" not in table:
        table["id"] = _ids(table, file.parent)
    table["speaker"], unknown = named_speakers(table["speaker"])
    return Recordings(table, where=where, notes=(*notes, *unknown))


def _named(table: pd.DataFrame, columns: Mapping[str, str], file: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table with our names of its columns, and a note where path has another."""
    if not isinstance(columns, Mapping):
        raise LorascopeError("corpus.options.columns: give the manifest's column by ours, as in {emotion: label}")
    ours, theirs = ("id", *REQUIRED, *OPTIONAL), [str(name) for name in table.columns]
    for name, given in columns.items():
        if name not in ours:
            raise LorascopeError(f"corpus.options.columns: {name!r} is no column of ours{suggestion(str(name), ours)}")
        if given not in theirs:
            raise LorascopeError(
                f"corpus.options.columns.{name}: {file} has no column {given!r}{suggestion(str(given), theirs)}"
            )
    chosen, notes = dict(columns), []
    if "path" not in columns and "path" not in theirs:
        found = [name for name in theirs if name.lower() in PATH_COLUMNS]
        if len(found) > 1:
            raise LorascopeError(
                f"{file}: columns {' and '.join(found)} may both be the path; name it with corpus.options.columns, as "
                f"in {{path: {found[0]}}}"
            )
        if found:
            chosen["path"] = found[0]
            notes.append(f"{file.name}: column {found[0]!r} was read as path")
    if "emotion" not in columns and "emotion" not in theirs and "label" in theirs:
        chosen["emotion"] = "label"
        notes.append(f"{file.name}: column 'label' was read as the clips' labels")
    # the same column may be two of ours, as a file's name is its id; what was named takes the place of what has the
    # name
    return table.assign(**{name: table[given] for name, given in chosen.items()}), notes


def _local(paths: Sequence[str], folder: Path) -> tuple[list[str], int]:
    """Paths as this system writes them, and how many had Windows' own sign between folders: those whose file is there
    once it is replaced.
    """
    changed = [path.replace("\\", "/") for path in paths]
    windows = [
        new != old and not (folder / old).is_file() and (folder / new).is_file()
        for old, new in zip(paths, changed, strict=True)
    ]
    return [new if turn else old for old, new, turn in zip(paths, changed, windows, strict=True)], sum(windows)


def _ids(table: pd.DataFrame, folder: Path) -> list[str]:
    """The files' names, or their paths below the manifest's folder where names clash; with the start of each piece of a
    file of several.
    """
    names = clip_ids(list(table["path"]), folder)
    if "start" not in table:
        return names
    several = table["path"].duplicated(keep=False)
    starts = table["start"].fillna(0.0)
    return [f"{name}@{start:.3f}" if more else name for name, start, more in zip(names, starts, several, strict=True)]


def _find(root: Path) -> Path:
    if root.is_file():
        return root
    for name in ("manifest.csv", "manifest.tsv", "manifest.parquet"):
        if (root / name).is_file():
            return root / name
    raise LorascopeError(
        f"{root}: no manifest.csv, .tsv or .parquet; give the manifest or its folder with corpus.root (on the command "
        "line --root)"
    )


def _seconds(column: pd.Series, name: str, commas: bool, where: list[str]) -> tuple[pd.Series, str | None]:
    numbers, form = seconds(column, commas)
    wrong = np.isinf(numbers.to_numpy())
    if wrong.any():
        row = int(wrong.argmax())
        raise LorascopeError(
            f"{where[row]}: {name} {str(column.iloc[row])!r} is not a number of seconds; mend it or leave it empty"
        )
    return numbers, form


def _check_pieces(table: pd.DataFrame, where: list[str]) -> None:
    start = table["start"].fillna(0.0) if "start" in table else pd.Series(0.0, index=table.index)
    end = table["end"].fillna(float("inf")) if "end" in table else pd.Series(float("inf"), index=table.index)
    wrong = ((start < 0) | (end <= start)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise LorascopeError(
            f"{where[row]}: the clip runs from {start.iloc[row]:g} s to {end.iloc[row]:g} s; start must not be "
            "negative and must lie before end"
        )
