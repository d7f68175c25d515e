"""A corpus is a table of clips keyed by id, with the experiment's classes and a count of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path

import pandas as pd

from ..errors import LorascopeError
from .labels import canonical, class_names, labels_as_they_are, mapped_labels, suggestion

#: The task whose labels have synonyms and published counts; of any other, labels are taken as they are.
EMOTION = "emotion"
DEFAULT_CLASSES = ("anger", "happiness", "neutrality", "sadness")
#: Columns that every corpus has.
REQUIRED = ("path", "speaker", "emotion")
#: Columns that a corpus may have, NaN where unknown. `start`, `end` (a piece of the file) and `duration` are seconds.
#: `text` tells sentences apart; `transcript` are the words that are said, where `text` is a code for them.
OPTIONAL = ("text", "transcript", "gender", "session", "language", "split", "start", "end", "duration")
TIMES = ("start", "end", "duration")
#: The one name of all speakers whom a corpus does not name. Two such clips may be of one person, so no two of them may
#: ever be in different parts of a fold; as one pseudo-speaker they cannot be. It is no person either: a fold that tests
#: "on the speaker unknown" would test on a crowd.
UNKNOWN_SPEAKER = "unknown"


@dataclass(frozen=True)
class About:
    """One line about a reader's corpus, for listings: `speech` says how it came about (acted, natural), `reference`
    who describes it and when.

    `speakers` and `clips` are None for readers of any corpus.
    """

    title: str
    language: str
    speech: str
    speakers: int | None
    clips: int | None
    licence: str
    reference: str


@dataclass(frozen=True)
class Published:
    """What a corpus' authors count: all clips, speakers, and clips by canonical emotion; None
    for what they do not give.
    """

    clips: int | None
    speakers: int | None
    by_class: dict[str, int] | None


@dataclass(frozen=True)
class Recordings:
    """What a reader found, before any label is mapped: `table` with columns id, path, speaker, emotion (the corpus' own
    label or a canonical name) and any of the optional ones; `where` says in errors where a row stands (a file's line;
    by default the clip's own path), by row.

    `left_out` counts what the reader itself left out, as (reason, clips); `optimistic` names leaks that the reader was
    asked to reproduce. `joined` are emotions that the field counts as another (IEMOCAP's excitement as happiness),
    unless a label map or the experiment's classes name them.
    """

    table: pd.DataFrame
    where: Sequence[str] | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    optimistic: tuple[str, ...] = ()
    synthetic: bool = False
    joined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    """Clips by id with path, speaker, emotion (one of `classes`) and where known text, transcript, gender, session,
    language, split, start, end, duration.

    Whatever other columns the corpus' own table has are kept behind those: folds may group by them. `left_out` (columns
    reason, clips) counts every clip that was found but isn't used. `notes` are for the reader of results; `optimistic`
    names leaks that were asked for. `parts` names the two corpora that were joined, the first to be trained on, the
    second to be tested (column `corpus`).
    """

    name: str
    clips: pd.DataFrame
    classes: tuple[str, ...]
    left_out: pd.DataFrame
    notes: tuple[str, ...] = ()
    optimistic: tuple[str, ...] = ()
    synthetic: bool = False
    parts: tuple[str, ...] = ()
    task: str = EMOTION

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of all speakers, sorted."""
        return tuple(sorted(self.clips["speaker"].unique()))


def named_speakers(speakers: pd.Series) -> tuple[pd.Series, tuple[str, ...]]:
    """Speakers as text, those that are missing, empty or "unknown" in any case as `UNKNOWN_SPEAKER`, and a note
    that counts them (none where all are named).
    """
    # a number that Parquet made a fraction for want of others is the same speaker
    text = speakers.map(lambda name: str(int(name)) if isinstance(name, float) and name.is_integer() else str(name))
    text = text.str.strip()
    unknown = speakers.isna() | (text == "") | (text.str.lower() == UNKNOWN_SPEAKER)
    count = int(unknown.sum())
    note = f"clips of unknown speakers: {count}; they count as one speaker, {UNKNOWN_SPEAKER!r}"
    return text.mask(unknown, UNKNOWN_SPEAKER), (note,) if count else ()


def corpus_from(
    name: str,
    found: Recordings,
    classes: Sequence[str] = DEFAULT_CLASSES,
    label_map: Mapping[str, str | None] | None = None,
    exclude: Sequence[str] = (),
    task: str = EMOTION,
    speakers_needed: bool = True,
) -> Corpus:
    """Map labels to the experiment's classes, count what is left out, and check the rest.

    Of any other `task` than emotion labels are taken as they are, and no `classes` mean all that occur.

    `label_map` maps a corpus' label (as written there, or its canonical name) to a class, or to None to leave it out;
    other labels go by the synonym table. Raises `LorascopeError` on a duplicate id, a missing file, an unknown label,
    an unknown class, an unknown id in `exclude`, an entry of `label_map` that no clip has, a class without clips, or,
    where `speakers_needed`, fewer than two speakers. An excluded clip is counted and not looked at.
    """
    table = found.table.reset_index(drop=True)
    where = list(found.where if found.where is not None else table["path"])
    if table.empty:
        raise LorascopeError(f"{name}: no clips found; check corpus.root")
    _check_ids(table, where)
    if task == EMOTION:
        classes = class_names(classes, label_map or {})
        targets = mapped_labels([*table["emotion"].astype(str), *found.joined.values()], label_map or {}, classes)
    else:
        kept = ~table["id"].isin(list(exclude))
        classes, targets = labels_as_they_are(table.loc[kept, "emotion"].astype(str), label_map or {}, classes)
    joined = {label: emotion for label, emotion in found.joined.items() if label not in (*targets, *classes)}
    table["emotion"] = table["emotion"].astype(str).replace(joined)
    ids = list(table["id"])
    for clip in exclude:
        if clip not in ids:
            raise LorascopeError(f"corpus.exclude: {name} has no clip {clip!r}{suggestion(clip, ids)}")
    reasons = list(found.left_out)
    speakers = set(table["speaker"])
    excluded = table["id"].isin(list(exclude)).to_numpy()
    if excluded.any():
        reasons.append(("excluded by name (corpus.exclude)", int(excluded.sum())))
    table, where = table[~excluded], list(compress(where, ~excluded))
    emotions, outside = [], []
    for label, place in zip(table["emotion"], where, strict=True):
        emotion, reason = _class_of(label, classes, targets, place, task)
        emotions.append(emotion)
        outside.append(reason)
    reasons += sorted(Counter(reason for reason in outside if reason).items())
    inside = [reason is None for reason in outside]
    table, where = table.assign(emotion=emotions)[inside], list(compress(where, inside))
    _check_clips(name, table, where, classes)
    if speakers_needed:
        _check_speakers(name, table["speaker"])
    lost = sorted(speakers - set(table["speaker"]))
    own = [column for column in table if column not in ("id", *REQUIRED, *OPTIONAL)]
    notes = [*found.notes, *([f"no clips of these classes by {', '.join(lost)}"] if lost else [])]
    return Corpus(
        name=name,
        clips=table.set_index("id").reindex(columns=[*REQUIRED, *OPTIONAL, *own]).sort_index(),
        classes=classes,
        left_out=pd.DataFrame(reasons, columns=["reason", "clips"]),
        notes=tuple(notes),
        optimistic=found.optimistic,
        synthetic=found.synthetic,
        task=task,
    )


def relabelled(found: Recordings, task: str, own_labels: bool) -> Recordings:
    """Recordings whose labels are those of a task: the column of the task's name (of sentence, text), else the reader's
    labels where those are whatever the user's table gives (`own_labels`). Clips without one are counted as left out.
    """
    if task == EMOTION:
        return found
    # a sentence is what readers call text
    column = "text" if task == "sentence" and task not in found.table else task
    if column not in found.table:
        if own_labels:
            return found
        known = [str(name) for name in found.table if name not in ("id", *REQUIRED, *TIMES)]
        raise LorascopeError(f"corpus.task: this reader gives no {task!r}{suggestion(task, [EMOTION, *known])}")
    labels = found.table[column]
    there = (labels.notna() & ((task != "speaker") | (labels != UNKNOWN_SPEAKER))).to_numpy()
    table = found.table.assign(emotion=labels)[there]
    left_out = ((f"without a {task}", int((~there).sum())),) if not there.all() else ()
    where = None if found.where is None else list(compress(found.where, there))
    return replace(found, table=table, where=where, left_out=(*found.left_out, *left_out), joined={})


def _check_ids(table: pd.DataFrame, where: Sequence[str]) -> None:
    twice = table["id"].duplicated()
    if twice.any():
        row = int(twice.to_numpy().nonzero()[0][0])
        clip = table["id"].iloc[row]
        first = where[int((table["id"] == clip).to_numpy().nonzero()[0][0])]
        raise LorascopeError(
            f"{where[row]}: id {clip!r} was given before ({first}); ids must be unique: take one of the two "
            "out, or tell them apart by a manifest's column id"
        )


def _check_clips(name: str, table: pd.DataFrame, where: Sequence[str], classes: tuple[str, ...]) -> None:
    for path, place in zip(table["path"], where, strict=True):
        if not Path(path).is_file():
            raise LorascopeError(f"{place}: no file {path}; mend the path, or leave the clip out with corpus.exclude")
    for emotion in classes:
        if not (table["emotion"] == emotion).any():
            raise LorascopeError(
                f"{name}: no clip of class {emotion!r}; take it out of corpus.classes, or map a label to it "
                "with corpus.label_map"
            )


def _check_speakers(name: str, speakers: pd.Series) -> None:
    if speakers.nunique() > 1:
        return
    if speakers.iloc[0] == UNKNOWN_SPEAKER:
        raise LorascopeError(
            f"{name}: no clip's speaker is known, so no result would be speaker-independent; name the column (of an "
            "audiofolder with corpus.options.speaker, or where the path has it with corpus.options.speaker_pattern)"
        )
    raise LorascopeError(
        f"{name}: only one speaker ({speakers.iloc[0]}); speaker-independent results need at least three: check the "
        "speaker column"
    )


def _class_of(
    label: str, classes: tuple[str, ...], targets: Mapping[str, str | None], place: str, task: str
) -> tuple[str, str | None]:
    """(class, None), or (emotion, why it is left out)."""
    emotion = targets.get(label, label)
    if emotion is None:
        return label, f"label {label!r} (left out by corpus.label_map)"
    try:
        emotion = emotion if emotion in classes or task != EMOTION else canonical(emotion)
    except LorascopeError as error:
        raise LorascopeError(f"{place}: {error}; mend it, or map it with corpus.label_map") from error
    return emotion, None if emotion in classes else f"{task} {emotion} is not among the classes"
