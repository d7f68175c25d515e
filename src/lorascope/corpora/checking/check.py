"""A corpus as it lies on disk against what it should be: counts, sounds, labels, and whether the sentence gives the
label away. Nothing is changed.

Faults are what a run would refuse, or what makes its numbers wrong; warnings are properties of a corpus that one should
know; notes are the rest.
"""

from __future__ import annotations

import inspect
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import LorascopeError, in_options_of
from ...sound.unheard import is_pointer
from .. import CORPORA, READERS, root_of, told_deeper
from ..corpus import EMOTION, UNKNOWN_SPEAKER, Published, Recordings, relabelled
from ..labels import canonical, suggestion
from ..readers import manifest
from ..readers.files import SUFFIXES, files_below, watched
from .giveaway import Giveaway, giveaway
from .sounds import Heard, Sound, examine, pointers_told
from .suspicions import (
    Finding,
    ids_given_twice,
    lopsided_speakers,
    manifest_against_labels,
    missing_files,
    names_against_labels,
    unlike_published,
    with_canonical_emotions,
)

#: So many misnamed files mean another corpus; reading on would find nothing new.
MOST_MISNAMED = 50
#: Sound files that no reader takes by their name alone.
OTHER_SUFFIXES = (".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".sph")


@dataclass
class Check:
    """The outcome: `clips` (columns path, speaker, emotion, and what else the reader gave; None where it could not
    read), the published figures, and faults, warnings and notes in the order in which they were found, the first two as
    (kind, text).
    """

    name: str
    root: Path | None
    clips: pd.DataFrame | None = None
    published: Published | None = None
    heard: Heard | None = None
    sentence: Giveaway | None = None
    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def counts(self, column: str) -> pd.Series:
        """Clips by a column's values, sorted by them; empty where unknown."""
        if self.clips is None or column not in self.clips:
            return pd.Series(dtype=int)
        return self.clips[column].dropna().astype(str).value_counts().sort_index()

    def as_json(self) -> dict[str, Any]:
        """Plain data, the same as on the screen."""
        told = {
            level: [{"kind": kind, "text": text} for kind, text in getattr(self, level)]
            for level in ("faults", "warnings")
        }
        return {
            "corpus": self.name,
            "root": None if self.root is None else str(self.root),
            "clips": None if self.clips is None else len(self.clips),
            "by_class": {str(k): int(v) for k, v in self.counts("emotion").items()},
            "by_speaker": {str(k): int(v) for k, v in self.counts("speaker").items()},
            "by_session": {str(k): int(v) for k, v in self.counts("session").items()},
            "published": None if self.published is None else asdict(self.published),
            "formats": {} if self.heard is None else dict(self.heard.formats),
            "seconds": None if self.heard is None else self.heard.seconds,
            "sentence": None if self.sentence is None else asdict(self.sentence),
            **told,
            "notes": self.notes,
        }


def check_corpus(name: str, root: str | Path | None = None, decode: bool = True, task: str = EMOTION) -> Check:
    """Check a corpus by its reader's name; with `decode` all samples are read as a run reads them, else only the
    headers.

    Of any other `task` than emotion the labels are that task's, as they are: no counts of them are published, and no
    file's name is held against them.

    Raises `LorascopeError` for an unknown reader or a folder that isn't there; all that is wrong with the corpus is in
    the result.
    """
    reader = READERS.get(name)
    if reader is None:
        raise LorascopeError(f"unknown reader {name!r}{suggestion(name, list(READERS))}")
    if "root" in inspect.signature(reader).parameters:
        folder = root_of(name, root, {})
    elif root is None:
        folder = None
    else:
        raise LorascopeError(f"--root {root}: the reader {name} reads no folder; take --root out")
    module = inspect.getmodule(reader)
    published = getattr(module, "PUBLISHED", None)
    if not isinstance(published, Published):
        published = None
    elif task != EMOTION:
        published = replace(published, by_class=None)
    check = Check(name, folder, published=published)
    walked = _sounds_below(folder)
    if walked and all(is_pointer(path) for path in walked):
        # nothing was fetched: whatever else could be said of this folder would be said of its pointers
        check.faults += pointers_told(walked)
        return check
    found, seen, misnamed = _read(check, walked)
    if found is not None:
        differences = [] if task != EMOTION else list(getattr(module, "count_differences", lambda _: ())(found.table))
        left_out, about = found.left_out, CORPORA.get(name)
        found = relabelled(found, task, own_labels=about is None or about.clips is None)
        clips = found.table.reset_index(drop=True)
        clips["path"] = [os.path.normpath(path) for path in clips["path"]]
        clips["where"] = list(found.where if found.where is not None else clips["path"])
        check.clips, unknown = with_canonical_emotions(clips) if task == EMOTION else (clips, [])
        check.faults += [*unknown, *ids_given_twice(clips), *missing_files(clips)]
        # a reader that knows more figures than the totals tells the differences itself, for a run as notes
        check.faults += [("published", text) for text in differences]
        check.notes += [f"left out: {reason} ({count})" for reason, count in found.left_out]
        check.notes += [note for note in found.notes if note not in differences]
        _extra_files(check, walked, seen, misnamed, sum(count for _, count in left_out))
        if check.published is not None and task == EMOTION:
            check.faults += unlike_published(check.clips, check.published, found.joined)
        if task == EMOTION:
            check.faults += names_against_labels(check.clips)
            check.faults += manifest_against_labels(check.clips, _manifest_beside(check))
        check.warnings += [] if task == "speaker" else lopsided_speakers(check.clips, task)
        unknown_speakers = int((check.clips["speaker"] == UNKNOWN_SPEAKER).sum())
        if unknown_speakers and not any("unknown speakers" in note for note in found.notes):
            check.notes.append(f"clips of unknown speakers: {unknown_speakers}")
        if task not in ("sentence", "text"):
            _sentence(check)
    check.heard = examine(_to_examine(check, walked, misnamed), decode)
    check.faults += check.heard.faults
    if check.heard.longer:
        check.notes.append(f"clips longer than 30 s, of which a run uses the first 30 s: {check.heard.longer}")
    check.faults = [(kind, in_options_of("check", text)) for kind, text in check.faults]
    return check


def _sounds_below(root: Path | None) -> list[Path]:
    folder = root.parent if root is not None and root.is_file() else root
    if folder is None:
        return []
    found = (p for p in files_below(folder) if p.suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES) and p.is_file())
    return sorted(p for p in found if not p.name.startswith("._"))


def _read(check: Check, walked: Sequence[Path]) -> tuple[Recordings | None, set[Path], list[Path]]:
    """What the reader finds, the files that it looked at, and those that it can't take, each of which is a fault."""
    reader, misnamed = READERS[check.name], []
    while True:
        try:
            with watched(misnamed) as seen:
                return reader(**({} if check.root is None else {"root": check.root})), seen, misnamed
        except LorascopeError as error:
            at_fault = next((path for path in walked if str(error).startswith(f"{path}: ")), None)
            if at_fault is None or at_fault in misnamed:
                check.faults.append(("unreadable", str(told_deeper(reader, check.root, error))))
                return None, set(), misnamed
            check.faults.append(("misnamed", str(error)))
            misnamed.append(at_fault)
            if len(misnamed) == MOST_MISNAMED:
                check.faults.append(
                    ("misnamed", f"{MOST_MISNAMED} files are misnamed, the rest was not read; is this {check.name}?")
                )
                return None, set(), misnamed


def _extra_files(
    check: Check, walked: Sequence[Path], seen: set[Path], misnamed: Sequence[Path], left_out: int
) -> None:
    """Sound files that are no clip: a fault among clips, unless the reader counts as many as left out; a note
    elsewhere.
    """
    assert check.clips is not None
    clips = {Path(path) for path in check.clips["path"]}
    folders = {path.parent for path in clips}
    others = [path for path in walked if path not in clips and path not in seen and path not in misnamed]
    among = [path for path in others if path.parent in folders]
    # the files that the reader looked at and did not take are among those that it counts
    if len(among) > left_out - len(seen - clips):
        check.faults += [
            ("extra", f"{path}: a sound that is no clip of the corpus; move it elsewhere") for path in among
        ]
    elsewhere = Counter(path.parent for path in others if path.parent not in folders)
    check.notes += [
        f"sound files that are no clips of the corpus, in {folder}: {count}" for folder, count in elsewhere.items()
    ]


def _manifest_beside(check: Check) -> dict[str, str]:
    """Emotions by file name from a manifest in the folder of a corpus whose reader goes by the names of files;
    unreadable ones are a note.
    """
    if check.root is None or READERS[check.name] is manifest.read or not any(check.root.glob("manifest.*")):
        return {}
    try:
        table = manifest.read(check.root).table
        return {Path(path).name: canonical(e) for path, e in zip(table["path"], table["emotion"], strict=True)}
    except LorascopeError as error:
        check.notes.append(f"the manifest beside the corpus was not compared: {error}")
        return {}


def _to_examine(check: Check, walked: Sequence[Path], misnamed: Sequence[Path]) -> list[Sound]:
    if check.clips is None:
        return [Sound(path) for path in walked]
    clips = check.clips.drop_duplicates("id").reindex(columns=["path", "start", "end", "emotion", "speaker"])
    sounds = [
        Sound(Path(path), _seconds(start), _seconds(end), emotion, speaker)
        for path, start, end, emotion, speaker in clips.itertuples(index=False)
        if Path(path).is_file()
    ]
    return sounds + [Sound(path) for path in misnamed]


def _seconds(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _sentence(check: Check) -> None:
    assert check.clips is not None
    if "text" not in check.clips:
        return
    check.sentence = giveaway(check.clips[check.clips["speaker"] != UNKNOWN_SPEAKER])
    if check.sentence is not None and check.sentence.tells:
        check.warnings.append(
            (
                "sentence",
                f"who knows only the sentence reaches a UAR of {check.sentence.uar:.2f} on new speakers (chance "
                f"{check.sentence.chance:.2f}): a result may rest on words, not on the voice",
            )
        )
