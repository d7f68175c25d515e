"""The protocols that deal speakers out anew: leave one speaker out, leave one session out, groups of speakers.
`folds.make_folds` checks what they deal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...errors import LorascopeError
from ..corpus import UNKNOWN_SPEAKER, Corpus
from .dealing import (
    Choices,
    Parts,
    by_speaker,
    check_enough,
    inseparable,
    known_speakers,
    next_on_circle,
    of_ids,
    paired_sessions,
    unknown_note,
)


def leave_one_speaker_out(corpus: Corpus, choices: Choices) -> list[Parts]:
    """One fold a speaker, in the order of their names.

    Validation: where sessions pair speakers (IEMOCAP), the partner, who shares the test speaker's dialogues and may
    not be trained on; else the next speaker on a seeded circle of all, so that each serves once. A session's
    further speakers are removed.
    """
    speakers = known_speakers(corpus)
    check_enough(corpus, len(speakers), "speakers", "leave-one-speaker-out", choices)
    session, after = paired_sessions(corpus), next_on_circle(speakers, choices.seed)
    folds = []
    for speaker in speakers:
        partners = [s for s in speakers if s != speaker and speaker in session and session.get(s) == session[speaker]]
        validation = (partners[:1] or [after[speaker]]) if choices.validate else []
        folds.append(by_speaker(corpus, speaker, [speaker], validation, removed=partners))
    return folds


def leave_one_session_out(corpus: Corpus, choices: Choices) -> list[Parts]:
    """One fold a session, named by it; validation is the next session on a seeded circle. Clips without
    a session are in no part.

    Raises `LorascopeError` where there are too few sessions, or a speaker is in several, who would be in two parts.
    """
    clips = corpus.clips[corpus.clips["speaker"] != UNKNOWN_SPEAKER].dropna(subset="session")
    sessions = sorted(clips["session"].astype(str).unique())
    check_enough(corpus, len(sessions), "sessions", "leave-one-session-out", choices)
    moving = clips.groupby("speaker")["session"].nunique()
    if (moving > 1).any():
        speaker = str(moving[moving > 1].index[0])
        raise LorascopeError(
            f"{corpus.name}: speaker {speaker} is in {moving[speaker]} sessions and would be in two parts; use "
            "folds.protocol leave_one_speaker_out or speaker_groups"
        )
    # a speaker of a session whose other clips have none would be in the same part only by luck
    without = int(((corpus.clips["speaker"] != UNKNOWN_SPEAKER) & corpus.clips["session"].isna()).sum())
    notes = [f"{without} clips without a session are in no part"] if without else []
    after, of = next_on_circle(sessions, choices.seed), clips["session"].astype(str)
    return [
        of_ids(
            corpus,
            session,
            train=clips.index[(of != session) & (of != after[session] if choices.validate else True)],
            validation=clips.index[of == after[session]] if choices.validate else (),
            test=clips.index[of == session],
            notes=[*notes, *unknown_note(corpus)],
        )
        for session in sessions
    ]


def speaker_groups(corpus: Corpus, choices: Choices) -> list[Parts]:
    """`groups` groups of whole speakers, each tested once, validated by the next; even in clips and classes
    as far as speakers allow.

    Where sessions pair speakers, a session stays together. Raises `LorascopeError` where there are fewer speakers
    (or sessions) than groups.
    """
    if choices.groups is None:
        raise LorascopeError("folds.groups: the protocol speaker_groups needs the number of groups; add folds.groups")
    least = 3 if choices.validate else 2
    units = inseparable(corpus, known_speakers(corpus))
    if choices.groups < least:
        raise LorascopeError(
            f"folds.groups: {choices.groups} groups are too few for training, "
            f"{'validation ' if choices.validate else ''}and test; give at least {least}"
        )
    if len(units) < choices.groups:
        raise LorascopeError(
            f"folds.groups: {corpus.name} has {len(units)} speakers (sessions that pair speakers counted once), "
            f"too few for {choices.groups} groups; give fewer groups"
        )
    groups = _even(corpus, units, choices.groups, choices.seed)
    return [
        by_speaker(
            corpus, f"group-{number}", group, groups[number % len(groups)] if choices.validate else [], removed=[]
        )
        for number, group in enumerate(groups, 1)
    ]


def _even(corpus: Corpus, units: Sequence[Sequence[str]], count: int, seed: int) -> list[list[str]]:
    """Deal units into groups, about the largest first, each to the group that it makes least uneven in clips
    and in clips of each class.
    """
    random = np.random.default_rng(seed)
    table = pd.crosstab(corpus.clips["speaker"], corpus.clips["emotion"])
    table["all"] = table.sum(axis=1)
    # squares of shares of each column: dealing to the smallest sum of squares evens all columns at once
    shares = [(table.loc[list(unit)].sum() / table.sum()).to_numpy() for unit in units]
    # sizes blurred by up to a quarter, so that the seed has a say where no two speakers are alike
    sizes = [share[-1] * random.uniform(0.75, 1.25) for share in shares]
    filled = np.zeros((count, table.shape[1]))
    groups: list[list[str]] = [[] for _ in range(count)]
    for index in sorted(range(len(units)), key=lambda i: -sizes[i]):
        # an empty group first: none may stay empty
        target = min(range(count), key=lambda g: (bool(groups[g]), float(filled[g] @ shares[index])))
        filled[target] += shares[index]
        groups[target] += units[index]
    return [sorted(group) for group in groups]
