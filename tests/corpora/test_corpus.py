"""The table of clips: labels mapped, everything left out counted, everything wrong refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from lorascope.corpora import READERS, Corpus, load_corpus
from lorascope.corpora.corpus import OPTIONAL, REQUIRED, Recordings, corpus_from

from .refusals import refused
from .trees import emodb_tree, iemocap_tree, manifest, manifest_rows, ravdess_tree


@pytest.fixture(scope="module")
def emodb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emodb_tree(tmp_path_factory.mktemp("emodb"))


def of_rows(folder: Path, rows: list[dict[str, object]], **settings) -> Corpus:
    return load_corpus("csv", manifest(folder, rows), **settings)


def left_out(corpus: Corpus) -> dict[str, int]:
    return dict(zip(corpus.left_out["reason"], corpus.left_out["clips"], strict=True))


# the table


def test_clips_are_keyed_by_id_with_every_column(emodb: Path) -> None:
    corpus = load_corpus("emodb", emodb)
    assert (
        corpus.clips.index.name == "id" and corpus.clips.index.is_unique and corpus.clips.index.is_monotonic_increasing
    )
    assert list(corpus.clips.columns) == [*REQUIRED, *OPTIONAL]
    assert corpus.clips["session"].isna().all() and corpus.clips["text"].notna().all()
    assert corpus.speakers == ("03", "08", "10", "16")
    assert set(corpus.clips["emotion"]) == set(corpus.classes)
    assert not corpus.synthetic and not corpus.optimistic


def test_used_and_left_out_clips_are_all_there_are(emodb: Path, tmp_path: Path, release: Path) -> None:
    ravdess = ravdess_tree(tmp_path)
    for name, root, sounds in (
        ("emodb", emodb, len(list(emodb.rglob("*.wav")))),
        ("ravdess", ravdess, len(list(ravdess.rglob("*.wav")))),
        ("iemocap", release, len([p for p in release.rglob("*.wav") if not p.name.startswith("._")])),
    ):
        corpus = load_corpus(name, root)
        assert len(corpus.clips) + corpus.left_out["clips"].sum() == sounds
        assert (corpus.left_out["clips"] > 0).all()


def test_classes_of_the_experiment_may_be_others(emodb: Path) -> None:
    corpus = load_corpus("emodb", emodb, classes=("fear", "boredom"))
    assert corpus.classes == ("fear", "boredom")
    assert set(corpus.clips["emotion"]) == {"fear", "boredom"}
    assert any("anger" in reason for reason in left_out(corpus))


def test_classes_may_go_by_their_synonyms(emodb: Path) -> None:
    assert load_corpus("emodb", emodb, classes=("ang", "Neutral")).classes == ("anger", "neutrality")


# label maps and exclusions


@pytest.mark.parametrize("key", ["boredom", "bored"])
def test_a_label_map_joins_a_label_to_a_class(emodb: Path, key: str) -> None:
    plain = load_corpus("emodb", emodb).clips["emotion"].value_counts()
    corpus = load_corpus("emodb", emodb, label_map={key: "sadness"})
    joined = corpus.clips["emotion"].value_counts()
    assert joined["sadness"] == plain["sadness"] + 4
    assert joined.drop("sadness").equals(plain.drop("sadness"))
    assert not any("boredom" in reason for reason in left_out(corpus))


def test_null_leaves_a_label_out_and_counts_it(emodb: Path) -> None:
    corpus = load_corpus("emodb", emodb, classes=("anger", "fear", "sadness"), label_map={"neutrality": None})
    assert {
        count for reason, count in left_out(corpus).items() if "neutrality" in reason and "label_map" in reason
    } == {8}
    assert "neutrality" not in set(corpus.clips["emotion"])


def test_a_corpus_own_word_maps_to_a_class_of_ones_own(tmp_path: Path) -> None:
    rows = manifest_rows(emotions=("zornig", "still"))
    label_map = {"zornig": "loud", "still": "quiet"}
    corpus = of_rows(tmp_path, rows, classes=("loud", "quiet"), label_map=label_map)
    assert corpus.classes == ("loud", "quiet") and corpus.clips["emotion"].value_counts().to_dict() == {
        "loud": 3,
        "quiet": 3,
    }


def test_labels_as_written_come_before_their_canonical_name(tmp_path: Path) -> None:
    rows = [*manifest_rows(emotions=("ang", "sad")), {"path": "x.wav", "speaker": "1", "emotion": "Rabbia"}]
    corpus = of_rows(tmp_path, rows, classes=("anger", "sadness"), label_map={"anger": "anger", "Rabbia": None})
    assert corpus.clips["emotion"].value_counts().to_dict() == {"anger": 3, "sadness": 3}
    assert sum(left_out(corpus).values()) == 1


def test_a_label_as_written_maps_alone(tmp_path: Path) -> None:
    """A key that is itself a label of the corpus doesn't speak of the emotion's other spellings."""
    rows = [*manifest_rows(emotions=("ang", "sad")), {"path": "x.wav", "speaker": "1", "emotion": "Rabbia"}]
    corpus = of_rows(tmp_path, rows, classes=("anger", "sadness"), label_map={"Rabbia": "sadness"})
    assert corpus.clips["emotion"].value_counts().to_dict() == {"anger": 3, "sadness": 4}


def test_excluded_clips_are_counted(emodb: Path) -> None:
    corpus = load_corpus("emodb", emodb, exclude=("03a01Wa", "08a02Na"))
    assert not {"03a01Wa", "08a02Na"} & set(corpus.clips.index)
    assert left_out(corpus)["excluded by name (corpus.exclude)"] == 2


def test_an_excluded_clip_is_counted_once_and_asked_nothing(tmp_path: Path) -> None:
    bad = [
        {"path": "gone.wav", "speaker": "1", "emotion": "anger"},
        {"path": "odd.wav", "speaker": "1", "emotion": "grumpf"},
        {"path": "fru.wav", "speaker": "1", "emotion": "fru"},
    ]
    file = manifest(tmp_path, [*manifest_rows(), *bad])
    (tmp_path / "gone.wav").unlink()
    corpus = load_corpus("csv", file, exclude=("gone", "odd", "fru"))
    assert len(corpus.clips) == 12 and left_out(corpus) == {"excluded by name (corpus.exclude)": 3}


# what is wrong


def test_an_unknown_label_names_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    rows = manifest_rows()
    rows[5]["emotion"] = "angy"
    refused(lambda: of_rows(tmp_path, rows), "manifest.csv line 7: ", "'angy'", "did you mean 'ang", "corpus.label_map")


def test_a_duplicate_id_names_both_lines(tmp_path: Path) -> None:
    rows = [row | {"id": number} for number, row in enumerate(manifest_rows())]
    rows[8]["id"] = 2
    refused(lambda: of_rows(tmp_path, rows), "manifest.csv line 10: ", "'2'", "manifest.csv line 4", "unique")


def test_clips_of_one_name_in_two_folders_are_called_by_their_paths(tmp_path: Path) -> None:
    rows = [row | {"path": f"{row['speaker']}/{row['emotion']}.wav"} for row in manifest_rows()]
    told = set(of_rows(tmp_path, rows).clips.index)
    assert told == {str(row["path"]).removesuffix(".wav") for row in rows}


def test_a_clip_twice_in_a_tree_names_both_files(tmp_path: Path) -> None:
    emodb_tree(tmp_path)
    emodb_tree(tmp_path, speakers=("08",), suffix=".flac")
    (twice := tmp_path / "wav" / "03a01Wa.flac").write_bytes((tmp_path / "wav" / "08a01Wa.flac").read_bytes())
    for file in (tmp_path / "wav").glob("08*.flac"):
        file.unlink()
    refused(lambda: load_corpus("emodb", tmp_path), str(twice), str(twice.with_suffix(".wav")), "unique")


def test_a_missing_file_is_named_with_its_line(tmp_path: Path) -> None:
    file = manifest(tmp_path, manifest_rows())
    (tmp_path / "2-anger.wav").unlink()
    refused(lambda: load_corpus("csv", file), "manifest.csv line 6: ", str(tmp_path / "2-anger.wav"), "corpus.exclude")


def test_a_missing_file_of_a_clip_that_is_not_used_is_no_error(tmp_path: Path) -> None:
    file = manifest(tmp_path, [*manifest_rows(), {"path": "x.wav", "speaker": "1", "emotion": "fear"}])
    (tmp_path / "x.wav").unlink()
    assert len(load_corpus("csv", file).clips) == 12


def test_a_class_without_clips_is_refused(tmp_path: Path) -> None:
    rows = manifest_rows(emotions=("anger", "happiness", "sadness"))
    refused(lambda: of_rows(tmp_path, rows), "csv", "'neutrality'", "corpus.classes", "corpus.label_map")


def test_a_class_left_without_clips_by_exclusion_is_refused(emodb: Path) -> None:
    angry = [path.stem for path in (emodb / "wav").glob("*W?.wav")]
    refused(lambda: load_corpus("emodb", emodb, exclude=angry), "'anger'")


def test_speakers_left_without_clips_are_noted(tmp_path: Path) -> None:
    rows = [*manifest_rows(), {"path": "x.wav", "speaker": "quiet one", "emotion": "calm"}]
    corpus = of_rows(tmp_path, rows)
    assert "quiet one" not in corpus.speakers
    assert [note for note in corpus.notes if "quiet one" in note]


def test_one_speaker_is_refused(tmp_path: Path) -> None:
    refused(lambda: of_rows(tmp_path, manifest_rows(speakers=("9",))), "only one speaker (9)", "speaker column")


@pytest.mark.parametrize(("wanted", "hint"), [("03a01Wx", "03a01W"), ("nothing like it", "known: ")])
def test_an_unknown_id_in_exclude_is_refused(emodb: Path, wanted: str, hint: str) -> None:
    message = refused(lambda: load_corpus("emodb", emodb, exclude=(wanted,)), "corpus.exclude", repr(wanted), hint)
    assert message.endswith(")")


def test_an_unknown_class_names_its_key(emodb: Path) -> None:
    refused(
        lambda: load_corpus("emodb", emodb, classes=("anger", "sadnes")),
        "corpus.classes",
        "'sadnes'",
        "did you mean 'sadness'",
    )


def test_two_names_of_one_class_are_refused(emodb: Path) -> None:
    refused(
        lambda: load_corpus("emodb", emodb, classes=("anger", "angry", "sadness")), "corpus.classes", "'angry'", "anger"
    )


@pytest.mark.parametrize(
    ("label_map", "told"),
    [
        ({"boredom": "sadnes"}, ("corpus.label_map.boredom", "'sadnes'", "did you mean 'sadness'")),
        ({"bordom": "sadness"}, ("corpus.label_map.bordom", "did you mean 'boredom'")),
        ({"contempt": None}, ("corpus.label_map.contempt", "known: ")),
        ({"boredom": "sadness", "bored": "anger"}, ("corpus.label_map.bored", "boredom")),
    ],
)
def test_a_wrong_label_map_names_its_key(
    emodb: Path, label_map: Mapping[str, str | None], told: tuple[str, ...]
) -> None:
    refused(lambda: load_corpus("emodb", emodb, label_map=label_map), *told)


def test_no_clips_at_all_is_refused() -> None:
    empty = Recordings(pd.DataFrame(columns=["id", *REQUIRED]))
    refused(lambda: corpus_from("here", empty), "here", "corpus.root")


# finding a corpus


def test_an_unknown_reader_is_refused() -> None:
    refused(lambda: load_corpus("emdb"), "corpus.reader", "'emdb'", "did you mean 'emodb'")
    refused(lambda: load_corpus("zzz"), "corpus.reader", *READERS)


def test_an_unknown_option_is_refused(emodb: Path) -> None:
    refused(lambda: load_corpus("emodb", emodb, speakers="prefix"), "corpus.options.speakers", "none")
    refused(
        lambda: load_corpus("iemocap", emodb, speaker="prefix"), "corpus.options.speaker:", "did you mean 'speakers'"
    )


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_corpus("emodb", tmp_path / "gone"), "corpus.root", str(tmp_path / "gone"))


@pytest.mark.parametrize("reader", ["emodb", "ravdess", "iemocap", "csv"])
def test_a_root_with_something_else_in_it_is_refused(tmp_path: Path, reader: str) -> None:
    (tmp_path / "README.txt").write_text("nothing here")
    refused(lambda: load_corpus(reader, tmp_path), str(tmp_path), "corpus.root", "--root")


@pytest.mark.parametrize("reader", ["emodb", "ravdess", "iemocap"])
def test_a_file_as_root_of_a_tree_is_refused(tmp_path: Path, reader: str) -> None:
    (tmp_path / "file.zip").write_text("nothing here")
    refused(lambda: load_corpus(reader, tmp_path / "file.zip"), "file.zip", "corpus.root")


def test_without_root_a_corpus_is_looked_for_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emodb_tree(tmp_path / "emodb")
    monkeypatch.setenv("LORASCOPE_CORPORA", str(tmp_path))
    assert len(load_corpus("emodb").clips) == len(load_corpus("emodb", tmp_path / "emodb").clips)
    refused(lambda: load_corpus("ravdess"), "corpus.root", str(tmp_path / "ravdess"))
    monkeypatch.delenv("LORASCOPE_CORPORA")
    refused(lambda: load_corpus("emodb"), "corpus.root", "LORASCOPE_CORPORA is not set")


def test_a_root_for_a_reader_that_takes_none_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_corpus("synthetic", tmp_path), "corpus.root", "synthetic")


@pytest.mark.parametrize("given", [True, False])
def test_paths_are_absolute_whatever_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    emodb_tree(tmp_path / "shared" / "emodb")
    manifest(tmp_path / "shared" / "csv", manifest_rows())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORASCOPE_CORPORA", "shared")
    for name in ("emodb", "csv"):
        corpus = load_corpus(name, f"shared/{name}" if given else None)
        assert all(Path(path).is_absolute() and Path(path).is_file() for path in corpus.clips["path"])


def test_roots_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iemocap_tree(tmp_path, per_class=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_corpus("iemocap", "~/IEMOCAP_full_release").speakers) == 10


def test_corpora_need_no_torch() -> None:
    code = (
        "import sys, lorascope.corpora, lorascope.sound.decoding, lorascope.experiment.config; sys.exit('torch' in "
        "sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
