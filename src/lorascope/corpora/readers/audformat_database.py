"""Any corpus as an audformat database (a folder with `db.yaml`), by the package audformat.

The emotion is a column of one table; speaker, gender and text are taken from that table or, by file, from any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import LorascopeError
from ...machine.requirements import require
from ..corpus import About, Recordings, named_speakers
from ..labels import suggestion
from .files import ANY_SUFFIX, clip_ids, without_label

ABOUT = About("Any corpus as an audformat database", "any", "any", None, None, "the corpus' own", "none")
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
TEXT_COLUMNS = ("transcription", "text")


def read(
    root: Path, table: str | Sequence[str] | None = None, emotion: str = "emotion", speaker: str = "speaker"
) -> Recordings:
    """Read the column `emotion` of `table` (or of several, whose splits are theirs) and the speakers
    from the column `speaker`.

    Without `table` it is the only one with that column, or the one of the column's name. Rows without an emotion, and
    sounds without a row, are counted and left out; a clip whose speaker isn't known belongs to `UNKNOWN_SPEAKER`.
    Raises `LorascopeError` where the package is missing, the database can't be read, or has no such table or column.
    """
    database = _load(root)
    names = [table] if isinstance(table, str) else list(table or [_only_table(root, database, emotion)])
    parts = [_rows(root, database, name, emotion, speaker) for name in names]
    rows = pd.concat(parts, ignore_index=True)
    labelled = rows["emotion"].notna()
    left_out = [
        (f"no {emotion} in table {name}", int(part["emotion"].isna().sum()))
        for name, part in zip(names, parts, strict=True)
    ]
    left_out = [(reason, count) for reason, count in left_out if count]
    left_out += without_label(root, rows["path"], suffixes=ANY_SUFFIX)
    rows = rows[labelled].reset_index(drop=True)
    if rows.empty:
        raise LorascopeError(f"{root}: table {', '.join(names)} has no row with an {emotion}; name another table")
    rows["speaker"], notes = named_speakers(rows["speaker"])
    rows["id"] = _ids(rows, root)
    where = [str(place) for place in rows.pop("where")]
    return Recordings(rows, where=where, left_out=tuple(left_out), notes=notes)


def _load(root: Path) -> Any:
    require("audformat")
    try:
        import audformat
    except ImportError as error:
        raise LorascopeError(
            "corpus.reader: audformat databases need the package audformat; install it with pip install "
            "'lorascope[audformat]'"
        ) from error
    if not (root / "db.yaml").is_file():
        raise LorascopeError(
            f"{root}: no db.yaml; give the database's folder with corpus.root (on the command line --root)"
        )
    try:
        return audformat.Database.load(str(root))
    except Exception as error:  # audformat's, YAML's and pandas' errors share no base
        raise LorascopeError(
            f"{root}: cannot be read as an audformat database ({' '.join(str(error).split())[:200]}); mend it "
            "or save it anew with audformat"
        ) from error


def _only_table(root: Path, database: Any, emotion: str) -> str:
    found = [name for name in database.tables if emotion in database[name].columns]
    if len(found) == 1 or emotion in found:
        return found[0] if len(found) == 1 else emotion
    if found:
        raise LorascopeError(
            f"{root}: column {emotion!r} is in tables {', '.join(found)}; name one with corpus.options.table"
        )
    columns = sorted({column for name in database.tables for column in database[name].columns})
    raise LorascopeError(
        f"corpus.options.emotion: no table of {root} has a column {emotion!r}{suggestion(emotion, columns)}"
    )


def _rows(root: Path, database: Any, name: str, emotion: str, speaker: str) -> pd.DataFrame:
    if name not in database.tables:
        raise LorascopeError(
            f"corpus.options.table: {root} has no table {name!r}{suggestion(name, list(database.tables))}"
        )
    table = database[name]
    if emotion not in table.columns:
        raise LorascopeError(
            f"corpus.options.emotion: table {name} of {root} has no column "
            f"{emotion!r}{suggestion(emotion, list(table.columns))}"
        )
    if not any(speaker in database[other].columns for other in database.tables):
        columns = sorted({column for other in database.tables for column in database[other].columns})
        raise LorascopeError(
            f"corpus.options.speaker: no table of {root} has a column {speaker!r}{suggestion(speaker, columns)}"
        )
    labels = table[emotion].get()
    index = labels.index
    rows = pd.DataFrame(
        {
            "path": [str(root / file) for file in index.get_level_values("file")],
            "emotion": labels.astype(object).to_numpy(),
            "speaker": _values(database, name, speaker, index),
            "gender": _values(database, name, "gender", index),
            "split": SPLITS.get(database.splits[table.split_id].type, pd.NA) if table.split_id else pd.NA,
            "language": _language(database),
            "where": [f"{root}: table {name} row {number}" for number in range(1, len(labels) + 1)],
        }
    )
    of_speaker = pd.Series(_values(database, name, speaker, index, "gender"), dtype=object)
    rows["gender"] = rows["gender"].where(rows["gender"].notna(), of_speaker)
    for column in TEXT_COLUMNS:
        if "text" not in rows or rows["text"].isna().all():
            rows["text"] = _values(database, name, column, index)
    if table.is_segmented:
        for level in ("start", "end"):
            # an end that isn't there is the file's
            rows[level] = index.get_level_values(level).total_seconds()
    return rows


def _values(database: Any, name: str, column: str, index: pd.Index, field: str | None = None) -> list[Any]:
    """A column's values for every row, from the table itself or, where it says nothing, from others; with `field`,
    what the column's scheme says of the value.
    """
    files = index.get_level_values("file")
    values = pd.Series(pd.NA, index=range(len(index)), dtype=object)
    for other in (name, *(other for other in database.tables if other != name)):
        table = database[other]
        if column not in table.columns:
            continue
        try:
            found = table[column].get(map=field) if field else table[column].get()
        except (ValueError, KeyError):  # the scheme has no such field
            continue
        found = found.astype(object)
        if table.is_filewise:
            found = found.reindex(files)
        elif index.nlevels > 1:
            found = found.reindex(index)
        else:
            continue
        values = values.where(values.notna(), pd.Series(found.to_numpy(), dtype=object))
    return list(values)


def _language(database: Any) -> Any:
    """The two-letter code of the only language, since audformat has those of three letters; NA where
    there are several or none.
    """
    import iso639  # of audformat's own needs

    if len(database.languages) != 1:
        return pd.NA
    return iso639.Lang(database.languages[0]).pt1 or database.languages[0]


def _ids(rows: pd.DataFrame, root: Path) -> list[str]:
    files = clip_ids(list(rows["path"]), root)
    if "start" not in rows:
        return files
    return [file if pd.isna(start) else f"{file}@{start:.3f}" for file, start in zip(files, rows["start"], strict=True)]
