"""The protocols whose test part is given: the corpus' own split, and a corpus of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ...errors import LorascopeError
from ..corpus import UNKNOWN_SPEAKER, Corpus
from ..labels import suggestion
from .dealing import Choices, Parts, groups_of, inseparable, of_ids, speakers_are_classes, unknown_note

#: What corpora call the parts of their own split; all that begins with "test" is a test part.
TRAIN, VALIDATION = ("train", "training"), ("validation", "valid", "val", "development", "dev", "evaluation", "eval")


def official_split(corpus: Corpus, choices: Choices) -> list[Parts]:
    """The corpus' own split (column `split`), one fold a test part; `test_splits` names the test parts, by default
    all that begin with "test".

    Without a validation part, about a fifth of the training speakers validates. Clips of unknown speakers are trained
    on where the corpus trains on them, and left out of the other parts. Raises `LorascopeError` where there is no
    split, a part has an unknown name or no clip of a known speaker, or parts share a speaker.
    """
    part = corpus.clips["split"].map(lambda name: str(name).strip().lower(), na_action="ignore")
    names = sorted(part.dropna().unique())
    if not names:
        raise LorascopeError(
            f"{corpus.name}: no clip has a split; folds.protocol official_split needs the column split"
        )
    unknown = corpus.clips["speaker"] == UNKNOWN_SPEAKER
    tests = _test_parts(corpus, part[~unknown], names, choices.test_splits)
    rest = [name for name in names if name not in tests]
    for name in rest:
        if not name.startswith("test") and name not in (*TRAIN, *VALIDATION):
            raise LorascopeError(
                f"{corpus.name}: split {name!r} is neither training, validation nor test; name it in "
                "folds.test_splits, or rename it"
            )
    train, official = part.isin(TRAIN), part.isin([name for name in rest if name in VALIDATION]) & ~unknown
    notes = []
    if choices.group_by is not None and (train & unknown).any():
        # their groups may be those of another part
        notes.append(f"{int((train & unknown).sum())} training clips of unknown speakers are in no part")
        train = train & ~unknown
    if part.isna().any():
        notes.append(f"{int(part.isna().sum())} clips without a split are in no part")
    if (train & unknown).any():
        notes.append(
            f"{int((train & unknown).sum())} training clips are of unknown speakers, as the corpus' own split "
            "has it; nobody can say that none of them is tested"
        )
    for name in (*tests, *(name for name in rest if name in VALIDATION)):
        if out := int(((part == name) & unknown).sum()):
            notes.append(f"{out} clips of unknown speakers are left out of {name}")
    if unused := [name for name in rest if name.startswith("test")]:
        notes.append(f"test parts that are not tested (folds.test_splits, or no known speaker): {', '.join(unused)}")
    if not official.any():
        train, official, told = _hold_out(corpus, train, choices)
        notes += told
    elif not choices.validate:
        notes.append(f"the corpus' own validation part ({int(official.sum())} clips) is not used (folds.selection)")
    validation = official if choices.validate else official & False
    index, parts = corpus.clips.index, []
    for name in tests:
        test = (part == name) & ~unknown
        parted = {"training": train, "validation": validation, name: test}
        if not speakers_are_classes(corpus):
            _refuse_shared(corpus, corpus.clips["speaker"], "speaker", parted)
        if choices.group_by is not None:
            _refuse_shared(corpus, groups_of(corpus, choices.group_by), choices.group_by, parted)
        parts.append(of_ids(corpus, name, index[train], index[validation], index[test], notes))
    return parts


def cross_corpus(corpus: Corpus, choices: Choices) -> list[Parts]:
    """One fold: all speakers of the second of two joined corpora are tested; about a fifth of the first's validates,
    the others are trained on.

    Clips of the first corpus' unknown speakers are in no part. Raises `LorascopeError` where the
    corpus is not a joined one.
    """
    if not corpus.parts:
        raise LorascopeError("folds.protocol: cross_corpus needs a second corpus; add the section test_corpus")
    trained, tested = corpus.parts
    of, index = corpus.clips["corpus"], corpus.clips.index
    unknown = corpus.clips["speaker"] == UNKNOWN_SPEAKER
    train, validation, notes = _hold_out(corpus, (of == trained) & ~unknown, choices)
    notes += unknown_note(corpus)
    return [of_ids(corpus, f"{trained}-to-{tested}", index[train], index[validation], index[of == tested], notes)]


def _refuse_shared(corpus: Corpus, keys: pd.Series, what: str, parts: dict[str, pd.Series]) -> None:
    found = {name: set(keys[inside].dropna()) for name, inside in parts.items()}
    for (one, ours), (other, theirs) in combinations(found.items(), 2):
        if shared := sorted(ours & theirs):
            raise LorascopeError(
                f"{corpus.name}: its own split has {what} {shared[0]} ({len(shared)} in all) both in {one} and "
                f"in {other}; results would leak: use folds.protocol leave_one_speaker_out or speaker_groups"
            )


def _test_parts(corpus: Corpus, part: pd.Series, names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The test parts among the names of a split; `part` is that of the clips of known speakers."""
    known = set(part.dropna())
    asked = [name.strip().lower() for name in wanted]
    for name in asked:
        if name not in names:
            raise LorascopeError(f"folds.test_splits: {corpus.name} has no split {name!r}{suggestion(name, names)}")
        if name in TRAIN:
            raise LorascopeError(f"folds.test_splits: {name!r} is the training part; name others")
        if name not in known:
            raise LorascopeError(
                f"folds.test_splits: all clips of {name!r} are of unknown speakers, who may be trained on; take it out"
            )
    tests = asked or [name for name in names if name.startswith("test") and name in known]
    if not tests:
        raise LorascopeError(
            f"{corpus.name}: no test part with known speakers among its splits ({', '.join(names)}); name one "
            "in folds.test_splits"
        )
    return list(dict.fromkeys(tests))


def _hold_out(corpus: Corpus, train: pd.Series, choices: Choices) -> tuple[pd.Series, pd.Series, list[str]]:
    """Of the clips `train`, those still trained on, those of about a fifth of the speakers (at least one, sessions
    whole), and what to tell of it.
    """
    if not choices.validate:
        return train, train & False, []
    if speakers_are_classes(corpus):
        raise LorascopeError(
            f"{corpus.name}: its own split has no validation part, and no speaker can be held out where speakers are "
            "the classes; give folds.selection test_fold, or folds.protocol leave_one_group_out"
        )
    speakers = sorted(set(corpus.clips.loc[train, "speaker"]) - {UNKNOWN_SPEAKER})
    if len(speakers) < 2:
        raise LorascopeError(
            f"{corpus.name}: {len(speakers)} speakers to train on, and one must be held out for validation; add "
            "speakers, or give folds.selection test_fold"
        )
    units = inseparable(corpus, speakers, choices.group_by)
    held: list[str] = []
    for index in np.random.default_rng(choices.seed).permutation(len(units)):
        if not held or len(held) + len(units[index]) <= round(len(speakers) / 5):
            held += units[index]
    validation = train & corpus.clips["speaker"].isin(held)
    note = f"{len(held)} of {len(speakers)} training speakers are held out for validation (seed {choices.seed})"
    return train & ~validation, validation, [note]
