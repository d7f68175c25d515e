"""Folds by another column than speaker: no group on both sides, speakers never either; by speakers themselves, groups
alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lorascope.corpora import Corpus, Fold, load_corpus, make_folds
from lorascope.corpora.corpus import UNKNOWN_SPEAKER
from lorascope.corpora.folds.folds import check_fold
from lorascope.corpora.folds.joined import join
from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.experiment.planning import plan

from ...tiny import write_tone
from ..conftest import real_corpus
from ..refusals import refused
from .test_folds import CLASSES, PARTS, corpus_of

GROUPED = ("leave_one_group_out", "speaker_groups", "official_split")
SPLITS = {"site0": "train", "site1": "train", "site2": "train", "site3": "train", "site4": "test", "site5": "test"}


def sites(seed: int = 0) -> Corpus:
    """Eighteen speakers at six sites, three at each, and a few clips of unknown speakers everywhere."""
    random = np.random.default_rng(seed)
    rows = [
        (f"s{number:02d}", name, f"site{number % 6}")
        for number in range(18)
        for name in CLASSES
        for _ in range(random.integers(1, 5))
    ]
    rows += [(UNKNOWN_SPEAKER, name, f"site{number}") for number in range(6) for name in CLASSES]
    table = pd.DataFrame(rows, columns=["speaker", "emotion", "site"])
    return corpus_of(table.assign(split=table["site"].map(SPLITS)))


def by_site(corpus: Corpus, protocol: str, **settings) -> list[Fold]:
    groups = 3 if protocol == "speaker_groups" else None
    return make_folds(corpus, protocol, groups=groups, group_by="site", **settings)


def values(corpus: Corpus, fold: Fold, column: str) -> list[set]:
    return [set(corpus.clips.loc[list(getattr(fold, part)), column]) for part in PARTS]


@pytest.mark.parametrize("selection", ["validation_speaker", "test_fold"])
@pytest.mark.parametrize("protocol", GROUPED)
@pytest.mark.parametrize("seed", range(3))
def test_no_group_and_no_speaker_is_on_two_sides(seed: int, protocol: str, selection: str) -> None:
    corpus = sites(seed)
    folds = by_site(corpus, protocol, selection=selection, seed=seed)
    for fold in folds:
        for column in ("site", "speaker"):
            found = values(corpus, fold, column)
            assert sum(map(len, found)) == len(set.union(*found))
        assert bool(fold.validation) == (selection == "validation_speaker") and fold.group_by == "site"
    tested = sorted(clip for fold in folds for clip in fold.test)
    known = corpus.clips["speaker"] != UNKNOWN_SPEAKER
    promised = known & (corpus.clips["split"] == "test") if protocol == "official_split" else known
    assert tested == sorted(corpus.clips.index[promised])
    if protocol == "leave_one_group_out":
        assert [fold.name for fold in folds] == [f"site{number}" for number in range(6)]


def test_sessions_as_groups_are_the_protocol_of_sessions() -> None:
    corpus = sites()
    corpus = replace(corpus, clips=corpus.clips.assign(session=corpus.clips["site"]))
    own = make_folds(corpus, "leave_one_session_out", seed=3)
    assert own == make_folds(corpus, "leave_one_group_out", group_by="session", seed=3)


def test_a_second_corpus_is_validated_by_whole_groups() -> None:
    def at(place: str, corpus: Corpus) -> Corpus:
        paths = [f"{place}{number}.wav" for number in range(len(corpus.clips))]
        known = corpus.clips["speaker"] != UNKNOWN_SPEAKER
        moved = corpus.clips.assign(path=paths, site=place + corpus.clips["site"])[known]
        return replace(corpus, name=place, clips=moved)

    def joined(first: Corpus, second: Corpus) -> Corpus:
        both = pd.concat([c.clips.assign(corpus=c.name, speaker=c.name + c.clips["speaker"]) for c in (first, second)])
        both.index = pd.Index([f"c{number}" for number in range(len(both))], name="id")
        return replace(first, clips=both, parts=(first.name, second.name))

    corpus = joined(at("here", sites(1)), at("there", sites(2)))
    (fold,) = make_folds(corpus, "cross_corpus", group_by="site")
    train, validation, test = values(corpus, fold, "site")
    assert validation and not train & validation and not (train | validation) & test
    mixed = replace(corpus, clips=corpus.clips.assign(site="everywhere"))
    refused(lambda: make_folds(mixed, "cross_corpus", group_by="site"), "site everywhere", "both in")


@pytest.mark.parametrize("protocol", GROUPED)
def test_a_speaker_in_two_groups_is_refused(protocol: str) -> None:
    corpus = sites()
    theirs = corpus.clips.index[corpus.clips["speaker"] == "s00"]
    corpus.clips.loc[theirs[0], "site"] = "site5"
    refused(lambda: by_site(corpus, protocol), "s00", "2 groups by site", "without folds.group_by")


def test_a_group_on_two_sides_of_the_corpus_own_split_is_refused() -> None:
    corpus = sites()
    moved = corpus.clips["split"].mask(corpus.clips["speaker"] == "s00", "test")
    refused(
        lambda: by_site(replace(corpus, clips=corpus.clips.assign(split=moved)), "official_split"),
        "own split has site site0",
    )


def test_a_fold_made_by_hand_with_a_parted_group_is_refused() -> None:
    corpus = sites()
    fold = by_site(corpus, "leave_one_group_out", selection="test_fold")[0]
    both = replace(corpus, clips=corpus.clips.assign(site="one"))
    refused(lambda: check_fold(fold, both), "site one is both in train and in test")


def test_clips_without_a_group_are_counted_and_in_no_part() -> None:
    corpus = sites()
    some = corpus.clips.index[corpus.clips["speaker"] != UNKNOWN_SPEAKER][::9]
    corpus.clips.loc[some, "site"] = pd.NA
    for protocol in ("leave_one_group_out", "speaker_groups"):
        for fold in by_site(corpus, protocol):
            assert not {*fold.train, *fold.validation, *fold.test} & set(some)
            assert f"{len(some)} clips without a site are in no part" in fold.notes


def test_pairs_that_a_column_parts_are_told() -> None:
    corpus = sites()
    number = corpus.clips["speaker"].str[1:].where(corpus.clips["speaker"] != UNKNOWN_SPEAKER)
    paired = replace(corpus, clips=corpus.clips.assign(session=number.map(lambda n: f"d{int(n) // 2}", "ignore")))
    assert any("different groups by site" in note for note in by_site(paired, "leave_one_group_out")[0].notes)
    assert not any("different groups" in note for note in by_site(corpus, "leave_one_group_out")[0].notes)


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    refused(lambda: make_folds(sites(), "leave_one_group_out", group_by="sight"), "'sight'", "did you mean 'site'")
    refused(lambda: make_folds(sites(), "leave_one_speaker_out", group_by="site"), "leave_one_group_out")
    refused(lambda: make_folds(sites(), "leave_one_group_out"), "folds.group_by")


def speakers_as_classes(seed: int = 0) -> Corpus:
    random = np.random.default_rng(seed)
    rows = [(who, who, day) for who in ("ann", "bob") for day in "1234" for _ in range(random.integers(1, 4))]
    corpus = corpus_of(pd.DataFrame(rows, columns=["speaker", "emotion", "session"]), ("ann", "bob"))
    return replace(corpus, task="speaker")


def test_speakers_as_classes_are_in_all_parts_and_groups_alone_apart() -> None:
    corpus = speakers_as_classes()
    for protocol in ("leave_one_group_out", "speaker_groups"):
        groups = 3 if protocol == "speaker_groups" else None
        for fold in make_folds(corpus, protocol, groups=groups, group_by="session"):
            found = values(corpus, fold, "session")
            assert sum(map(len, found)) == len(set.union(*found))
            assert fold.train_speakers == fold.test_speakers == ("ann", "bob")
    refused(lambda: make_folds(corpus, "leave_one_speaker_out"), "classes of the task speaker", "folds.group_by")


def manifest(folder, rows: int = 3) -> dict:
    """Settings of a corpus of tones by a manifest with columns room and accent."""
    table = []
    for s, speaker in enumerate(("ann", "bob", "cy", "dan", "eve", "fay")):
        for take in range(rows):
            for label in ("yes", "no"):
                write_tone(folder / f"{speaker}-{label}-{take}.wav", 150 + 20 * s + 5 * take, seed=s)
                table.append((f"{speaker}-{label}-{take}.wav", speaker, label, f"room {s // 2}", "xy"[take % 2]))
    columns = ["path", "speaker", "label", "room", "accent"]
    pd.DataFrame(table, columns=columns).to_csv(folder / "manifest.csv", index=False)
    return {"reader": "csv", "root": str(folder / "manifest.csv"), "task": "keyword"}


def test_an_experiment_groups_by_any_column_of_a_manifest(tmp_path) -> None:
    settings = {
        "name": "rooms",
        "corpus": manifest(tmp_path),
        "backbone": {"name": "whisper-tiny.en"},
        "folds": {"group_by": "room"},
    }
    experiment = experiment_from(settings)
    assert experiment.folds.protocol == "leave_one_group_out"
    tested = {cell.fold.name: cell.fold.test_speakers for cell in plan(experiment)}
    assert tested == {"room 0": ("ann", "bob"), "room 1": ("cy", "dan"), "room 2": ("eve", "fay")}
    with pytest.raises(LorascopeError, match="leave_one_group_out needs a column"):
        experiment_from(settings | {"folds": {"protocol": "leave_one_group_out"}})
    with pytest.raises(LorascopeError, match="group_by is not of protocol"):
        experiment_from(settings | {"folds": {"protocol": "leave_one_speaker_out", "group_by": "room"}})


def test_a_manifest_column_may_be_the_task(tmp_path) -> None:
    corpus = load_corpus("csv", manifest(tmp_path)["root"], task="accent")
    assert corpus.classes == ("x", "y") and set(corpus.clips["room"]) == {"room 0", "room 1", "room 2"}


def test_joined_corpora_have_one_task(tmp_path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = (load_corpus("csv", manifest(tmp_path / name)["root"], task="keyword") for name in ("one", "two"))
    assert join(one, two).task == "keyword"
    refused(lambda: join(one, replace(two, task="accent")), "test_corpus.task")


def test_ravdess_statements_cannot_be_kept_apart_without_parting_speakers() -> None:
    corpus = load_corpus("ravdess", real_corpus("ravdess"))
    refused(lambda: make_folds(corpus, "leave_one_group_out", group_by="text"), "groups by text", "two parts")
    by_gender = make_folds(corpus, "leave_one_group_out", selection="test_fold", group_by="gender")
    assert [len(fold.test_speakers) for fold in by_gender] == [12, 12]
