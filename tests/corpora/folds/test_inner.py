"""Inner folds: every training speaker is held out once, whole, and nobody else."""

import pytest

from lorascope.corpora import make_folds
from lorascope.corpora.folds.folds import INNER

from ..refusals import refused
from .test_folds import corpus_of, random_corpus


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sessions", [False, True])
def test_every_training_speaker_is_held_out_once_and_whole(seed, sessions):
    corpus = random_corpus(seed, 12, sessions)
    for fold in make_folds(corpus, selection="inner_folds", seed=seed):
        assert len(fold.inner) == INNER and not fold.validation and not fold.optimistic
        held = [clip for inner in fold.inner for clip in inner]
        assert sorted(held) == sorted(fold.train)
        groups = [set(corpus.clips.loc[list(inner), "speaker"]) for inner in fold.inner]
        assert sum(map(len, groups)) == len(set().union(*groups)) == len(fold.train_speakers)
        if sessions:
            of = [set(corpus.clips.loc[list(inner), "session"]) for inner in fold.inner]
            assert sum(map(len, of)) == len(set().union(*of))
        sizes = [len(inner) for inner in fold.inner]
        assert max(sizes) < 0.6 * sum(sizes)


def test_groups_of_a_column_are_held_out_together_and_others_trained_on():
    corpus = random_corpus(1, 9)
    table = corpus.clips.assign(room=corpus.clips["speaker"].map(lambda name: f"room {int(name[1:]) % 4}"))
    table.loc[table["speaker"] == table["speaker"].iloc[0], "speaker"] = "unknown"
    corpus = corpus_of(table.drop(columns="path"))
    folds = make_folds(corpus, "speaker_groups", "inner_folds", groups=2, inner=2, group_by="room")
    for fold in folds:
        rooms = [set(corpus.clips.loc[list(inner), "room"]) for inner in fold.inner]
        assert not rooms[0] & rooms[1]
        assert "unknown" not in set(corpus.clips.loc[[c for inner in fold.inner for c in inner], "speaker"])


def test_too_few_speakers_or_a_class_that_one_speaker_alone_has_are_refused():
    corpus = random_corpus(0, 4)
    refused(
        lambda: make_folds(corpus, selection="inner_folds"),
        "trains on 3 speakers who can be parted, too few for 4 inner folds",
    )
    clips = corpus.clips.drop(columns="path")
    two = sorted(set(clips["speaker"]))[:2]
    clips = clips[(clips["emotion"] != "anger") | clips["speaker"].isin(two)]
    refused(
        lambda: make_folds(corpus_of(clips), selection="inner_folds", inner=3), "would train without the class anger"
    )
