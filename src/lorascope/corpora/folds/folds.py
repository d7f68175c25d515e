"""Folds in which no speaker and no group is in two parts, and the seeded sample of held-out clips that the analyses
look at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ...errors import LorascopeError
from ..corpus import UNKNOWN_SPEAKER, Corpus
from .dealing import Choices, Parts, groups_of, speakers_are_classes
from .inner import inner_parts
from .official import cross_corpus, official_split
from .protocols import leave_one_group_out, leave_one_session_out, leave_one_speaker_out, speaker_groups

TEST_FOLD_LEAK = "the best epoch was chosen on the test fold (selection: test_fold), as the released code does"

#: On what the best epoch is chosen.
SELECTIONS = ("validation_speaker", "test_fold", "inner_folds")
#: Inner folds of `inner_folds` unless a number is given.
INNER = 4


@dataclass(frozen=True)
class Fold:
    """One split of a corpus by whole speakers; `train`, `validation`, `test` are clip ids.

    `removed_speakers` are in no part. `selection` says on what the best epoch is chosen: "validation_speaker",
    "test_fold" or "inner_folds", of which `inner` has the training clips that each holds out. `optimistic` gives the
    reasons why results of this fold are too good to be true; empty for honest folds. `group_by` names the column whose
    groups are whole, too.
    """

    name: str
    train_speakers: tuple[str, ...]
    validation_speakers: tuple[str, ...]
    test_speakers: tuple[str, ...]
    removed_speakers: tuple[str, ...]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    selection: str
    optimistic: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    group_by: str | None = None
    inner: tuple[tuple[str, ...], ...] = ()


#: Every protocol by name.
PROTOCOLS: dict[str, Callable[[Corpus, Choices], list[Parts]]] = {
    "leave_one_speaker_out": leave_one_speaker_out,
    "leave_one_session_out": leave_one_session_out,
    "leave_one_group_out": leave_one_group_out,
    "speaker_groups": speaker_groups,
    "official_split": official_split,
    "cross_corpus": cross_corpus,
}


def make_folds(
    corpus: Corpus,
    protocol: str = "leave_one_speaker_out",
    selection: str = "validation_speaker",
    seed: int = 42,
    groups: int | None = None,
    test_splits: Sequence[str] = (),
    group_by: str | None = None,
    inner: int | None = None,
) -> list[Fold]:
    """The folds of a protocol: `leave_one_speaker_out`, `leave_one_session_out`, `leave_one_group_out` (by the column
    `group_by`), `speaker_groups` (into `groups`), `official_split` (of `test_splits`) or, for two joined corpora,
    `cross_corpus`. In the last three, too, what has the same in the column `group_by` stays together.

    With `selection="validation_speaker"` other whole speakers are held out for choosing the best epoch, as each
    protocol says. With `"test_fold"` nobody is, and the test fold itself chooses: optimistic. With `"inner_folds"`
    nobody is either, and the training speakers choose, each held out once in one of `inner` inner folds (4). Raises
    `LorascopeError` where there are too few speakers, the training part lacks a class, or a speaker or group would be
    in two parts. Only of the task speaker are speakers in all parts, and groups alone kept apart.
    """
    deal = PROTOCOLS.get(protocol)
    if deal is None:
        raise LorascopeError(f"folds.protocol: unknown protocol {protocol!r}; use {' or '.join(PROTOCOLS)}")
    if selection not in SELECTIONS:
        raise LorascopeError(f"folds.selection: unknown selection {selection!r}; use {' or '.join(SELECTIONS)}")
    if group_by is not None and protocol in ("leave_one_speaker_out", "leave_one_session_out"):
        raise LorascopeError(
            f"folds.group_by: {protocol} has groups of its own; use leave_one_group_out or take it out"
        )
    whole = "session" if protocol == "leave_one_session_out" else group_by
    if speakers_are_classes(corpus) and whole is None:
        raise LorascopeError(
            f"folds.protocol: {protocol} keeps speakers apart, who are the classes of the task speaker; name what else "
            "must not be on both sides with folds.group_by"
        )
    choices = Choices(selection == "validation_speaker", seed, groups, tuple(test_splits), group_by)
    inner = (inner or INNER) if selection == "inner_folds" else None
    return [_fold(corpus, parts, selection, whole, inner, seed) for parts in deal(corpus, choices)]


def _fold(
    corpus: Corpus, parts: Parts, selection: str, group_by: str | None, inner: int | None = None, seed: int = 42
) -> Fold:
    def speakers_of(ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted(corpus.clips.loc[list(ids), "speaker"].unique()))

    train, validation, test = speakers_of(parts.train), speakers_of(parts.validation), speakers_of(parts.test)
    fold = Fold(
        name=parts.name,
        train_speakers=train,
        validation_speakers=validation,
        test_speakers=test,
        removed_speakers=tuple(sorted({*corpus.speakers} - {*train, *validation, *test})),
        train=parts.train,
        validation=parts.validation,
        test=parts.test,
        selection=selection,
        optimistic=(*corpus.optimistic, *((TEST_FOLD_LEAK,) if selection == "test_fold" else ())),
        notes=parts.notes,
        group_by=group_by,
        inner=() if inner is None else inner_parts(corpus, parts, inner, seed, group_by),
    )
    check_fold(fold, corpus)
    return fold


def check_fold(fold: Fold, corpus: Corpus) -> None:
    """Raise `LorascopeError` where a speaker, group or clip is in two parts or in one that doesn't name the speaker,
    a clip to be tested or validated on is of an unknown speaker, or a part is empty or lacks a class that it needs.
    """
    parts = {part: set(getattr(fold, part)) for part in ("train", "validation", "test")}
    speakers = {part: set(corpus.clips.loc[sorted(ids), "speaker"]) for part, ids in parts.items()}
    apart = [] if speakers_are_classes(corpus) else [("speaker", speakers)]
    if fold.group_by is not None:
        of = groups_of(corpus, fold.group_by)
        apart.append((fold.group_by, {part: set(of[sorted(ids)].dropna()) for part, ids in parts.items()}))
    for one, other in combinations(parts, 2):
        for column, found in (*apart, ("clip", parts)):
            if shared := found[one] & found[other]:
                raise LorascopeError(
                    f"fold {fold.name}: {column} {', '.join(sorted(shared))} is both in {one} and in {other}; "
                    f"results would leak: check the {column} column"
                )
    for part, found in speakers.items():
        if wrong := found ^ set(getattr(fold, f"{part}_speakers")):
            raise LorascopeError(
                f"fold {fold.name}: the clips of {part} are not those of its speakers "
                f"({', '.join(sorted(wrong))}); make the fold anew with make_folds"
            )
        if part != "train" and UNKNOWN_SPEAKER in found:
            raise LorascopeError(
                f"fold {fold.name}: {part} has clips of unknown speakers, who may be trained on; leave them out"
            )
    if not fold.test:
        raise LorascopeError(f"fold {fold.name}: no clip to test; add clips")
    if fold.selection == "validation_speaker" and not fold.validation:
        raise LorascopeError(
            f"fold {fold.name}: no clip to choose the epoch on; add speakers, or use selection test_fold"
        )
    if not fold.train_speakers:
        raise LorascopeError(f"fold {fold.name}: nobody is left to train on; add speakers")
    present = set(corpus.clips.loc[list(fold.train), "emotion"])
    for name in corpus.classes:
        if name not in present:
            raise LorascopeError(
                f"fold {fold.name}: no training clip of class {name}; take the class out of corpus.classes or "
                "add clips of other speakers"
            )


def sample_clips(corpus: Corpus, fold: Fold, per_class: int = 25, seed: int = 42) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clips of a fold's held-out speakers (test and validation) for the analyses; see `sample_from`."""
    return sample_from(corpus, [*fold.test, *fold.validation], per_class, seed)


def held_out(
    corpus: Corpus, fold: Fold, per_class: int = 25, clips_from: str | None = None
) -> tuple[tuple[str, ...], str]:
    """The clips that a fold's analysis may look at, and where they are from: "test" or "test+validation".

    Where it isn't said, the test speakers' alone if they have half of `per_class` clips of every class: on the others
    the epoch was chosen, which flatters whatever is measured on them.
    """
    if clips_from is None:
        counts = corpus.clips.loc[list(fold.test), "emotion"].value_counts()
        enough = all(2 * counts.get(emotion, 0) >= per_class for emotion in corpus.classes)
        clips_from = "test" if enough else "test+validation"
    if clips_from == "test":
        return fold.test, clips_from
    return (*fold.test, *fold.validation), "test+validation"


def sample_from(corpus: Corpus, ids: Sequence[str], per_class: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Up to `per_class` clips a class, spread over speakers as evenly as they allow, at random within a speaker.

    Returns the clips (columns clip, speaker, emotion, and text, transcript, gender, language where the corpus has them)
    and, a row a class, how many were available and taken (emotion, available, taken).
    """
    random = np.random.default_rng(seed)
    pool = corpus.clips.loc[list(ids)]
    chosen: list[str] = []
    counts = []
    for emotion in corpus.classes:
        of_class = pool[pool["emotion"] == emotion]
        queues = [
            list(random.permutation(of_class.index[of_class["speaker"] == s].to_numpy()))
            for s in sorted(of_class["speaker"].unique())
        ]
        taken: list[str] = []
        while any(queues) and len(taken) < per_class:
            # a new order of speakers every round, so that none is favoured when the last round is not full
            for index in random.permutation(len(queues)):
                if queues[index] and len(taken) < per_class:
                    taken.append(str(queues[index].pop()))
        counts.append((emotion, len(of_class), len(taken)))
        chosen += sorted(taken)
    clips = corpus.clips.loc[chosen]
    sample = pd.DataFrame(
        {"clip": chosen, "speaker": clips["speaker"].to_numpy(), "emotion": clips["emotion"].to_numpy()}
    )
    for name in ("text", "transcript", "gender", "language"):
        if name in clips:
            sample[name] = clips[name].to_numpy()
    return sample, pd.DataFrame(counts, columns=["emotion", "available", "taken"])
