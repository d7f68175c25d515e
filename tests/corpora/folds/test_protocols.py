"""Every protocol on any corpus: whole speakers, each tested once where that is promised, nobody unknown, the same
seed the same folds; then what is each one's own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorascope.corpora import Corpus, Fold, load_corpus, make_folds
from lorascope.corpora.corpus import UNKNOWN_SPEAKER
from lorascope.corpora.folds.folds import PROTOCOLS, check_fold

from ..conftest import real_corpus
from ..refusals import refused
from .test_folds import CLASSES, PARTS, SELECTIONS, corpus_of, random_corpus, speakers_in

#: Those for one corpus; `cross_corpus` is tested with the joining of two.
ONE_CORPUS = [name for name in PROTOCOLS if name != "cross_corpus"]
SPLITS = ("train", "train", "train", "development", "test1", "test2")


def any_corpus(seed: int, unknown: bool = False, sessions: bool = True) -> Corpus:
    """Speakers in pairs that share a session, each session in one split; `unknown` makes one more speaker unknown,
    whose clips are everywhere.
    """
    table = random_corpus(seed, speakers=16, sessions=True).clips[["speaker", "emotion", "session"]]
    days = table["session"].unique()
    split = {day: SPLITS[place % len(SPLITS)] for place, day in enumerate(days)}
    table = table.assign(split=table["session"].map(split))
    if unknown:
        random = np.random.default_rng(seed)
        strangers = table.iloc[random.choice(len(table), 40, replace=False)].assign(speaker=UNKNOWN_SPEAKER)
        table = pd.concat([table, strangers])
    corpus = corpus_of(table)
    return corpus if sessions else replace(corpus, clips=corpus.clips.assign(session=pd.NA))


def folds_of(corpus: Corpus, protocol: str, **settings) -> list[Fold]:
    group_by = "session" if protocol == "leave_one_group_out" else None
    return make_folds(
        corpus, protocol, groups=4 if protocol == "speaker_groups" else None, group_by=group_by, **settings
    )


# all of them


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("protocol", ONE_CORPUS)
@pytest.mark.parametrize("seed", range(3))
def test_speakers_are_whole_and_clips_tested_once(seed: int, protocol: str, selection: str, unknown: bool) -> None:
    corpus = any_corpus(seed, unknown)
    folds = folds_of(corpus, protocol, selection=selection, seed=seed)
    known = corpus.clips[corpus.clips["speaker"] != UNKNOWN_SPEAKER]
    session = known.groupby("speaker")["session"].first()
    for fold in folds:
        train, validation, test = (speakers_in(corpus, fold, part) for part in PARTS)
        assert len(train) + len(validation) + len(test) == len(train | validation | test) and train and test
        assert bool(validation) == (selection == "validation_speaker")
        # nobody's dialogue partner is trained on either
        assert not set(session[list(test)]) & set(session[list(train - {UNKNOWN_SPEAKER})])
        assert UNKNOWN_SPEAKER not in validation | test and (UNKNOWN_SPEAKER in train) == (
            unknown and protocol == "official_split"
        )
        assert set(fold.removed_speakers) == set(corpus.speakers) - train - validation - test
        assert any("unknown speakers" in note for note in fold.notes) == unknown
    tested = [clip for fold in folds for clip in fold.test]
    promised = known[known["split"].str.startswith("test")] if protocol == "official_split" else known
    assert sorted(tested) == sorted(promised.index)
    assert len({fold.name for fold in folds}) == len(folds)


@pytest.mark.parametrize("protocol", ONE_CORPUS)
def test_the_same_seed_deals_the_same_folds(protocol: str) -> None:
    corpus = any_corpus(1, sessions=protocol in ("leave_one_session_out", "leave_one_group_out"))
    if protocol == "official_split":
        # only where nothing chooses the validation part is it drawn
        corpus = replace(corpus, clips=corpus.clips[corpus.clips["split"] != "development"])
    turned = replace(corpus, clips=corpus.clips.sample(frac=1, random_state=0).sort_index())
    assert (
        folds_of(corpus, protocol, seed=3) == folds_of(corpus, protocol, seed=3) == folds_of(turned, protocol, seed=3)
    )
    drawn = {tuple(fold.validation_speakers for fold in folds_of(corpus, protocol, seed=seed)) for seed in range(5)}
    assert len(drawn) > 1


def test_a_part_with_clips_of_unknown_speakers_is_refused() -> None:
    corpus = any_corpus(0, unknown=True)
    fold = make_folds(corpus)[0]
    strangers = tuple(corpus.clips.index[corpus.clips["speaker"] == UNKNOWN_SPEAKER])
    tested = replace(fold, test=strangers, test_speakers=(UNKNOWN_SPEAKER,))
    refused(lambda: check_fold(tested, corpus), f"fold {fold.name}", "test has clips of unknown speakers", "leave them")


@pytest.mark.parametrize("part", ["test", "validation"])
def test_an_empty_part_is_refused(part: str) -> None:
    corpus = any_corpus(0)
    fold = make_folds(corpus)[0]
    refused(
        lambda: check_fold(replace(fold, **{part: (), f"{part}_speakers": ()}), corpus),
        f"fold {fold.name}",
        "no clip to",
    )


# sessions


def test_a_session_is_tested_whole_and_another_validates_whole() -> None:
    corpus = any_corpus(2)
    folds = make_folds(corpus, "leave_one_session_out")
    by_session = corpus.clips.groupby("session")
    assert [fold.name for fold in folds] == sorted(by_session.groups)
    validating = [corpus.clips.loc[fold.validation[0], "session"] for fold in folds]
    assert sorted(validating) == sorted(by_session.groups)
    for fold, other in zip(folds, validating, strict=True):
        assert list(fold.test) == list(by_session.get_group(fold.name).index) and other != fold.name
        assert list(fold.validation) == list(by_session.get_group(other).index)
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(corpus.clips)


def test_iemocap_has_five_folds_of_a_session_each(release: Path) -> None:
    corpus = load_corpus("iemocap", release)
    folds = make_folds(corpus, "leave_one_session_out")
    assert [fold.name for fold in folds] == ["1", "2", "3", "4", "5"]
    assert [fold.test_speakers for fold in folds] == [(f"Ses0{n}F", f"Ses0{n}M") for n in range(1, 6)]
    assert all(len(fold.train_speakers) == 6 and len(fold.validation_speakers) == 2 for fold in folds)


def test_a_speaker_in_several_sessions_is_refused() -> None:
    rows = [(speaker, emotion, day) for speaker in "abcd" for day in "123" for emotion in CLASSES]
    corpus = corpus_of(pd.DataFrame(rows, columns=["speaker", "emotion", "session"]))
    refused(lambda: make_folds(corpus, "leave_one_session_out"), "speaker a", "3 sessions", "leave_one_speaker_out")


def test_clips_without_a_session_are_counted_and_in_no_part() -> None:
    corpus = any_corpus(3)
    some = corpus.clips.index[::7]
    corpus.clips.loc[some, "session"] = pd.NA
    for fold in make_folds(corpus, "leave_one_session_out"):
        assert not {*fold.train, *fold.validation, *fold.test} & set(some)
        assert f"{len(some)} clips without a session are in no part" in fold.notes


def test_a_corpus_without_sessions_is_refused() -> None:
    refused(lambda: make_folds(random_corpus(0), "leave_one_session_out"), "0 sessions", "at least 3", "add sessions")


# groups


def test_as_many_groups_as_speakers_is_leave_one_speaker_out() -> None:
    corpus = random_corpus(5, speakers=6)
    groups = make_folds(corpus, "speaker_groups", groups=6)
    assert {fold.test for fold in groups} == {fold.test for fold in make_folds(corpus)}


@pytest.mark.parametrize("groups", [3, 5])
def test_the_next_group_validates(groups: int) -> None:
    folds = make_folds(random_corpus(5, speakers=11), "speaker_groups", groups=groups)
    assert [fold.name for fold in folds] == [f"group-{number}" for number in range(1, groups + 1)]
    assert [fold.validation for fold in folds] == [fold.test for fold in (*folds[1:], folds[0])]


def test_groups_are_more_even_than_chance() -> None:
    dealt, chance = [], []
    for seed in range(10):
        corpus = random_corpus(seed, speakers=20)
        counts = pd.crosstab(corpus.clips["speaker"], corpus.clips["emotion"], margins=True).iloc[:-1]
        folds = make_folds(corpus, "speaker_groups", groups=4, seed=seed)
        dealt.append(pd.DataFrame(counts.loc[list(fold.test_speakers)].sum() for fold in folds).std())
        random = np.random.default_rng(seed)
        for _ in range(20):
            fours = np.array_split(random.permutation(20), 4)
            chance.append(pd.DataFrame(counts.iloc[part].sum() for part in fours).std())
    ratio = pd.DataFrame(dealt).mean() / pd.DataFrame(chance).mean()
    # classes as far as whole speakers allow, all clips closely
    assert (ratio < 0.9).all() and ratio["All"] < 0.5


def test_groups_keep_the_speakers_of_a_session_together() -> None:
    corpus = any_corpus(4)
    session = corpus.clips.groupby("speaker")["session"].first()
    for fold in make_folds(corpus, "speaker_groups", groups=4):
        assert session[list(fold.test_speakers)].value_counts().eq(2).all()


@pytest.mark.parametrize(
    ("groups", "told"), [(None, "needs the number of groups"), (2, "give at least 3"), (7, "give fewer groups")]
)
def test_a_number_of_groups_that_cannot_be_is_refused(groups: int | None, told: str) -> None:
    corpus = random_corpus(0, speakers=6)
    refused(lambda: make_folds(corpus, "speaker_groups", groups=groups), "folds.groups", told)


def test_groups_of_the_real_ravdess() -> None:
    corpus = load_corpus("ravdess", real_corpus("ravdess"))
    folds = make_folds(corpus, "speaker_groups", groups=5)
    assert sorted(len(fold.test_speakers) for fold in folds) == [4, 5, 5, 5, 5]


# the corpus' own split


def test_each_test_part_is_a_fold_with_the_corpus_own_parts() -> None:
    corpus = any_corpus(0)
    part = corpus.clips["split"]
    folds = make_folds(corpus, "official_split")
    assert [fold.name for fold in folds] == ["test1", "test2"]
    for fold in folds:
        assert list(fold.test) == list(part.index[part == fold.name])
        assert list(fold.train) == list(part.index[part == "train"])
        assert list(fold.validation) == list(part.index[part == "development"])


def test_the_test_parts_can_be_named() -> None:
    corpus = any_corpus(0)
    (fold,) = make_folds(corpus, "official_split", test_splits=["Test2"])
    assert fold.name == "test2" and any("not tested" in note and "test1" in note for note in fold.notes)
    (other,) = make_folds(corpus, "official_split", test_splits=["development"])
    assert other.test == fold.validation and any("held out for validation" in note for note in other.notes)


def test_without_a_validation_part_a_fifth_of_the_training_speakers_validates() -> None:
    corpus = any_corpus(0, sessions=False)
    whole = make_folds(corpus, "official_split")[0]
    without = replace(corpus, clips=corpus.clips[corpus.clips["split"] != "development"])
    for fold in make_folds(without, "official_split"):
        assert len(fold.validation_speakers) == max(1, round(len(whole.train_speakers) / 5))
        assert {*fold.validation_speakers, *fold.train_speakers} == set(whole.train_speakers)
        assert any(f"of {len(whole.train_speakers)} training speakers are held out" in note for note in fold.notes)


def test_clips_of_unknown_speakers_stay_in_training_alone_and_are_counted() -> None:
    corpus = any_corpus(1, unknown=True)
    unknown = corpus.clips[corpus.clips["speaker"] == UNKNOWN_SPEAKER]["split"].value_counts()
    fold = make_folds(corpus, "official_split")[0]
    trained_on = corpus.clips.loc[list(fold.train), "speaker"] == UNKNOWN_SPEAKER
    assert trained_on.sum() == unknown["train"]
    assert f"{unknown['development']} clips of unknown speakers are left out of development" in fold.notes
    assert f"{unknown['test1']} clips of unknown speakers are left out of test1" in fold.notes


def test_a_test_part_of_unknown_speakers_alone_is_no_fold() -> None:
    corpus = any_corpus(1, unknown=True)
    strangers = (corpus.clips["split"] != "test2") | (corpus.clips["speaker"] == UNKNOWN_SPEAKER)
    only = replace(corpus, clips=corpus.clips[strangers])
    (fold,) = make_folds(only, "official_split")
    assert fold.name == "test1" and any("test2" in note for note in fold.notes)
    refused(lambda: make_folds(only, "official_split", test_splits=["test2"]), "'test2'", "unknown speakers")


def test_a_split_that_shares_speakers_is_refused() -> None:
    corpus = any_corpus(0)
    fold = make_folds(corpus, "official_split")[0]
    moved = corpus.clips["split"].copy()
    moved[fold.train[0]] = "test1"
    shared = replace(corpus, clips=corpus.clips.assign(split=moved))
    speaker = corpus.clips.loc[fold.train[0], "speaker"]
    refused(lambda: make_folds(shared, "official_split"), speaker, "training", "test1", "leave_one_speaker_out")


@pytest.mark.parametrize(
    ("names", "settings", "told"),
    [
        ({"test1": "held", "test2": "test"}, {}, "'held' is neither"),
        ({"test1": "train", "test2": "train"}, {}, "no test part"),
        ({}, {"test_splits": ["test3"]}, "no split 'test3' (did you mean 'test"),
        ({}, {"test_splits": ["train"]}, "'train' is the training part"),
        (dict.fromkeys(SPLITS, pd.NA), {}, "no clip has a split"),
    ],
)  # fmt: skip
def test_a_split_that_cannot_be_used_is_refused(names: dict[str, str], settings: dict, told: str) -> None:
    corpus = any_corpus(0)
    renamed = replace(corpus, clips=corpus.clips.assign(split=[names.get(s, s) for s in corpus.clips["split"]]))
    refused(lambda: make_folds(renamed, "official_split", **settings), told)
