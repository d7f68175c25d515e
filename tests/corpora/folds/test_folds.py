"""Folds: whole speakers, no partner in training, leaks only where asked for and then marked; the analysed sample."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorascope.corpora import Corpus, Fold, load_corpus, make_folds
from lorascope.corpora.folds.folds import TEST_FOLD_LEAK, check_fold, sample_clips, sample_from
from lorascope.corpora.readers.iemocap import PREFIX_LEAK

from ..conftest import real_corpus
from ..refusals import refused

CLASSES = ("anger", "happiness", "neutrality", "sadness")
SELECTIONS = ("validation_speaker", "test_fold")
PARTS = ("train", "validation", "test")


def corpus_of(table: pd.DataFrame, classes: tuple[str, ...] = CLASSES, **marks) -> Corpus:
    """A corpus of a table with columns speaker, emotion and perhaps session; folds read no files."""
    clips = table.assign(path="x.wav", session=table.get("session", pd.NA))
    clips.index = pd.Index([f"clip{number:04d}" for number in range(len(clips))], name="id")
    return Corpus("made", clips, classes, pd.DataFrame(columns=["reason", "clips"]), **marks)


def random_corpus(seed: int, speakers: int | None = None, sessions: bool = False) -> Corpus:
    """Speakers with different numbers of clips, at least one a class; with `sessions` two speakers share each."""
    random = np.random.default_rng(seed)
    count = speakers or int(random.integers(4, 12)) * (2 if sessions else 1)
    names = [f"s{number}" for number in random.permutation(100)[:count]]
    rows = []
    for place, name in enumerate(names):
        for emotion in CLASSES:
            session = {"session": f"day {place // 2}"} if sessions else {}
            rows += [{"speaker": name, "emotion": emotion, **session}] * int(random.integers(1, 9))
    return corpus_of(pd.DataFrame(rows).sample(frac=1, random_state=seed))


def speakers_in(corpus: Corpus, fold: Fold, part: str) -> set[str]:
    return set(corpus.clips.loc[list(getattr(fold, part)), "speaker"])


# any corpus


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("sessions", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_no_speaker_is_in_two_parts_and_no_clip_is_lost(seed: int, sessions: bool, selection: str) -> None:
    corpus = random_corpus(seed, sessions=sessions)
    folds = make_folds(corpus, selection=selection, seed=seed)
    assert [fold.name for fold in folds] == list(corpus.speakers)
    for fold in folds:
        parts = [speakers_in(corpus, fold, part) for part in PARTS]
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert [set(getattr(fold, f"{part}_speakers")) for part in PARTS] == parts
        assert parts[2] == {fold.name} and set.union(*parts, set(fold.removed_speakers)) == set(corpus.speakers)
        clips = [*fold.train, *fold.validation, *fold.test]
        removed = corpus.clips["speaker"].isin(fold.removed_speakers)
        assert sorted(clips) == sorted(corpus.clips.index[~removed])


@pytest.mark.parametrize("seed", range(6))
def test_each_speaker_validates_once_where_there_are_no_sessions(seed: int) -> None:
    corpus = random_corpus(seed)
    folds = make_folds(corpus, seed=seed)
    validating = Counter(fold.validation_speakers for fold in folds)
    assert validating == Counter((speaker,) for speaker in corpus.speakers)
    assert all(fold.removed_speakers == () and fold.optimistic == () for fold in folds)


def test_the_seed_draws_the_validation_speakers() -> None:
    corpus = random_corpus(1, speakers=10)
    drawn = {tuple(fold.validation_speakers for fold in make_folds(corpus, seed=seed)) for seed in range(5)}
    assert len(drawn) > 1
    assert make_folds(corpus, seed=3) == make_folds(corpus, seed=3)


def test_the_order_of_rows_decides_nothing() -> None:
    corpus = random_corpus(2)
    turned = replace(corpus, clips=corpus.clips.sample(frac=1, random_state=0).sort_index())
    assert make_folds(turned) == make_folds(corpus)


@pytest.mark.parametrize("sessions", [False, True])
def test_choosing_on_the_test_fold_is_marked_and_holds_nobody_out(sessions: bool) -> None:
    corpus = random_corpus(3, sessions=sessions)
    for fold in make_folds(corpus, selection="test_fold"):
        assert fold.validation == fold.validation_speakers == () and fold.selection == "test_fold"
        assert fold.optimistic == (TEST_FOLD_LEAK,)
        assert len(fold.removed_speakers) == sessions


def test_three_speakers_are_enough_and_two_are_not() -> None:
    assert len(make_folds(random_corpus(0, speakers=3))) == 3
    two = random_corpus(0, speakers=2)
    refused(lambda: make_folds(two), "made: 2 speakers", "at least 3", "add speakers")
    assert len(make_folds(two, selection="test_fold")) == 2


@pytest.mark.parametrize(("setting", "value"), [("protocol", "leave_two_out"), ("selection", "validation")])
def test_an_unknown_setting_is_refused(setting: str, value: str) -> None:
    refused(lambda: make_folds(random_corpus(0), **{setting: value}), f"folds.{setting}", repr(value), "use ")


def test_a_training_part_without_a_class_is_refused() -> None:
    table = random_corpus(0, speakers=4).clips[["speaker", "emotion"]]
    only = table["speaker"].iloc[0]
    alone = table[(table["emotion"] != "anger") | (table["speaker"] == only)]
    refused(lambda: make_folds(corpus_of(alone)), f"fold {only}", "no training clip of class anger", "corpus.classes")


def test_a_validation_speaker_without_a_class_is_noted() -> None:
    table = random_corpus(0, speakers=5).clips[["speaker", "emotion"]]
    without = sorted(table["speaker"].unique())[0]
    folds = make_folds(corpus_of(table[(table["emotion"] != "anger") | (table["speaker"] != without)]))
    for fold in folds:
        noted = [note for note in fold.notes if without in note and "anger" in note]
        assert len(fold.notes) == len(noted) == (fold.validation_speakers == (without,))


# sessions


@pytest.mark.parametrize("seed", range(3))
def test_the_partner_of_a_session_validates_and_is_never_trained_on(seed: int) -> None:
    corpus = random_corpus(seed, sessions=True)
    session = corpus.clips.groupby("speaker")["session"].first()
    for fold in make_folds(corpus):
        (validating,) = fold.validation_speakers
        assert session[validating] == session[fold.name] and validating != fold.name
        assert session[fold.name] not in set(session[list(fold.train_speakers)])


def test_sessions_of_three_lose_their_third() -> None:
    rows = [(f"{session}{letter}", emotion, session) for session in "12" for letter in "abc" for emotion in CLASSES]
    corpus = corpus_of(pd.DataFrame(rows, columns=["speaker", "emotion", "session"]))
    fold = make_folds(corpus)[0]
    assert (fold.test_speakers, fold.validation_speakers, fold.removed_speakers) == (("1a",), ("1b",), ("1c",))
    assert fold.train_speakers == ("2a", "2b", "2c")


def test_sessions_that_speakers_move_between_pair_nobody() -> None:
    rows = [(speaker, emotion, day) for speaker in "abcd" for day in "12" for emotion in CLASSES]
    folds = make_folds(corpus_of(pd.DataFrame(rows, columns=["speaker", "emotion", "session"])))
    assert all(len(fold.train_speakers) == 2 and not fold.removed_speakers for fold in folds)


def test_a_session_left_empty_somewhere_frees_no_other_partner() -> None:
    table = random_corpus(0, sessions=True).clips[["speaker", "emotion", "session"]]
    partner = table.groupby("session")["speaker"].unique()
    some = partner["day 1"][0]
    unknown = table.assign(session=table["session"].where(table["speaker"] != some))
    folds = {fold.name: fold for fold in make_folds(corpus_of(unknown))}
    one, other = partner["day 0"]
    assert other not in folds[one].train_speakers and one not in folds[other].train_speakers
    assert folds[some].validation_speakers


# IEMOCAP


@pytest.mark.parametrize("selection", SELECTIONS)
def test_in_iemocaps_ten_folds_the_partner_is_never_in_training(release: Path, selection: str) -> None:
    corpus = load_corpus("iemocap", release)
    folds = make_folds(corpus, selection=selection)
    assert [fold.name for fold in folds] == [f"Ses0{session}{letter}" for session in range(1, 6) for letter in "FM"]
    for fold in folds:
        partner = fold.name[:5] + {"F": "M", "M": "F"}[fold.name[5]]
        # the true speakers, by the clips' own names and not by the corpus' table
        trained_on = {f"{clip[:5]}{clip.rpartition('_')[2][0]}" for clip in fold.train}
        assert len(trained_on) == 8 and not trained_on & {fold.name, partner}
        if selection == "validation_speaker":
            assert fold.validation_speakers == (partner,) and fold.optimistic == ()
        else:
            assert (
                fold.removed_speakers == (partner,) and fold.validation == () and fold.optimistic == (TEST_FOLD_LEAK,)
            )


@pytest.mark.parametrize("selection", SELECTIONS)
def test_prefix_speakers_leak_as_the_released_code_does(release: Path, selection: str) -> None:
    corpus = load_corpus("iemocap", release, speakers="prefix")
    folds = make_folds(corpus, selection=selection)
    for fold in folds:
        assert PREFIX_LEAK in fold.optimistic and (TEST_FOLD_LEAK in fold.optimistic) == (selection == "test_fold")
        assert fold.removed_speakers == ()
        true = {part: {(clip[4], clip.rpartition("_")[2][0]) for clip in getattr(fold, part)} for part in PARTS}
        # the test speakers are those of the session, whose other prefix is trained on unless it happens to validate
        other = fold.name[:5] + {"F": "M", "M": "F"}[fold.name[5]]
        assert len(true["test"]) == 2
        assert true["test"] <= true["validation" if fold.validation_speakers == (other,) else "train"]


def test_true_speakers_do_not_leak(release: Path) -> None:
    for fold in make_folds(load_corpus("iemocap", release)):
        true = [{(clip[4], clip.rpartition("_")[2][0]) for clip in getattr(fold, part)} for part in PARTS]
        assert sum(map(len, true)) == len(set.union(*true)) == 10


# the check


@pytest.mark.parametrize(("one", "other"), [("train", "validation"), ("train", "test"), ("validation", "test")])
def test_a_speaker_in_two_parts_is_refused(one: str, other: str) -> None:
    corpus = random_corpus(4, speakers=6)
    fold = make_folds(corpus)[0]
    check_fold(fold, corpus)
    leaked, *stay = getattr(fold, one)
    speaker = corpus.clips.loc[leaked, "speaker"]
    moved = replace(fold, **{one: tuple(stay), other: (*getattr(fold, other), leaked)})
    refused(
        lambda: check_fold(moved, corpus), f"fold {fold.name}", f"speaker {speaker}", f"both in {one} and in {other}"
    )


def test_a_clip_in_two_parts_is_refused() -> None:
    corpus = random_corpus(4, speakers=6)
    fold = make_folds(corpus)[0]
    refused(lambda: check_fold(replace(fold, train=(*fold.train, fold.test[0])), corpus), "both in train and in test")


def test_a_removed_speaker_in_a_part_is_refused() -> None:
    corpus = random_corpus(4, sessions=True)
    fold = make_folds(corpus, selection="test_fold")[0]
    theirs = tuple(corpus.clips.index[corpus.clips["speaker"].isin(fold.removed_speakers)])
    moved = replace(fold, train=(*fold.train, *theirs))
    refused(lambda: check_fold(moved, corpus), f"fold {fold.name}", fold.removed_speakers[0], "train")


def test_nobody_left_to_train_on_is_refused() -> None:
    corpus = random_corpus(0, speakers=4)
    everyone = [
        {"speaker": s, "emotion": e, "session": x} for s, x in zip("abcd", "1122", strict=True) for e in CLASSES
    ]
    pairs = corpus_of(pd.DataFrame(everyone))
    fold = make_folds(pairs)[0]
    refused(lambda: check_fold(replace(fold, train=(), train_speakers=()), corpus=pairs), "nobody is left to train on")
    assert len(make_folds(corpus)) == 4


# the analysed sample


@pytest.mark.parametrize("per_class", [1, 3, 25, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_a_sample_takes_what_there_is_and_counts_it(seed: int, per_class: int) -> None:
    corpus = random_corpus(seed)
    ids = list(corpus.clips.index[::2])
    sample, counts = sample_from(corpus, ids, per_class, seed)
    available = corpus.clips.loc[ids, "emotion"].value_counts()
    assert set(sample["clip"]) <= set(ids) and sample["clip"].is_unique
    assert counts["emotion"].tolist() == list(corpus.classes)
    assert counts["available"].tolist() == [available.get(name, 0) for name in corpus.classes]
    assert counts["taken"].tolist() == [min(per_class, available.get(name, 0)) for name in corpus.classes]
    assert sample["emotion"].value_counts().reindex(corpus.classes, fill_value=0).tolist() == counts["taken"].tolist()
    assert (sample.set_index("clip")["speaker"] == corpus.clips.loc[sample["clip"], "speaker"]).all()
    assert (sample.set_index("clip")["emotion"] == corpus.clips.loc[sample["clip"], "emotion"]).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_as_even_over_speakers_as_they_allow(seed: int) -> None:
    corpus = random_corpus(seed, speakers=5)
    sample, _ = sample_from(corpus, list(corpus.clips.index), 11, seed)
    has = corpus.clips.groupby(["emotion", "speaker"]).size()
    taken = sample.groupby(["emotion", "speaker"]).size().reindex(has.index, fill_value=0)
    for emotion in corpus.classes:
        unspent = taken[emotion][taken[emotion] < has[emotion]]
        # whoever has clips left has given at least as many as anybody, but for the last round
        assert unspent.empty or unspent.min() >= taken[emotion].max() - 1


def test_a_sample_is_seeded() -> None:
    corpus = random_corpus(0, speakers=8)
    ids = list(corpus.clips.index)
    first, _ = sample_from(corpus, ids, 5, seed=1)
    assert first.equals(sample_from(corpus, ids, 5, seed=1)[0])
    assert not first.equals(sample_from(corpus, ids, 5, seed=2)[0])


def test_the_last_round_favours_nobody() -> None:
    rows = [(speaker, emotion) for speaker in "abcd" for emotion in CLASSES for _ in range(3)]
    corpus = corpus_of(pd.DataFrame(rows, columns=["speaker", "emotion"]))
    drawn = Counter(
        speaker
        for seed in range(60)
        for speaker in sample_from(corpus, list(corpus.clips.index), 1, seed)[0]["speaker"]
    )
    # 240 draws over 4 speakers: 60 each, standard deviation 6.7
    assert all(30 < drawn[speaker] < 90 for speaker in "abcd")


def test_the_analysed_clips_are_of_held_out_speakers(release: Path) -> None:
    corpus = load_corpus("iemocap", release)
    fold = make_folds(corpus)[3]
    sample, counts = sample_clips(corpus, fold, per_class=25)
    assert set(sample["speaker"]) == {*fold.test_speakers, *fold.validation_speakers}
    assert counts["available"].tolist() == counts["taken"].tolist() == [4, 4, 4, 4]


def test_folds_of_the_real_emodb() -> None:
    corpus = load_corpus("emodb", real_corpus("emodb"))
    folds = make_folds(corpus)
    assert len(folds) == 10 and all(len(fold.train_speakers) == 8 for fold in folds)
    assert sum(len(fold.test) for fold in folds) == sum(len(fold.validation) for fold in folds) == len(corpus.clips)
