"""What the protocols deal with: speakers who may not be parted, seeded circles, and a fold's parts as clip ids.

Speakers are whole in every protocol, and so are the groups of a further column (`group_by`) where one is named. Only
where the classes are the speakers themselves (task: speaker) must everybody be in training and in test, and the groups
alone are whole.

Clips of unknown speakers may all be of one person, or of anybody. So they are never tested or validated on, and trained
on only where the corpus' own split says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...errors import LorascopeError
from ..corpus import UNKNOWN_SPEAKER, Corpus
from ..labels import suggestion

#: Columns that say what a clip is, and nothing of what it shares with others. Speakers are whole in any case.
NO_GROUPS = ("path", "speaker", "emotion", "start", "end", "duration")


@dataclass(frozen=True)
class Choices:
    """What a protocol is told: whether speakers are held out for choosing the epoch (`validate`), the seed, and the
    options of single protocols.
    """

    validate: bool = True
    seed: int = 42
    groups: int | None = None
    test_splits: tuple[str, ...] = ()
    group_by: str | None = None


@dataclass(frozen=True)
class Parts:
    """The clip ids of one fold's parts, and notes for the reader of results."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    notes: tuple[str, ...] = ()


def known_speakers(corpus: Corpus) -> list[str]:
    """The speakers of a corpus, sorted, without the unknown."""
    return [speaker for speaker in corpus.speakers if speaker != UNKNOWN_SPEAKER]


def unknown_note(corpus: Corpus) -> list[str]:
    """What to tell of the clips of unknown speakers where they are in no part; empty where there are none."""
    unknown = int((corpus.clips["speaker"] == UNKNOWN_SPEAKER).sum())
    return [f"{unknown} clips of unknown speakers are in no part"] if unknown else []


def speakers_are_classes(corpus: Corpus) -> bool:
    """Whether the task is to tell speakers apart, so that they can't be kept apart."""
    return corpus.task == "speaker"


def groups_of(corpus: Corpus, column: str) -> pd.Series:
    """Each clip's group by a column, as text; NaN where it has none or its speaker is unknown.

    Raises `LorascopeError` where the corpus has no such column, or a speaker is in two of its groups, who would be in
    two parts.
    """
    known = [str(name) for name in corpus.clips if name not in NO_GROUPS]
    if column not in known:
        raise LorascopeError(f"folds.group_by: {corpus.name} has no groups by {column!r}{suggestion(column, known)}")
    clips = corpus.clips[corpus.clips["speaker"] != UNKNOWN_SPEAKER]
    groups = clips[column].dropna().map(lambda name: str(name).strip())
    groups = groups[groups != ""]
    moving = groups.groupby(clips.loc[groups.index, "speaker"]).nunique()
    moving = moving[moving > 1]
    if len(moving) and not speakers_are_classes(corpus):
        raise LorascopeError(
            f"{corpus.name}: speaker {moving.index[0]} is in {moving.iloc[0]} {grouped(column)} "
            f"({len(moving)} speakers are in several) and would be in two parts; use folds.protocol "
            "leave_one_speaker_out or speaker_groups without folds.group_by"
        )
    return groups.reindex(corpus.clips.index)


def grouped(column: str) -> str:
    """The groups of a column in words."""
    return "sessions" if column == "session" else f"groups by {column}"


def groupless_note(corpus: Corpus, groups: pd.Series, column: str) -> list[str]:
    """What to tell of the clips of known speakers that have no group; empty where all have one."""
    without = int(((corpus.clips["speaker"] != UNKNOWN_SPEAKER) & groups.isna()).sum())
    return [f"{without} clips without a {column} are in no part"] if without else []


def parted_sessions_note(corpus: Corpus, column: str) -> list[str]:
    """A caution where speakers who share a session, and so each other's dialogues, are in different groups."""
    session = pd.Series(paired_sessions(corpus))
    if column == "session" or session.empty:
        return []
    of = pd.Series(_group_of_each(corpus, column))
    parted = of.groupby(session.reindex(of.index)).nunique()
    parted = sorted(parted.index[parted > 1])
    if not parted:
        return []
    return [f"speakers of one session ({', '.join(map(str, parted[:3]))}) are in different groups by {column}"]


def check_enough(corpus: Corpus, there: int, what: str, protocol: str, choices: Choices) -> None:
    """Raise `LorascopeError` where there are too few speakers or sessions to train, validate and test on."""
    needed, selection = (3, "validation_speaker") if choices.validate else (2, "test_fold")
    if there < needed:
        raise LorascopeError(
            f"{corpus.name}: {there} {what}, but {protocol} with selection {selection} needs at "
            f"least {needed}; add {what}"
        )


def next_on_circle(names: Sequence[str], seed: int) -> dict[str, str]:
    """Each name with the one after it on a seeded circle of all."""
    circle: list[str] = [names[int(i)] for i in np.random.default_rng(seed).permutation(len(names))]
    return dict(zip(circle, [*circle[1:], circle[0]], strict=True))


def paired_sessions(corpus: Corpus) -> dict[str, str]:
    """Each speaker's session, where every session is a small group of speakers who appear
    nowhere else; empty where not.

    Not for prefix speakers: those reproduce the released code, in which the partner is trained on.
    """
    # a clip whose session is unknown frees nobody: the other speakers of known sessions are still partners
    clips = corpus.clips[corpus.clips["speaker"] != UNKNOWN_SPEAKER].dropna(subset="session")
    sessions = clips.groupby("speaker")["session"].unique()
    if corpus.optimistic or clips["session"].nunique() < 2 or sessions.map(len).max() > 1:
        return {}
    return {str(speaker): of[0] for speaker, of in sessions.items()}


def inseparable(corpus: Corpus, speakers: Sequence[str], group_by: str | None = None) -> list[list[str]]:
    """Speakers who may not be parted: those of a group where a column groups them, else of a session where sessions
    pair speakers, else each alone.
    """
    session = paired_sessions(corpus) if group_by is None else _group_of_each(corpus, group_by)
    units: dict[tuple[bool, str], list[str]] = {}
    for speaker in speakers:
        units.setdefault((speaker in session, session.get(speaker, speaker)), []).append(speaker)
    return list(units.values())


def _group_of_each(corpus: Corpus, column: str) -> dict[str, str]:
    groups = groups_of(corpus, column).dropna()
    return dict(zip(corpus.clips.loc[groups.index, "speaker"], groups, strict=True))


def by_speaker(
    corpus: Corpus, name: str, test: Collection[str], validation: Collection[str], removed: Collection[str]
) -> Parts:
    """The fold that tests some speakers, validates on others and trains on all the rest but the
    removed and the unknown.
    """
    speaker = corpus.clips["speaker"]
    aside = {*test, *validation, *removed, UNKNOWN_SPEAKER}
    index = corpus.clips.index
    return of_ids(
        corpus,
        name,
        index[~speaker.isin(aside)],
        index[speaker.isin(list(validation))],
        index[speaker.isin(list(test))],
        unknown_note(corpus),
    )


def of_ids(
    corpus: Corpus,
    name: str,
    train: Iterable[str],
    validation: Iterable[str],
    test: Iterable[str],
    notes: Iterable[str],
) -> Parts:
    """A fold of clip ids; a class that the validation part lacks is noted."""
    held = corpus.clips.loc[list(validation)]
    who = sorted(held["speaker"].unique())
    by = f"validation speaker {who[0]}" if len(who) == 1 else f"none of {len(who)} validation speakers"
    missing = [c for c in corpus.classes if len(held) and c not in set(held["emotion"])]
    lacking = [f"fold {name}: {by} has {'no' if len(who) == 1 else 'a'} clip of class {c}" for c in missing]
    return Parts(name, tuple(train), tuple(validation), tuple(test), (*notes, *lacking))
