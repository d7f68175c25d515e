"""What the protocols deal with: speakers who may not be parted, seeded circles, and a fold's parts as clip ids.

Clips of unknown speakers may all be of one person, or of anybody. So they are never tested or validated on, and trained
on only where the corpus' own split says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import LorascopeError
from ..corpus import UNKNOWN_SPEAKER, Corpus


@dataclass(frozen=True)
class Choices:
    """What a protocol is told: whether speakers are held out for choosing the epoch (`validate`), the seed, and the
    options of single protocols.
    """

    validate: bool = True
    seed: int = 42
    groups: int | None = None
    test_splits: tuple[str, ...] = ()


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


def inseparable(corpus: Corpus, speakers: Sequence[str]) -> list[list[str]]:
    """Speakers who may not be parted: those of a session where sessions pair speakers, else each alone."""
    session = paired_sessions(corpus)
    units: dict[tuple[bool, str], list[str]] = {}
    for speaker in speakers:
        units.setdefault((speaker in session, session.get(speaker, speaker)), []).append(speaker)
    return list(units.values())


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
