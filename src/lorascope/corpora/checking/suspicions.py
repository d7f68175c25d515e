"""What a check can tell from the table of clips alone. A finding is (kind, text); columns id, path, speaker,
emotion, and `where` a row stands.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ..corpus import EMOTION, UNKNOWN_SPEAKER, Published
from ..labels import canonical

Finding = tuple[str, str]


def with_canonical_emotions(clips: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """The table with canonical emotions, and a fault for every label that is unknown, which stays as written."""
    unknown: dict[str, list[str]] = defaultdict(list)
    emotions = []
    for label, place in zip(clips["emotion"].astype(str), clips["where"], strict=True):
        try:
            emotions.append(canonical(label))
        except LorascopeError:
            emotions.append(label)
            unknown[label].append(place)
    faults = [
        (
            "unknown label",
            (
                f"{places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''}: {label!r}; mend it, or "
                "map it with corpus.label_map in a run"
            ),
        )
        for label, places in unknown.items()
    ]
    return clips.assign(emotion=emotions), faults


def ids_given_twice(clips: pd.DataFrame) -> list[Finding]:
    """A fault for every id that several rows have."""
    places = clips.groupby("id")["where"].agg(list)
    return [
        ("id twice", f"{' and '.join(where)}: the id {clip!r}; ids must be unique")
        for clip, where in places.items()
        if len(where) > 1
    ]


def missing_files(clips: pd.DataFrame) -> list[Finding]:
    """A fault for every clip whose file is not there."""
    return [
        ("missing", f"{'' if place == path else f'{place}: '}no file {path}; mend the path, or leave the clip out")
        for path, place in zip(clips["path"], clips["where"], strict=True)
        if not Path(path).is_file()
    ]


def unlike_published(clips: pd.DataFrame, published: Published, joined: Mapping[str, str]) -> list[Finding]:
    """A fault for every published figure that the clips don't have; `joined` are emotions that
    are published as another's.
    """
    by_class = published.by_class or {}
    emotion = clips["emotion"].replace({ours: theirs for ours, theirs in joined.items() if ours not in by_class})
    known = clips.loc[clips["speaker"] != UNKNOWN_SPEAKER, "speaker"]
    # figures of some classes alone (IEMOCAP's four) count no other clips
    whole = sum(by_class.values()) != published.clips
    there = len(clips) if whole else int(emotion.isin(list(by_class)).sum())
    figures = [("clips", published.clips, there), ("speakers", published.speakers, known.nunique())]
    for name, wanted in by_class.items():
        figures.append((f"clips of {name}", wanted, int((emotion == name).sum())))
    return [
        ("published", f"{there} {what}, published are {wanted}")
        for what, wanted, there in figures
        if wanted is not None and wanted != there
    ]


def names_against_labels(clips: pd.DataFrame) -> list[Finding]:
    """A fault for every clip whose file or folder spells out another emotion than its label.

    Only where names tell the emotion as a rule: else a word such as "happy" belongs to the sentence.
    """
    words = [_emotion_words(Path(path)) for path in clips["path"]]
    named = [(row, found) for row, found in zip(clips.itertuples(), words, strict=True) if found]
    against = [(row, found) for row, found in named if row.emotion not in found]
    if 2 * len(named) < len(words) or 10 * len(against) > len(named):
        return []
    return [
        ("mislabelled", f"{row.where}: labelled {row.emotion}, but {row.path} is named {found[0]}; mend one")
        for row, found in against
    ]


def _emotion_words(path: Path) -> list[str]:
    """Emotions that a file's name or its folder's spell out; short codes are left alone, which
    mean other things elsewhere.
    """
    found = []
    for word in re.findall(r"[^\W\d_]+", f"{path.stem} {path.parent.name}"):
        if len(word) > 3 or word.lower() == "sad":
            try:
                found.append(canonical(word))
            except LorascopeError:
                continue
    return found


def manifest_against_labels(clips: pd.DataFrame, beside: Mapping[str, str]) -> list[Finding]:
    """A fault for every clip to which a manifest beside the corpus (emotions by file name) gives another emotion."""
    return [
        ("mislabelled", f"{path}: {emotion} by its name, {told} in the manifest beside it; mend one")
        for path, emotion in zip(clips["path"], clips["emotion"], strict=True)
        if (told := beside.get(Path(path).name, emotion)) != emotion
    ]


def lopsided_speakers(clips: pd.DataFrame, task: str = EMOTION) -> list[Finding]:
    """A warning for speakers with one emotion (or other label of the task) only, whose voice alone tells it, and for
    classes that some speakers lack; unknown speakers aside.
    """
    known = clips[clips["speaker"] != UNKNOWN_SPEAKER]
    table = pd.crosstab(known["speaker"], known["emotion"])
    if table.shape[1] < 2:
        return []
    single = (table > 0).sum(axis=1) == 1
    warnings = [
        (
            f"one {task}",
            f"{emotion} is all that there is of speaker {_named(table.index[single & (table[emotion] > 0)])}",
        )
        for emotion in table.columns
        if (single & (table[emotion] > 0)).any()
    ]
    for emotion in table.columns:
        lacking = table.index[~single & (table[emotion] == 0)]
        if len(lacking):
            warnings.append(("class missing", f"no clip of {emotion} by speaker {_named(lacking)}"))
    return warnings


def _named(speakers: Sequence[str] | pd.Index) -> str:
    return ", ".join(speakers[:8]) + (f" and {len(speakers) - 8} more" if len(speakers) > 8 else "")
