"""The protocols that deal speakers out anew: leave one speaker, one session or any other group out, groups of speakers.
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
    grouped,
    groupless_note,
    groups_of,
    inseparable,
    known_speakers,
    next_on_circle,
    of_ids,
    paired_sessions,
    parted_sessions_note,
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
    """One fold a session: `leave_one_group_out` by the column session."""
    return _leave_out(corpus, choices, "session", "leave-one-session-out")


def leave_one_group_out(corpus: Corpus, choices: Choices) -> list[Parts]:
    """One fold a group of the column `group_by`, named by it; validation is the next group on a seeded circle. Clips
    without a group are in no part.

    Raises `LorascopeError` where there are too few groups, or a speaker is in several, who would be in two parts.
    """
    if choices.group_by is None:
        raise LorascopeError("folds.group_by: leave_one_group_out needs a column; add folds.group_by")
    return _leave_out(corpus, choices, choices.group_by, "leave-one-group-out")


def _leave_out(corpus: Corpus, choices: Choices, column: str, protocol: str) -> list[Parts]:
    of = groups_of(corpus, column)
    groups, index = sorted(of.dropna().unique()), corpus.clips.index
    check_enough(corpus, len(groups), grouped(column), protocol, choices)
    # a speaker of a group whose other clips have none would be in the same part only by luck
    notes = [*groupless_note(corpus, of, column), *parted_sessions_note(corpus, column), *unknown_note(corpus)]
    after = next_on_circle(groups, choices.seed)
    return [
        of_ids(
            corpus,
            group,
            train=index[of.notna() & (of != group) & (of != after[group] if choices.validate else True)],
            validation=index[of == after[group]] if choices.validate else (),
            test=index[of == group],
            notes=notes,
        )
        for group in groups
    ]


def speaker_groups(corpus: Corpus, choices: Choices) -> list[Parts]:
    """`groups` groups of whole speakers, each tested once, validated by the next; even in clips and classes
    as far as speakers allow.

    Where sessions pair speakers, a session stays together, and with `group_by` what has the same there. Raises
    `LorascopeError` where there are fewer speakers (or sessions, or groups of that column) than groups.
    """
    if choices.groups is None:
        raise LorascopeError("folds.groups: the protocol speaker_groups needs the number of groups; add folds.groups")
    least = 3 if choices.validate else 2
    column = choices.group_by or "speaker"
    keys = corpus.clips["speaker"] if choices.group_by is None else groups_of(corpus, choices.group_by)
    units = inseparable(corpus, known_speakers(corpus)) if choices.group_by is None else _alone(keys)
    if choices.groups < least:
        raise LorascopeError(
            f"folds.groups: {choices.groups} groups are too few for training, "
            f"{'validation ' if choices.validate else ''}and test; give at least {least}"
        )
    if len(units) < choices.groups:
        what = "speakers (sessions that pair speakers counted once)" if column == "speaker" else grouped(column)
        raise LorascopeError(
            f"folds.groups: {corpus.name} has {len(units)} {what}, too few for {choices.groups} groups; give fewer "
            "groups"
        )
    groups = deal_evenly(corpus.clips, keys, units, choices.groups, choices.seed)
    notes = unknown_note(corpus)
    if column != "speaker":
        notes = [*groupless_note(corpus, keys, column), *parted_sessions_note(corpus, column), *notes]
    dealt, index = keys.notna() & (corpus.clips["speaker"] != UNKNOWN_SPEAKER), corpus.clips.index
    parts = []
    for number, group in enumerate(groups, 1):
        after = groups[number % len(groups)] if choices.validate else []
        train = index[dealt & ~keys.isin([*group, *after])]
        parts.append(of_ids(corpus, f"group-{number}", train, index[keys.isin(after)], index[keys.isin(group)], notes))
    return parts


def _alone(keys: pd.Series) -> list[list[str]]:
    return [[key] for key in sorted(keys.dropna().unique())]


def deal_evenly(
    clips: pd.DataFrame, keys: pd.Series, units: Sequence[Sequence[str]], count: int, seed: int
) -> list[list[str]]:
    """Deal units of `keys` (each of the `clips`' speaker or group) into groups, about the largest first, each to the
    group that it makes least uneven in clips and in clips of each class.
    """
    random = np.random.default_rng(seed)
    table = pd.crosstab(keys, clips["emotion"])
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
