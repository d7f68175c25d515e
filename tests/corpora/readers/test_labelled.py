"""The readers of corpora that are read by their label files: nEMO, MSP-Podcast, audiofolders, audformat databases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lorascope.corpora import load_corpus, make_folds
from lorascope.corpora.checking.check import check_corpus
from lorascope.corpora.corpus import UNKNOWN_SPEAKER, named_speakers
from lorascope.corpora.readers import audformat_database, audiofolder, msp_podcast, nemo
from lorascope.corpora.readers.files import sound_files

from ...tiny import write_tone
from ..refusals import refused
from ..trees_labelled import MSP_ROWS, audformat_tree, folder_rows, label_folders, metadata, msp_tree, nemo_tree
from ..trees_more import blip, esd_tree

# of audformat itself
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.set_index")


def told(table: pd.DataFrame, clip: str) -> dict[str, Any]:
    """What is known of a clip but for its path."""
    return table.set_index("id").loc[clip].drop("path").dropna().to_dict()


# nEMO


def test_nemos_table_is_read(tmp_path: Path) -> None:
    found = nemo.read(nemo_tree(tmp_path))
    assert told(found.table, "EB0_surprised_38") == {
        "emotion": "surprised",
        "text": '"Ród smoka" to serial.',
        "speaker": "EB0",
        "gender": "female",
        "language": "pl",
    }
    corpus = load_corpus("nemo", tmp_path, classes=("anger", "fear", "happiness", "neutrality", "sadness", "surprise"))
    assert corpus.speakers == ("EB0", "KD0", "WR0") and corpus.left_out.empty
    assert corpus.clips.groupby("emotion").size().eq(6).all()


def test_sounds_that_nemos_table_does_not_name_are_counted(tmp_path: Path) -> None:
    write_tone(nemo_tree(tmp_path) / "samples" / "XX0_anger_1.wav")
    assert nemo.read(tmp_path).left_out == (("sound file without a label", 1),)


def test_a_sound_that_nemos_table_names_must_be_there(tmp_path: Path) -> None:
    (nemo_tree(tmp_path) / "samples" / "WR0_anger_38.wav").unlink()
    refused(lambda: load_corpus("nemo", tmp_path), "data.tsv line 3: ", "WR0_anger_38.wav", "corpus.exclude")


def test_nemo_without_its_table_is_refused(tmp_path: Path) -> None:
    (nemo_tree(tmp_path) / "data.tsv").unlink()
    refused(lambda: nemo.read(tmp_path), str(tmp_path), "no data.tsv", "--root")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"speaker_id", b"speaker", ("no column 'speaker_id'", "did you mean 'speaker'")),
        (b"\t        WR0\t", b"\t        \t", ("line 2: ", "speaker is empty")),
        ("Lubię".encode(), "Lubię".encode("iso8859-2"), ("cannot be read as a table", "UTF-8")),
        (b"\tmale", b"", ("line 2: ", "6 cells", "7")),
    ],
)
def test_a_wrong_table_of_nemo_is_refused(tmp_path: Path, old: bytes, new: bytes, told: tuple[str, ...]) -> None:
    file = nemo_tree(tmp_path) / "data.tsv"
    file.write_bytes(file.read_bytes().replace(old, new, 1))
    refused(lambda: nemo.read(tmp_path), str(file), *told)


# MSP-Podcast


@pytest.mark.parametrize("labels", msp_podcast.LABELS)
def test_msps_labels_are_read_wherever_they_lie(tmp_path: Path, labels: str) -> None:
    found = msp_podcast.read(msp_tree(tmp_path, labels))
    assert told(found.table, "MSP-PODCAST_0001_0008") == {
        "speaker": "127", "emotion": "anger", "gender": "male", "session": "0001", "split": "train", "text": "no way",
        "language": "en",
    }  # fmt: skip
    assert found.table["split"].tolist() == ["train"] * 3 + ["validation"] * 2 + ["test"] * 2 + ["test2", "test3"]
    assert found.table["session"].iloc[-1] == "0153"


def test_msps_undecided_and_other_clips_are_counted_by_their_labels(tmp_path: Path) -> None:
    corpus = load_corpus("msp_podcast", msp_tree(tmp_path))
    assert corpus.left_out.set_index("reason")["clips"].to_dict() == {
        "sound file without a label": 1,
        "emotion other is not among the classes": 1,
        "emotion surprise is not among the classes": 1,
        "emotion undecided is not among the classes": 1,
    }
    assert len(corpus.clips) + corpus.left_out["clips"].sum() == len(list(tmp_path.rglob("*.wav")))


def test_unknown_speakers_are_one_and_in_one_part(tmp_path: Path) -> None:
    rows = [
        (f"MSP-PODCAST_{podcast:04d}_{number:04d}.wav", emotion, speaker, "Male", "Train")
        for podcast, speaker in enumerate(("1", "2", "3", "Unknown", "unknown", ""))
        for number, emotion in enumerate("AHNS")
    ]
    corpus = load_corpus("msp_podcast", msp_tree(tmp_path, rows=rows))
    assert corpus.speakers == ("1", "2", "3", UNKNOWN_SPEAKER)
    assert (corpus.clips["speaker"] == UNKNOWN_SPEAKER).sum() == 12
    assert [note for note in corpus.notes if "unknown speakers: 12" in note]
    unknown = set(corpus.clips.index[corpus.clips["speaker"] == UNKNOWN_SPEAKER])
    for fold in make_folds(corpus):
        assert sum(bool(unknown & set(part)) for part in (fold.train, fold.validation, fold.test)) <= 1


def test_rows_without_a_class_are_counted(tmp_path: Path) -> None:
    rows = [*MSP_ROWS, ("MSP-PODCAST_0004_0001.wav", "", "9", "Female", "Test3")]
    found = msp_podcast.read(msp_tree(tmp_path, rows=rows))
    assert found.left_out == (("no EmoClass", 1), ("sound file without a label", 1))
    assert len(found.table) == len(MSP_ROWS)


def test_an_unknown_gender_is_none(tmp_path: Path) -> None:
    table = msp_podcast.read(msp_tree(tmp_path)).table
    assert table.loc[table["speaker"] == UNKNOWN_SPEAKER, "gender"].isna().all()
    assert set(table["gender"].dropna()) == {"male", "female"}


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (0, "", ("line 3: ", "FileName is empty")),
        (1, "Q", ("line 3: ", "EmoClass 'Q'")),
        (4, "Tset1", ("line 3: ", "Split_Set 'Tset1'")),
    ],
)
def test_wrong_labels_of_msp_name_their_line(tmp_path: Path, place: int, value: str, told: tuple[str, ...]) -> None:
    file = msp_tree(tmp_path) / "Labels" / "labels_consensus.csv"
    lines = file.read_text().split("\n")
    cells = lines[2].split(",")
    cells[{0: 0, 1: 1, 4: 7}[place]] = value
    file.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]))
    refused(lambda: msp_podcast.read(tmp_path), str(file), *told)


def test_msp_without_labels_or_with_a_sound_missing_is_refused(tmp_path: Path) -> None:
    msp_tree(tmp_path)
    (tmp_path / "Audios" / MSP_ROWS[1][0]).unlink()
    refused(lambda: load_corpus("msp_podcast", tmp_path), "labels_consensus.csv line 3: ", MSP_ROWS[1][0])
    (tmp_path / "Labels" / "labels_consensus.csv").unlink()
    refused(lambda: msp_podcast.read(tmp_path), str(tmp_path), "labels_consensus.csv", "labels_concensus.csv", "--root")


def test_speakers_names_are_text() -> None:
    names = pd.Series([3.0, " a ", None, float("nan"), pd.NA, "UNKNOWN", 7], dtype=object)
    speakers, notes = named_speakers(names)
    assert speakers.tolist() == ["3", "a", *[UNKNOWN_SPEAKER] * 4, "7"] and "4" in notes[0]
    assert named_speakers(pd.Series(["a", "b"]))[1] == ()


# audiofolder


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_metadata_are_read_whatever_their_form(tmp_path: Path, form: str) -> None:
    metadata(tmp_path, folder_rows(), form)
    found = audiofolder.read(tmp_path)
    assert told(found.table, "2-happy") == {"emotion": "happy", "speaker": "2", "text": "so happy"}
    corpus = load_corpus("audiofolder", tmp_path)
    assert len(corpus.clips) == 12 and corpus.speakers == ("1", "2", "3") and not corpus.notes


def test_every_split_may_have_its_own_metadata(tmp_path: Path) -> None:
    metadata(tmp_path / "data" / "train", folder_rows(speakers=("a", "b")))
    metadata(tmp_path / "data" / "eval", folder_rows(speakers=("a",)), "jsonl")
    table = audiofolder.read(tmp_path).table.set_index("id")
    assert table.loc["data/train/a-sad", "split"] == "train" and table.loc["data/eval/a-sad", "split"] == "test"
    assert table.index.is_unique and len(table) == 12 and all(Path(path).is_file() for path in table["path"])


def test_splits_are_those_of_the_files_folders(tmp_path: Path) -> None:
    rows = [
        row | {"file_name": f"{'dev' if row['speaker_id'] == 3 else 'train'}/{row['file_name']}"}
        for row in folder_rows()
    ]
    metadata(tmp_path, rows)
    table = audiofolder.read(tmp_path).table
    assert table.groupby("split")["speaker"].unique().map(set).to_dict() == {"validation": {"3"}, "train": {"1", "2"}}


def test_columns_of_other_names_are_named_by_options(tmp_path: Path) -> None:
    renamed = [
        {
            "label": "?",
            "who": row["speaker_id"],
            "felt": row["label"],
            "file_name": row["file_name"],
            "gender": "female",
        }
        for row in folder_rows()
    ]
    metadata(tmp_path, renamed)
    clip = told(audiofolder.read(tmp_path, emotion="felt", speaker="who").table, "1-sad")
    assert clip == {"emotion": "sad", "speaker": "1", "gender": "female", "label": "?"}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_missing_speakers_are_one_unknown_speaker_and_counted(tmp_path: Path, form: str) -> None:
    rows = [row | {"speaker_id": None if row["label"] == "sad" else row["speaker_id"]} for row in folder_rows()]
    metadata(tmp_path, rows, form)
    corpus = load_corpus("audiofolder", tmp_path)
    assert (corpus.clips["speaker"] == UNKNOWN_SPEAKER).sum() == 3
    assert [note for note in corpus.notes if "unknown speakers: 3" in note]
    # a column of numbers with gaps is one of fractions in CSV written by pandas; those stay as written
    assert set(corpus.speakers) - {UNKNOWN_SPEAKER} in ({"1", "2", "3"}, {"1.0", "2.0", "3.0"})


def test_folders_named_by_label(tmp_path: Path) -> None:
    label_folders(tmp_path)
    corpus = load_corpus("audiofolder", tmp_path, speaker_pattern=r"(spk\d)_")
    assert corpus.speakers == ("spk0", "spk1", "spk2", "spk3") and len(corpus.clips) == 16
    clip = corpus.clips.loc["test/angry/spk3_1"]
    assert (clip["emotion"], clip["split"], clip["speaker"]) == ("anger", "test", "spk3")


def linked(folder: Path, elsewhere: Path) -> None:
    """Move a folder elsewhere and leave a link to it."""
    elsewhere.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize("folder", ["test", "train/angry"])
def test_linked_folders_are_followed(tmp_path: Path, folder: str) -> None:
    root = label_folders(tmp_path / "corpus")
    expected = audiofolder.read(root, speaker_pattern=r"(spk\d)_").table
    linked(root / folder, tmp_path / "elsewhere" / "moved")
    found = audiofolder.read(root, speaker_pattern=r"(spk\d)_")
    pd.testing.assert_frame_equal(found.table, expected)
    check = check_corpus("esd", esd_tree(tmp_path / "esd"))
    linked(tmp_path / "esd" / "0011", tmp_path / "elsewhere" / "0011")
    again = check_corpus("esd", tmp_path / "esd")
    assert again.clips is not None and check.clips is not None and len(again.clips) == len(check.clips)
    assert again.faults == check.faults


def test_metadata_in_a_linked_folder_are_read(tmp_path: Path) -> None:
    metadata(tmp_path / "root" / "train", folder_rows(speakers=("a", "b")))
    metadata(tmp_path / "root" / "test", folder_rows(speakers=("c",)))
    linked(tmp_path / "root" / "test", tmp_path / "elsewhere")
    assert audiofolder.read(tmp_path / "root").table["split"].value_counts().to_dict() == {"train": 8, "test": 4}


def test_circles_and_folders_that_are_there_twice_give_each_clip_once(tmp_path: Path) -> None:
    root = label_folders(tmp_path / "corpus")
    blip(tmp_path / "beside" / "angry" / "spk9_1.wav", 9)
    expected = sorted(sound_files(root, "**/*"))
    (root / "train" / "itself").symlink_to(root / "train")
    (root / "out").symlink_to(tmp_path)
    (root / "a copy").symlink_to(root / "test")
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    (root / "round").symlink_to(root / "round")
    assert sorted(sound_files(root, "**/*")) == expected
    # two links to one folder, and one to a part of what the other holds
    for name, target in (("l1", "beside/angry"), ("l2", "beside"), ("l3", "beside")):
        (root / name).symlink_to(tmp_path / target)
    assert [path.name for path in sound_files(root, "**/*")].count("spk9_1.wav") == 1


def test_other_formats_are_sounds_too(tmp_path: Path) -> None:
    import soundfile

    rows = [row | {"file_name": row["file_name"].replace(".wav", ".ogg")} for row in folder_rows()]
    metadata(tmp_path, rows, sounds=False)
    for row in rows:
        soundfile.write(tmp_path / row["file_name"], [0.1, -0.1] * 400, 16_000)
    soundfile.write(tmp_path / "left.ogg", [0.1, -0.1] * 400, 16_000)
    corpus = load_corpus("audiofolder", tmp_path)
    assert len(corpus.clips) == 12
    assert corpus.left_out.to_dict("records") == [{"reason": "sound file without a label", "clips": 1}]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ("no clip's speaker is known", "corpus.options.speaker_pattern")),
        ({"speaker_pattern": "spk[0"}, ("corpus.options.speaker_pattern", "no regular expression")),
        ({"speaker_pattern": r"spk\d"}, ("corpus.options.speaker_pattern", "parentheses")),
        ({"speaker_pattern": r"(spk[012])_"}, ("spk3_1.wav", "finds no speaker")),
        ({"speaker_pattern": "(a)", "speaker": "b"}, ("corpus.options.speaker_pattern", "take one")),
        ({"emotion": "felt", "speaker_pattern": r"(spk\d)"}, ("corpus.options.emotion", "no metadata file")),
    ],
)
def test_wrong_options_for_label_folders_are_refused(
    tmp_path: Path, options: dict[str, str], told: tuple[str, ...]
) -> None:
    refused(lambda: load_corpus("audiofolder", label_folders(tmp_path), **options), *told)


def test_a_sound_in_no_folder_of_a_label_is_refused(tmp_path: Path) -> None:
    write_tone(label_folders(tmp_path) / "train" / "spk0.wav")
    refused(lambda: audiofolder.read(tmp_path), "train/spk0.wav", "no folder named by a label", "metadata.csv")


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"file_name": None}, {}, ("line 2: ", "file_name is empty")),
        ({"label": None}, {}, ("line 2: ", "label is empty")),
        ({}, {"emotion": "labl"}, ("corpus.options.emotion", "did you mean 'label'")),
        ({}, {"speaker": "speakr_id"}, ("corpus.options.speaker", "did you mean 'speaker_id'")),
    ],
)
def test_wrong_metadata_are_refused(
    tmp_path: Path, changes: dict[str, Any], options: dict[str, str], told: tuple[str, ...]
) -> None:
    rows = folder_rows()
    metadata(tmp_path, [rows[0] | changes, *rows[1:]], sounds=False)
    refused(lambda: load_corpus("audiofolder", tmp_path, **options), "metadata.csv", *told)


def test_metadata_without_their_columns_or_twice_are_refused(tmp_path: Path) -> None:
    for column in ("file_name", "label"):
        rows = [{key: value for key, value in row.items() if key != column} for row in folder_rows()]
        metadata(tmp_path, rows, sounds=False)
        refused(lambda: audiofolder.read(tmp_path), "metadata.csv", "no column", column)
    metadata(tmp_path, folder_rows())
    metadata(tmp_path, folder_rows(), "jsonl")
    refused(lambda: audiofolder.read(tmp_path), "metadata.csv", "metadata.jsonl lies beside it")


@pytest.mark.parametrize(("line", "told"), [("{'a': 1}", "not JSON"), ("[1]", "not an object")])
def test_a_wrong_line_of_json_is_named(tmp_path: Path, line: str, told: str) -> None:
    file = metadata(tmp_path, folder_rows(), "jsonl")
    file.write_text(f"{file.read_text()}\n{line}\n")
    refused(lambda: audiofolder.read(tmp_path), "metadata.jsonl line 14: ", told, "one object a line")


def test_metadata_in_another_encoding_are_refused(tmp_path: Path) -> None:
    for form in ("csv", "jsonl"):
        file = metadata(tmp_path / form, folder_rows(), form)
        file.write_bytes(file.read_bytes().replace(b"so angry", "só angry".encode("latin-1")))
        refused(
            lambda folder=tmp_path / form: audiofolder.read(folder), str(file), "cannot be read as a table", "UTF-8"
        )


# audformat


def test_a_database_is_read_with_what_its_tables_say_of_the_files(tmp_path: Path) -> None:
    found = audformat_database.read(audformat_tree(tmp_path))
    assert told(found.table, "03-happy") == {
        "emotion": "happy", "speaker": "03", "gender": "female", "language": "de", "text": "a01",
    }  # fmt: skip
    assert told(found.table, "08-sad")["gender"] == "male"
    assert found.left_out == (("no emotion in table emotion", 1),) and not found.notes
    corpus = load_corpus("audformat", tmp_path)
    assert corpus.speakers == ("03", "08", "09") and len(corpus.clips) == 11


def test_splits_are_those_of_the_tables(tmp_path: Path) -> None:
    tables = ["emotion.train", "emotion.dev", "emotion.test"]
    table = audformat_database.read(audformat_tree(tmp_path), table=tables).table
    assert table.groupby("split")["speaker"].unique().map(list).to_dict() == {
        "train": ["03"], "validation": ["08"], "test": ["09"],
    }  # fmt: skip
    one = audformat_database.read(tmp_path, table="emotion.train")
    assert len(one.table) == 4 and one.left_out == (("sound file without a label", 8),)


def test_pieces_of_files_have_their_bounds(tmp_path: Path) -> None:
    table = audformat_database.read(audformat_tree(tmp_path, segmented=True)).table.set_index("id")
    assert table.loc["03-angry@0.000", ["start", "end", "speaker"]].tolist() == [0.0, 0.01, "03"]
    rest = table.loc["03-angry@0.010"]
    assert rest["start"] == 0.01 and pd.isna(rest["end"]) and rest["emotion"] == "boredom"
    assert set(load_corpus("audformat", tmp_path).clips["end"]) == {0.01}


def test_files_that_no_table_gives_a_speaker_are_of_the_unknown_one(tmp_path: Path) -> None:
    import audformat

    database = audformat.Database.load(str(audformat_tree(tmp_path)))
    database["files"]["speaker"].set([None, None], index=audformat.filewise_index(["wav/03-sad.wav", "wav/08-sad.wav"]))
    database.save(str(tmp_path))
    found = audformat_database.read(tmp_path)
    assert found.table.loc[found.table["speaker"] == UNKNOWN_SPEAKER, "id"].tolist() == ["03-sad", "08-sad"]
    assert "unknown speakers: 2" in found.notes[0]


def test_a_file_that_a_table_names_must_be_there(tmp_path: Path) -> None:
    (audformat_tree(tmp_path) / "wav" / "08-happy.wav").unlink()
    refused(lambda: load_corpus("audformat", tmp_path), "table emotion row 6: ", "08-happy.wav", "corpus.exclude")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"table": "emotions"}, ("corpus.options.table", "did you mean 'emotion'")),
        ({"table": "files"}, ("corpus.options.emotion", "table files", "'emotion'")),
        ({"emotion": "emotoin"}, ("corpus.options.emotion", "did you mean 'emotion'")),
        ({"speaker": "speakr"}, ("corpus.options.speaker", "did you mean 'speaker'")),
    ],
)
def test_wrong_options_for_a_database_are_refused(
    tmp_path: Path, options: dict[str, str], told: tuple[str, ...]
) -> None:
    refused(lambda: load_corpus("audformat", audformat_tree(tmp_path), **options), str(tmp_path), *told)


def test_of_several_tables_one_must_be_named(tmp_path: Path) -> None:
    import audformat

    database = audformat.Database.load(str(audformat_tree(tmp_path)))
    database.drop_tables("emotion")
    database.save(str(tmp_path))
    (tmp_path / "db.emotion.csv").unlink()
    refused(
        lambda: audformat_database.read(tmp_path), "emotion.dev, emotion.test, emotion.train", "corpus.options.table"
    )


def test_a_database_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(lambda: audformat_database.read(tmp_path), str(tmp_path), "no db.yaml", "--root")
    (tmp_path / "db.yaml").write_text("name: [")
    refused(lambda: audformat_database.read(tmp_path), str(tmp_path), "cannot be read as an audformat database")
    monkeypatch.setitem(sys.modules, "audformat", None)
    refused(lambda: audformat_database.read(tmp_path), "pip install 'lorascope[audformat]'")
