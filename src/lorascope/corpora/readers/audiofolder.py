"""Any corpus in the `audiofolder` layout of Hugging Face's datasets: a metadata file beside the sounds, or folders
named by label.

`metadata.csv`, `.jsonl` or `.parquet`, in the root or in each split's folder, has a column file_name (relative to it)
and others; without one, the folder that holds a sound is its label (`train/angry/a.wav`). Folders train, validation,
test and their synonyms are splits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import LorascopeError
from ..corpus import TIMES, About, Recordings, named_speakers
from ..labels import suggestion
from .files import ANY_SUFFIX, clip_ids, files_below, sound_files, without_label
from .tables import filled, read_table

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
#: Names under which a column is looked for where no option names it.
EMOTION_COLUMNS = ("emotion", "label")
SPEAKER_COLUMNS = ("speaker", "speaker_id")
TEXT_COLUMNS = ("text", "transcription", "transcript", "sentence")
#: Folder names that datasets takes for splits.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
ABOUT = About("Any corpus as a Hugging Face audiofolder", "any", "any", None, None, "the corpus' own", "none")


def read(
    root: Path, emotion: str | None = None, speaker: str | None = None, speaker_pattern: str | None = None
) -> Recordings:
    """Read the folder; `emotion` and `speaker` name columns of the metadata (emotion or label, speaker or speaker_id
    unless given).

    `speaker_pattern` is a regular expression whose first group is the speaker in a sound's path below `root`; for
    folders named by label, or metadata without a speaker column. A clip whose speaker isn't known belongs to
    `UNKNOWN_SPEAKER`. Sounds that the metadata don't name are counted and left out. Raises `LorascopeError` where a
    column or a label is missing, or two metadata files lie in one folder.
    """
    if speaker and speaker_pattern:
        raise LorascopeError("corpus.options.speaker_pattern: speaker is given too; take one of the two out")
    if not root.is_dir():
        raise LorascopeError(
            f"{root}: no such folder; give the audiofolder with corpus.root (on the command line --root)"
        )
    files = sorted(path for path in files_below(root) if path.name in METADATA)
    if files:
        parts = [_from_metadata(file, root, emotion, None if speaker_pattern else (speaker or "")) for file in files]
        _check_one_a_folder(files)
        table = pd.concat([part for part, _ in parts], ignore_index=True)
        where = [place for _, places in parts for place in places]
        left_out = without_label(root, table["path"], suffixes=ANY_SUFFIX)
    else:
        for option, value in (("emotion", emotion), ("speaker", speaker)):
            if value:
                raise LorascopeError(f"corpus.options.{option}: {root} has no metadata file; take the option out")
        table, where, left_out = _from_folders(root), None, ()
    if table.empty:
        raise LorascopeError(f"{root}: the metadata file has no rows; list one clip a line")
    table["id"] = clip_ids(list(table["path"]), root)
    if speaker_pattern:
        table["speaker"] = _by_pattern(speaker_pattern, list(table["path"]), root)
    named, notes = named_speakers(table["speaker"])
    return Recordings(table.assign(speaker=named), where=where, left_out=left_out, notes=notes)


def _from_metadata(file: Path, root: Path, emotion: str | None, speaker: str | None) -> tuple[pd.DataFrame, list[str]]:
    """`speaker`: a column's name, "" for the usual ones, None for no column."""
    rows, where, *_ = read_table(file, ("file_name",))
    names = filled(rows["file_name"], "file_name", where)
    label = _column(file, rows, "emotion", emotion, EMOTION_COLUMNS)
    if label is None:
        raise LorascopeError(
            f"{file}: no column {' or '.join(EMOTION_COLUMNS)}; name the emotions' column with corpus.options.emotion"
        )
    who = None if speaker is None else _column(file, rows, "speaker", speaker, SPEAKER_COLUMNS)
    text = _column(file, rows, "text", None, TEXT_COLUMNS)
    paths = [file.parent / name for name in names]
    table = pd.DataFrame({"path": [str(path) for path in paths]})
    table["emotion"] = filled(rows[label], label, where)
    table["speaker"] = pd.NA if who is None else rows[who].replace("", pd.NA)
    if text is not None:
        table["text"] = rows[text]
    # the corpus' own: folds may group by them; times are those of pieces, which an audiofolder has not
    for column in rows:
        if column not in ("file_name", label, who, text, *table.columns, "id", *TIMES, "split"):
            table[column] = rows[column]
    table["split"] = [_split(path.relative_to(root)) for path in paths] if "split" not in rows else rows["split"]
    return table, where


def _from_folders(root: Path) -> pd.DataFrame:
    paths = sound_files(root, "**/*", ANY_SUFFIX)
    for path in paths:
        if path.parent == root or path.parent.name.lower() in SPLITS:
            raise LorascopeError(
                f"{path}: lies in no folder named by a label, and {root} has no {METADATA[0]}; move it, or write the "
                "metadata"
            )
    table = pd.DataFrame({"path": [str(path) for path in paths], "speaker": pd.NA})
    table["emotion"] = [path.parent.name for path in paths]
    table["split"] = [_split(path.relative_to(root)) for path in paths]
    return table


def _column(file: Path, rows: pd.DataFrame, option: str, given: str | None, usual: Sequence[str]) -> str | None:
    if given and given not in rows:
        raise LorascopeError(
            f"corpus.options.{option}: {file} has no column {given!r}{suggestion(given, [str(name) for name in rows])}"
        )
    return given or next((name for name in usual if name in rows), None)


def _check_one_a_folder(files: Sequence[Path]) -> None:
    for one, other in pairwise(files):
        if one.parent == other.parent:
            raise LorascopeError(f"{one}: {other.name} lies beside it; take one of the two out")


def _by_pattern(pattern: str, paths: Sequence[str], root: Path) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise LorascopeError(
            f"corpus.options.speaker_pattern: {pattern!r} is no regular expression ({error})"
        ) from error
    if not compiled.groups:
        raise LorascopeError(
            f"corpus.options.speaker_pattern: {pattern!r} has no group; put the speaker's part in parentheses"
        )
    speakers = []
    for path in paths:
        found = compiled.search(Path(path).relative_to(root).as_posix())
        if found is None or not found.group(1):
            raise LorascopeError(f"{path}: corpus.options.speaker_pattern {pattern!r} finds no speaker in it; mend it")
        speakers.append(found.group(1))
    return speakers


def _split(path: Path) -> Any:
    return next((SPLITS[part.lower()] for part in path.parts[:-1] if part.lower() in SPLITS), pd.NA)
