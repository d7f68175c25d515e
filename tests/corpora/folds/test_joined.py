"""Two corpora as one: no name collides, the fold tests all of the second, what differs is told; and the
plan of such an experiment.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lorascope.corpora import Corpus, load_corpus, make_folds
from lorascope.corpora.corpus import UNKNOWN_SPEAKER
from lorascope.corpora.folds.folds import TEST_FOLD_LEAK
from lorascope.corpora.folds.joined import join
from lorascope.experiment.loading import dump_experiment, experiment_from, load_experiment
from lorascope.experiment.planning import describe, plan

from ..conftest import real_corpus
from ..refusals import refused
from ..trees import emodb_tree, ravdess_tree

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small trees of EmoDB and RAVDESS, one of whose sounds is at 48 kHz; not to be changed."""
    folder = tmp_path_factory.mktemp("both")
    return {"emodb": emodb_tree(folder / "emodb"), "ravdess": ravdess_tree(folder / "ravdess")}


@pytest.fixture
def both(roots: dict[str, Path]) -> tuple[Corpus, Corpus]:
    return load_corpus("emodb", roots["emodb"]), load_corpus("ravdess", roots["ravdess"])


def settings(roots: dict[str, Path], **changes) -> dict:
    data = {
        "name": "across",
        "corpus": {"reader": "emodb", "root": str(roots["emodb"])},
        "test_corpus": {"reader": "ravdess", "root": str(roots["ravdess"])},
        "backbone": {"name": "whisper-tiny.en"},
    }
    return data | changes


# joining


def test_every_clip_keeps_its_own_under_a_prefixed_name(both: tuple[Corpus, Corpus]) -> None:
    joined = join(*both)
    assert joined.name == "emodb-to-ravdess" and joined.parts == ("emodb", "ravdess")
    assert len(joined.clips) == sum(len(corpus.clips) for corpus in both) and joined.clips.index.is_unique
    for corpus in both:
        own = joined.clips[joined.clips["corpus"] == corpus.name]
        back = own.set_axis(own.index.str.removeprefix(f"{corpus.name}/"))
        assert set(own["speaker"]) == {f"{corpus.name}/{speaker}" for speaker in corpus.speakers}
        same = ["path", "emotion", "text", "gender", "language"]
        pd.testing.assert_frame_equal(back[same], corpus.clips[same], check_names=False)


def test_left_out_clips_are_told_of_each(both: tuple[Corpus, Corpus]) -> None:
    joined = join(*both)
    assert joined.left_out["clips"].sum() == sum(corpus.left_out["clips"].sum() for corpus in both)
    assert joined.left_out["reason"].str.startswith(("emodb: ", "ravdess: ")).all()


def test_sizes_languages_and_rates_are_told(both: tuple[Corpus, Corpus]) -> None:
    notes = join(*both).notes
    emodb, ravdess = both
    assert notes[0] == f"emodb: {len(emodb.clips)} clips of 4 speakers, language de, recorded at 16 kHz"
    assert notes[1] == f"ravdess: {len(ravdess.clips)} clips of 4 speakers, language en, recorded at 16 kHz, 48 kHz"
    assert any("languages differ:" in note for note in notes) and any("sample rates differ:" in note for note in notes)


def test_what_is_alike_is_not_said_to_differ(roots: dict[str, Path], tmp_path: Path) -> None:
    one, other = load_corpus("emodb", roots["emodb"]), load_corpus("emodb", emodb_tree(tmp_path))
    notes = join(one, other).notes
    assert not any("differ:" in note for note in notes)


def test_rates_are_read_from_headers_of_some_files_where_there_are_many(
    both: tuple[Corpus, Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorascope.corpora.folds.joined.HEADERS", 3)
    assert f"(by 3 of {len(both[0].clips)} files)" in join(*both).notes[0]


def test_two_of_one_reader_get_numbers_and_namesakes_are_told(roots: dict[str, Path], tmp_path: Path) -> None:
    other = load_corpus("emodb", emodb_tree(tmp_path, speakers=("03", "09", "11")))
    joined = join(load_corpus("emodb", roots["emodb"]), other)
    assert joined.parts == ("emodb-1", "emodb-2")
    assert any("speakers named 03, who are taken for different people" in note for note in joined.notes)
    (fold,) = make_folds(joined, "cross_corpus")
    assert fold.name == "emodb-1-to-emodb-2" and fold.test_speakers == ("emodb-2/03", "emodb-2/09", "emodb-2/11")


def test_a_file_in_both_is_refused(roots: dict[str, Path], tmp_path: Path) -> None:
    corpus = load_corpus("emodb", roots["emodb"])
    (tmp_path / "link").symlink_to(roots["emodb"])
    again = load_corpus("emodb", tmp_path / "link")
    refused(lambda: join(corpus, again), "test_corpus", f"{len(corpus.clips)} files", "another root")


def test_an_unreadable_header_is_refused(roots: dict[str, Path], both: tuple[Corpus, Corpus], tmp_path: Path) -> None:
    damaged = emodb_tree(tmp_path) / "wav" / "03a01Wa.wav"
    damaged.write_bytes(b"RIFF nothing")
    refused(lambda: join(load_corpus("emodb", tmp_path), both[1]), str(damaged), "cannot be read as audio")


def test_sessions_of_the_two_are_not_one(roots: dict[str, Path], release: Path) -> None:
    iemocap, other = load_corpus("iemocap", release), load_corpus("emodb", roots["emodb"])
    numbered = replace(other, clips=other.clips.assign(session="1"))
    joined = join(iemocap, numbered)
    (fold,) = make_folds(joined, "cross_corpus")
    # a session's two speakers stay together, so that nobody trained on shares dialogues with who chooses the epoch
    assert len(fold.validation_speakers) == 2 and fold.validation_speakers[0][:-1] == fold.validation_speakers[1][:-1]
    assert set(joined.clips["session"]) == {"emodb/1", *(f"iemocap/{n}" for n in range(1, 6))}


# the fold


@pytest.mark.parametrize("seed", range(3))
def test_the_second_is_tested_whole_and_a_fifth_of_the_first_validates(both: tuple[Corpus, Corpus], seed: int) -> None:
    joined = join(*both)
    (fold,) = make_folds(joined, "cross_corpus", seed=seed)
    assert fold.name == "emodb-to-ravdess" and fold.optimistic == () and fold.removed_speakers == ()
    assert set(joined.clips.loc[list(fold.test), "corpus"]) == {"ravdess"} and len(fold.test) == len(both[1].clips)
    assert len(fold.validation_speakers) == 1 and len(fold.train_speakers) == 3
    assert sorted([*fold.train, *fold.validation]) == [f"emodb/{clip}" for clip in both[0].clips.index]
    assert f"1 of 4 training speakers are held out for validation (seed {seed})" in fold.notes
    assert make_folds(joined, "cross_corpus", seed=seed) == [fold]


def test_the_seed_draws_the_validation_speakers(both: tuple[Corpus, Corpus]) -> None:
    joined = join(*both)
    assert len({make_folds(joined, "cross_corpus", seed=seed)[0].validation_speakers for seed in range(8)}) > 1


def test_choosing_on_the_test_corpus_is_marked(both: tuple[Corpus, Corpus]) -> None:
    (fold,) = make_folds(join(*both), "cross_corpus", selection="test_fold")
    assert fold.validation == () and len(fold.train_speakers) == 4 and fold.optimistic == (TEST_FOLD_LEAK,)


def test_unknown_speakers_of_the_first_are_in_no_part_and_of_the_second_are_tested(both: tuple[Corpus, Corpus]) -> None:
    def unknown(corpus: Corpus, speaker: str) -> Corpus:
        return replace(corpus, clips=corpus.clips.replace({"speaker": {speaker: UNKNOWN_SPEAKER}}))

    one, other = unknown(both[0], "03"), unknown(both[1], "02")
    (fold,) = make_folds(join(one, other), "cross_corpus")
    assert fold.removed_speakers == (UNKNOWN_SPEAKER,) and len(fold.test) == len(other.clips)
    lost = int((one.clips["speaker"] == UNKNOWN_SPEAKER).sum())
    assert f"{lost} clips of unknown speakers are in no part" in fold.notes
    assert "ravdess/unknown" in fold.test_speakers


def test_one_corpus_has_no_other_to_test(both: tuple[Corpus, Corpus]) -> None:
    refused(lambda: make_folds(both[0], "cross_corpus"), "folds.protocol", "add the section test_corpus")


# the experiment


def test_the_plan_of_an_experiment_across_corpora(roots: dict[str, Path]) -> None:
    experiment = experiment_from(settings(roots, analysis={"ranks": [8]}))
    assert experiment.folds.protocol == "cross_corpus"
    cells = plan(experiment)
    assert [cell.label for cell in cells] == ["frozen", "LoRA r=32 v_proj", "LoRA r=8 v_proj"]
    assert {cell.fold.name for cell in cells} == {"emodb-to-ravdess"}
    told = describe(experiment)
    assert told["corpus"]["speakers"] == 8 and told["analysed_fold"] == "emodb-to-ravdess"
    assert any("recorded at" in note for note in told["corpus"]["notes"])
    assert any("held out for validation" in note for note in told["cells"][0]["notes"])


def test_a_resolved_file_reads_back(roots: dict[str, Path]) -> None:
    experiment = experiment_from(settings(roots))
    assert experiment_from(yaml.safe_load(dump_experiment(experiment))) == experiment


def test_the_classes_of_the_first_are_those_of_both(roots: dict[str, Path]) -> None:
    data = settings(roots, corpus={"reader": "emodb", "root": str(roots["emodb"]), "classes": ["fear", "anger"]})
    experiment = experiment_from(data)
    assert experiment.test_corpus is not None and experiment.test_corpus.classes == ("fear", "anger")
    assert plan(experiment)[0].classes == ("fear", "anger")


def test_each_label_map_speaks_of_its_own_corpus(roots: dict[str, Path]) -> None:
    data = settings(roots)
    data["corpus"] |= {"classes": ["anger", "neutrality"], "label_map": {"boredom": "neutrality"}}
    data["test_corpus"] |= {"label_map": {"calm": "neutrality"}}
    (fold,) = make_folds(_joined(data), "cross_corpus")
    clips = _joined(data).clips.loc[list(fold.test)]
    # of each actor two calm clips and a neutral one, and two angry ones; the stereo clip is another's twin
    assert clips.groupby("speaker")["emotion"].value_counts().unstack().loc["ravdess/01"].to_dict() == {
        "anger": 2,
        "neutrality": 3,
    }


def _joined(data: dict) -> Corpus:
    from lorascope.experiment.planning import corpus_of

    return corpus_of(experiment_from(data))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"folds": {"protocol": "leave_one_speaker_out"}}, ("folds.protocol", "leave_one_speaker_out", "test_corpus")),
        ({"folds": {"protocol": "speaker_groups", "groups": 3}}, ("folds.protocol", "speaker_groups", "test_corpus")),
        ({"test_corpus": None, "folds": {"protocol": "cross_corpus"}}, ("cross_corpus", "add the section test_corpus")),
        (
            {"test_corpus": {"reader": "ravdess", "classes": ["anger", "fear"]}},
            ("test_corpus.classes", "take them out"),
        ),
        ({"test_corpus": {"reader": "ravdess", "rot": "x"}}, ("test_corpus.rot", "did you mean root")),
        ({"test_corpus": {"reader": "ravdess", "root": "$NOWHERE_AT_ALL/x"}}, ("test_corpus.root", "not set")),
    ],
)  # fmt: skip
def test_a_wrong_experiment_across_corpora_is_refused(
    roots: dict[str, Path], changes: dict, told: tuple[str, ...]
) -> None:
    refused(lambda: experiment_from(settings(roots, **changes)), *told)


def test_a_class_that_the_second_lacks_is_told_with_its_corpus(roots: dict[str, Path]) -> None:
    data = settings(roots)
    data["corpus"]["classes"] = ["anger", "boredom"]
    refused(lambda: _joined(data), "test_corpus: ravdess: no clip of class 'boredom'")
    data = settings(roots, corpus={"reader": "ravdess", "root": str(roots["ravdess"]), "classes": ["anger", "calm"]})
    data["test_corpus"] = {"reader": "emodb", "root": str(roots["emodb"])}
    refused(lambda: _joined(data), "test_corpus: emodb: no clip of class 'calm'")


@pytest.mark.parametrize(("train", "test", "clips"), [("emodb", "ravdess", 672), ("ravdess", "emodb", 339)])
def test_the_configs_plan_on_the_real_corpora(train: str, test: str, clips: int) -> None:
    real_corpus(train), real_corpus(test)
    cells = plan(load_experiment(CONFIGS / f"{train}-to-{test}.yaml"))
    assert [cell.kind for cell in cells] == ["frozen", "lora"]
    assert all(cell.fold.name == f"{train}-to-{test}" and len(cell.fold.test) == clips for cell in cells)
