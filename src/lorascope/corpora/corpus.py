"""A corpus is a table of clips keyed by id, with the experiment's classes and a count of what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import LorascopeError
from .labels import canonical, suggestion

DEFAULT_CLASSES = ("anger", "happiness", "neutrality", "sadness")
#: Columns that every corpus has.
REQUIRED = ("path", "speaker", "emotion")
#: Columns that a corpus may have, NA where unknown. `start`, `end` (a piece of the file) and `duration` are seconds.
OPTIONAL = ("text", "gender", "session", "language", "split", "start", "end", "duration")


@dataclass(frozen=True)
class Recordings:
    """What a reader found, before any label is mapped: `table` with columns id, path, speaker, emotion (the corpus' own label or a canonical name) and
    any of the optional ones; `where` says in errors where a row stands (a file's line), by row.

    `left_out` counts what the reader itself left out, as (reason, clips); `optimistic` names leaks that the reader was asked to reproduce. `label_names` are the
    corpus' own labels where they aren't common words.
    """

    table: pd.DataFrame
    where: Sequence[str] | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    optimistic: tuple[str, ...] = ()
    synthetic: bool = False


@dataclass(frozen=True)
class Corpus:
    """Clips by id with path, speaker, emotion (one of `classes`) and where known text, gender, session, language, split, start, end, duration.

    `left_out` (columns reason, clips) counts every clip that was found but isn't used. `notes` are for the reader of results; `optimistic` names leaks that were asked for.
    """

    name: str
    clips: pd.DataFrame
    classes: tuple[str, ...]
    left_out: pd.DataFrame
    notes: tuple[str, ...] = ()
    optimistic: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of all speakers, sorted."""
        return tuple(sorted(self.clips["speaker"].unique()))


def corpus_from(
    name: str,
    found: Recordings,
    classes: Sequence[str] = DEFAULT_CLASSES,
    label_map: Mapping[str, str | None] | None = None,
    exclude: Sequence[str] = (),
) -> Corpus:
    """Map labels to the experiment's classes, count what is left out, and check the rest.

    `label_map` maps a corpus' label (as written there, or its canonical name) to a class, or to None to leave it out; other labels go by the
    synonym table. Raises `LorascopeError` on a duplicate id, a missing file, an unknown label, an unknown id in `exclude`, a class without clips, or
    fewer than two speakers.
    """
    table = found.table.reset_index(drop=True)
    where = list(found.where) if found.where is not None else [f"{name}: clip {clip}" for clip in table["id"]]
    if table.empty:
        raise LorascopeError(f"{name}: no clips found; check corpus.root")
    _check_ids(table, where)
    classes = tuple(canonical(label) if label not in (label_map or {}).values() else label for label in classes)
    reasons: list[tuple[str, int]] = list(found.left_out)
    unknown = [clip for clip in exclude if clip not in set(table["id"])]
    if unknown:
        raise LorascopeError(f"corpus.exclude: {name} has no clip {unknown[0]!r}{suggestion(unknown[0], list(table['id']))[:120]}")
    kept = ~table["id"].isin(list(exclude))
    if (~kept).any():
        reasons.append(("excluded by name (corpus.exclude)", int((~kept).sum())))
    emotions = [_class_of(str(label), classes, label_map or {}, place) for label, place in zip(table["emotion"], where, strict=True)]
    table["emotion"] = [emotion for emotion, _ in emotions]
    outside = pd.Series([reason for _, reason in emotions])
    for reason, count in outside[kept].dropna().value_counts().sort_index().items():
        reasons.append((str(reason), int(count)))
    kept &= outside.isna()
    before = set(table["speaker"])
    table, places = table[kept], [place for place, keep in zip(where, kept, strict=True) if keep]
    for path, place in zip(table["path"], places, strict=True):
        if not Path(path).is_file():
            raise LorascopeError(f"{place}: no file {path}; mend the path, or leave the clip out with corpus.exclude")
    for emotion in classes:
        if not (table["emotion"] == emotion).any():
            raise LorascopeError(f"{name}: no clip of class {emotion!r}; take it out of corpus.classes, or map a label to it with corpus.label_map")
    lost = sorted(before - set(table["speaker"]))
    notes = [*found.notes, *([f"no clips of these classes by {', '.join(lost)}"] if lost else [])]
    if table["speaker"].nunique() < 2:
        raise LorascopeError(f"{name}: only one speaker ({table['speaker'].iloc[0]}); speaker-independent results need at least three: check the speaker column")
    for column in OPTIONAL:
        if column not in table:
            table = table.assign(**{column: pd.NA})
    return Corpus(
        name=name,
        clips=table.set_index("id")[[*REQUIRED, *OPTIONAL]].sort_index(),
        classes=classes,
        left_out=pd.DataFrame(reasons, columns=["reason", "clips"]),
        notes=tuple(notes),
        optimistic=found.optimistic,
        synthetic=found.synthetic,
    )


def _check_ids(table: pd.DataFrame, where: Sequence[str]) -> None:
    twice = table["id"].duplicated()
    if twice.any():
        row = int(twice.to_numpy().nonzero()[0][0])
        clip = table["id"].iloc[row]
        first = where[int((table["id"] == clip).to_numpy().nonzero()[0][0])]
        raise LorascopeError(f"{where[row]}: id {clip!r} was given before ({first}); ids must be unique")


def _class_of(label: str, classes: tuple[str, ...], label_map: Mapping[str, str | None], place: str) -> tuple[str, str | None]:
    """(class, None), or (emotion, why it is left out)."""
    if label in label_map:
        mapped = label_map[label]
        if mapped is None:
            return label, f"label {label!r} (left out by corpus.label_map)"
        emotion = mapped if mapped in classes else canonical(mapped)
    else:
        try:
            emotion = label if label in classes else canonical(label)
        except LorascopeError as error:
            raise LorascopeError(f"{place}: {error}; mend it, or map it with corpus.label_map") from error
        if emotion in label_map:
            return _class_of(emotion, classes, label_map, place)
    return emotion, None if emotion in classes else f"emotion {emotion} is not among the classes"
