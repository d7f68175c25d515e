"""Folds in which no speaker is in two parts, and the seeded sample of held-out clips that the analyses look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import LorascopeError
from .corpus import Corpus

TEST_FOLD_LEAK = "the best epoch was chosen on the test fold (selection: test_fold), as the released code does"

#: On what the best epoch is chosen.
SELECTIONS = ("validation_speaker", "test_fold")


@dataclass(frozen=True)
class Fold:
    """One split of a corpus by whole speakers; `train`, `validation`, `test` are clip ids.

    `removed_speakers` are in no part. `selection` says on what the best epoch is chosen: "validation_speaker" or "test_fold".
    `optimistic` gives the reasons why results of this fold are too good to be true; empty for honest folds.
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


def make_folds(
    corpus: Corpus, protocol: str = "leave_one_speaker_out", selection: str = "validation_speaker", seed: int = 42
) -> list[Fold]:
    """One fold a speaker, in the order of their names.

    With `selection="validation_speaker"` another whole speaker is held out for choosing the best epoch: where sessions pair speakers (IEMOCAP), the partner,
    who shares the test speaker's dialogues and may not be trained on; else the next speaker on a seeded circle of all, so that each serves once. With
    `"test_fold"` nobody is, and the test fold itself chooses: optimistic. There too a session's partner is not trained on. Raises `LorascopeError` where there are too few
    speakers, the training part lacks a class, or a speaker would be in two parts.
    """
    if protocol != "leave_one_speaker_out":
        raise LorascopeError(f"folds.protocol: unknown protocol {protocol!r}; use leave_one_speaker_out")
    if selection not in SELECTIONS:
        raise LorascopeError(f"folds.selection: unknown selection {selection!r}; use {' or '.join(SELECTIONS)}")
    speakers = corpus.speakers
    needed = 3 if selection == "validation_speaker" else 2
    if len(speakers) < needed:
        raise LorascopeError(
            f"{corpus.name}: {len(speakers)} speakers, but leave-one-speaker-out with selection {selection} needs at least {needed}; add speakers"
        )
    circle = [speakers[i] for i in np.random.default_rng(seed).permutation(len(speakers))]
    folds = []
    for speaker in speakers:
        partners = _partners(corpus, speaker)
        if selection == "test_fold":
            validation: tuple[str, ...] = ()
        elif partners:
            validation = partners[:1]
        else:
            validation = (circle[(circle.index(speaker) + 1) % len(circle)],)
        folds.append(_fold(corpus, speaker, validation, tuple(p for p in partners if p not in validation), selection))
    return folds


def _partners(corpus: Corpus, speaker: str) -> tuple[str, ...]:
    """Other speakers of this speaker's sessions, where every session is a small group of speakers who appear nowhere else.

    Not for prefix speakers: those reproduce the released code, in which the partner is trained on.
    """
    clips = corpus.clips
    if corpus.optimistic or clips["session"].nunique() < 2:
        return ()
    per_speaker = clips.groupby("speaker")["session"].nunique()
    if per_speaker.max() > 1:
        return ()
    # a clip whose session is unknown frees nobody: the other speakers of known sessions are still partners
    sessions = clips.loc[clips["speaker"] == speaker, "session"].dropna()
    return tuple(sorted(set(clips.loc[clips["session"].isin(sessions), "speaker"]) - {speaker}))


def _fold(corpus: Corpus, test: str, validation: tuple[str, ...], removed: tuple[str, ...], selection: str) -> Fold:
    train = tuple(s for s in corpus.speakers if s != test and s not in validation and s not in removed)

    def clips_of(speakers: Sequence[str]) -> tuple[str, ...]:
        return tuple(corpus.clips.index[corpus.clips["speaker"].isin(list(speakers))])

    fold = Fold(
        name=test,
        train_speakers=train,
        validation_speakers=validation,
        test_speakers=(test,),
        removed_speakers=removed,
        train=clips_of(train),
        validation=clips_of(validation),
        test=clips_of((test,)),
        selection=selection,
        optimistic=(*corpus.optimistic, *((TEST_FOLD_LEAK,) if selection == "test_fold" else ())),
        notes=tuple(
            f"fold {test}: validation speaker {', '.join(validation)} has no clip of class {name}"
            for name in (corpus.classes if validation else ())
            if not ((corpus.clips["emotion"] == name) & corpus.clips["speaker"].isin(list(validation))).any()
        ),
    )
    check_fold(fold, corpus)
    return fold


def check_fold(fold: Fold, corpus: Corpus) -> None:
    """Raise `LorascopeError` where a speaker or a clip is in two parts or in one that doesn't name the speaker, or the training part is empty or lacks a class."""
    parts = {part: set(getattr(fold, part)) for part in ("train", "validation", "test")}
    speakers = {part: set(corpus.clips.loc[sorted(ids), "speaker"]) for part, ids in parts.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = speakers[one] & speakers[other]
        if shared or parts[one] & parts[other]:
            raise LorascopeError(
                f"fold {fold.name}: speaker {', '.join(sorted(shared))} is both in {one} and in {other}; results would leak: check the speaker column"
            )
    for part, found in speakers.items():
        if wrong := found ^ set(getattr(fold, f"{part}_speakers")):
            raise LorascopeError(
                f"fold {fold.name}: the clips of {part} are not those of its speakers ({', '.join(sorted(wrong))}); make the fold anew with make_folds"
            )
    if not fold.train_speakers:
        raise LorascopeError(f"fold {fold.name}: nobody is left to train on; add speakers")
    present = set(corpus.clips.loc[list(fold.train), "emotion"])
    for name in corpus.classes:
        if name not in present:
            raise LorascopeError(
                f"fold {fold.name}: no training clip of class {name}; take the class out of corpus.classes or add clips of other speakers"
            )


def sample_clips(corpus: Corpus, fold: Fold, per_class: int = 25, seed: int = 42) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Clips of a fold's held-out speakers (test and validation) for the analyses; see `sample_from`."""
    return sample_from(corpus, [*fold.test, *fold.validation], per_class, seed)


def sample_from(corpus: Corpus, ids: Sequence[str], per_class: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Up to `per_class` clips a class, spread over speakers as evenly as they allow, at random within a speaker.

    Returns the clips (columns clip, speaker, emotion) and, a row a class, how many were available and taken (emotion, available, taken).
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
    return sample, pd.DataFrame(counts, columns=["emotion", "available", "taken"])
