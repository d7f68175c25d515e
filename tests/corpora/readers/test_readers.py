"""The readers of EmoDB, RAVDESS and manifests: names read as the corpora mean them, everything else refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lorascope.corpora import load_corpus
from lorascope.corpora.readers import emodb, ravdess
from lorascope.corpora.readers import manifest as csv

from ...tiny import write_tone
from ..conftest import real_corpus
from ..refusals import refused
from ..trees import APPLE_DOUBLE, emodb_tree, manifest, manifest_rows, ravdess_tree

ALL = ("anger", "happiness", "neutrality", "sadness", "boredom", "disgust", "fear", "surprise", "calm")


def of_text(folder: Path, text: str, name: str = "manifest.csv") -> pd.DataFrame:
    (folder / name).write_text(text, encoding="utf-8")
    return csv.read(folder / name).table.set_index("id")


# EmoDB


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_emodb_names_are_read(tmp_path: Path, suffix: str) -> None:
    table = emodb.read(emodb_tree(tmp_path, suffix=suffix)).table.set_index("id")
    assert len(table) == 4 * 10
    clip = table.loc["08a02Tb"]
    assert (clip["speaker"], clip["emotion"], clip["text"], clip["gender"]) == ("08", "sadness", "a02", "female")
    assert clip["transcript"] == "Das will sie am Mittwoch abgeben."
    assert Path(clip["path"]) == tmp_path / "wav" / f"08a02Tb{suffix}" and Path(clip["path"]).is_file()
    assert table.groupby("emotion").size().to_dict() == {
        "anger": 4, "boredom": 4, "disgust": 4, "fear": 4, "happiness": 8, "sadness": 8, "neutrality": 8,
    }  # fmt: skip


def test_emodb_may_lie_flat_or_in_its_folder(tmp_path: Path) -> None:
    emodb_tree(tmp_path)
    assert emodb.read(tmp_path / "wav").table.equals(emodb.read(tmp_path).table)


def test_the_files_that_macos_leaves_are_no_clips(tmp_path: Path) -> None:
    emodb_tree(tmp_path)
    (tmp_path / "wav" / "._03a01Wa.wav").write_bytes(APPLE_DOUBLE)
    assert len(emodb.read(tmp_path).table) == 40


@pytest.mark.parametrize("name", ["03a01Xa.wav", "3a01Wa.wav", "03a01W a.wav", "Track 1.flac"])
def test_a_name_that_is_not_emodbs_is_refused(tmp_path: Path, name: str) -> None:
    emodb_tree(tmp_path)
    write_tone(tmp_path / "wav" / name)
    refused(lambda: emodb.read(tmp_path), str(tmp_path / "wav" / name), "03a01Fa.wav", "csv reader")


def test_the_real_emodb_is_read_as_published() -> None:
    root = real_corpus("emodb")
    corpus = load_corpus("emodb", root, classes=[name for name in ALL if name not in ("surprise", "calm")])
    assert corpus.clips["emotion"].value_counts().to_dict() == {
        "anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "neutrality": 79, "sadness": 62,
    }  # fmt: skip
    assert len(corpus.clips) == 535 and len(corpus.speakers) == 10 and corpus.left_out.empty
    _agrees_with_the_folders_own_labels(root, corpus.clips)
    sexes = pd.read_csv(root / "speakers.csv", dtype=str).set_index("speaker")["gender"]
    assert (corpus.clips["gender"] == corpus.clips["speaker"].map(sexes)).all()


def test_four_classes_of_the_real_emodb() -> None:
    corpus = load_corpus("emodb", real_corpus("emodb"))
    assert len(corpus.clips) == 127 + 71 + 79 + 62
    assert corpus.left_out["clips"].sum() == 81 + 46 + 69


# RAVDESS


def test_ravdess_names_are_read(tmp_path: Path) -> None:
    found = ravdess.read(ravdess_tree(tmp_path, actors=3))
    table = found.table.set_index("id")
    assert len(table) == 3 * 15 and found.left_out == (("song, not speech", 1),)
    clip = table.loc["03-01-06-01-01-02-02"]
    assert (clip["speaker"], clip["emotion"], clip["text"], clip["gender"]) == ("02", "fear", "01", "female")
    assert clip["transcript"] == "Kids are talking by the door."
    assert table.loc["03-01-01-01-01-01-03", "gender"] == "male"
    assert table.groupby("emotion").size().to_dict() == dict.fromkeys(set(ALL) - {"boredom"} - {"neutrality"}, 6) | {
        "neutrality": 3
    }


def test_ravdess_may_lie_flat(tmp_path: Path) -> None:
    nested = ravdess.read(ravdess_tree(tmp_path / "nested")).table.set_index("id").drop(columns="path")
    (tmp_path / "flat").mkdir()
    for file in (tmp_path / "nested").rglob("*.wav"):
        file.rename(tmp_path / "flat" / file.name)
    assert ravdess.read(tmp_path / "flat").table.set_index("id").drop(columns="path").equals(nested)


def test_sound_of_ravdess_videos_is_counted_and_left_out(tmp_path: Path) -> None:
    ravdess_tree(tmp_path)
    write_tone(tmp_path / "Actor_01" / "01-01-05-01-01-01-01.wav")
    corpus = load_corpus("ravdess", tmp_path)
    assert "01-01-05-01-01-01-01" not in corpus.clips.index
    assert corpus.left_out.loc[corpus.left_out["reason"].str.contains("audio"), "clips"].tolist() == [1]


@pytest.mark.parametrize("name", ["03-01-09-01-01-01-01.wav", "03-01-05-01-01-01.wav", "03a01Wa.wav"])
def test_a_name_that_is_not_ravdess_is_refused(tmp_path: Path, name: str) -> None:
    ravdess_tree(tmp_path)
    write_tone(tmp_path / "Actor_02" / name)
    refused(lambda: ravdess.read(tmp_path), str(tmp_path / "Actor_02" / name), "csv reader")


def test_songs_alone_are_no_corpus(tmp_path: Path) -> None:
    write_tone(tmp_path / "Actor_01" / "03-02-05-01-01-01-01.wav")
    refused(lambda: load_corpus("ravdess", tmp_path), "no clips", "corpus.root")


def test_the_real_ravdess_is_read_as_published() -> None:
    root = real_corpus("ravdess")
    corpus = load_corpus("ravdess", root, classes=[name for name in ALL if name != "boredom"])
    counts = corpus.clips["emotion"].value_counts().to_dict()
    assert counts.pop("neutrality") == 96 and set(counts.values()) == {192} and len(counts) == 7
    assert len(corpus.clips) == 1440 and len(corpus.speakers) == 24 and corpus.left_out.empty
    assert (corpus.clips["gender"] == "female").sum() == 720
    _agrees_with_the_folders_own_labels(root, corpus.clips)


def _agrees_with_the_folders_own_labels(root: Path, clips: pd.DataFrame) -> None:
    labels = pd.read_csv(root / "manifest.csv", dtype=str)
    labels = labels.set_index(labels["path"].str.removesuffix(".flac")).loc[clips.index]
    spelled = {
        "neutral": "neutrality",
        "happy": "happiness",
        "sad": "sadness",
        "angry": "anger",
        "fearful": "fear",
        "surprised": "surprise",
    }
    assert (labels["emotion"].replace(spelled) == clips["emotion"]).all()
    assert (labels["speaker"] == clips["speaker"]).all()
    assert (labels["text_id"] == clips["text"]).all()
    # the csv reader reads those labels into the same corpus
    read = csv.read(root).table.set_index("id").loc[clips.index]
    assert (read["speaker"] == clips["speaker"]).all() and (read["path"] == clips["path"]).all()


# manifests


def test_a_manifest_is_read_whatever_its_form(tmp_path: Path) -> None:
    rows = [row | {"session": row["speaker"], "text": "so, what?"} for row in manifest_rows()]
    comma = csv.read(manifest(tmp_path, rows)).table
    tab = csv.read(manifest(tmp_path, rows, name="manifest.tsv")).table
    comma.assign(path=[row["path"] for row in rows]).to_parquet(tmp_path / "manifest.parquet")
    parquet = csv.read(tmp_path / "manifest.parquet").table
    for other in (tab, parquet):
        pd.testing.assert_frame_equal(comma, other, check_like=True)
    assert comma["text"].unique().tolist() == ["so, what?"] and comma["id"].iloc[0] == "1-anger"


def test_a_manifest_is_found_in_its_folder(tmp_path: Path) -> None:
    manifest(tmp_path, manifest_rows())
    assert csv.read(tmp_path).table.equals(csv.read(tmp_path / "manifest.csv").table)


def test_paths_are_relative_to_the_manifest_or_absolute(tmp_path: Path) -> None:
    sound = write_tone(tmp_path / "elsewhere" / "a.wav")
    (tmp_path / "here").mkdir()
    table = of_text(tmp_path / "here", f"id,path,speaker,emotion\nx,../elsewhere/a.wav,1,anger\ny,{sound},2,anger\n")
    assert Path(table.loc["x", "path"]).samefile(sound) and table.loc["y", "path"] == str(sound)


def test_speakers_and_ids_stay_as_written(tmp_path: Path) -> None:
    table = of_text(tmp_path, "id,path,speaker,emotion\n007,a.wav,03,anger\n1e3,b.wav,NA,sad\nnull,c.wav,1.0,sad\n")
    assert table.index.tolist() == ["007", "1e3", "null"] and table["speaker"].tolist() == ["03", "NA", "1.0"]


def test_unknown_speakers_are_one_and_counted(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,speaker,emotion\na.wav,Unknown,anger\nb.wav,unknown,sad\nc.wav,s1,neu\n")
    found = csv.read(tmp_path / "m.csv")
    assert list(found.table["speaker"]) == ["unknown", "unknown", "s1"]
    assert found.notes == ("clips of unknown speakers: 2; they count as one speaker, 'unknown'",)


def test_spaces_bom_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    table = of_text(tmp_path, "\ufeffpath, speaker ,emotion\r\n a.wav ,\t1 ,anger \r\n\r\nb.wav,2,sad\r\n\r\n")
    assert table["speaker"].tolist() == ["1", "2"] and table["emotion"].tolist() == ["anger", "sad"]
    assert table.index.tolist() == ["a", "b"] and table["path"].tolist() == [
        str(tmp_path / "a.wav"),
        str(tmp_path / "b.wav"),
    ]


def test_pieces_of_one_file(tmp_path: Path) -> None:
    table = of_text(
        tmp_path, "id,path,speaker,emotion,start,end,duration\n1,a.wav,1,anger,0,1.5,1.5\n2,a.wav,2,sad,1.5,,\n"
    )
    assert table["start"].tolist() == [0.0, 1.5] and table.loc["1", "end"] == 1.5 and pd.isna(table.loc["2", "end"])
    assert table.loc["1", "duration"] == 1.5


@pytest.mark.parametrize("column", ["path", "speaker", "emotion"])
def test_a_missing_column_is_refused(tmp_path: Path, column: str) -> None:
    rows = [{name: value for name, value in row.items() if name != column} for row in manifest_rows()]
    file = manifest(tmp_path, rows, sounds=False)
    refused(lambda: csv.read(file), str(file), f"no column '{column}'", "needed are path, speaker, emotion")


def test_a_column_of_another_name_is_hinted_at(tmp_path: Path) -> None:
    refused(lambda: of_text(tmp_path, "path,Speakers,emotion\na.wav,1,anger\n"), "did you mean 'Speakers'?")


HEADER = "path,speaker,emotion"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{HEADER}\na.wav,1,anger\nb.wav,,anger\n", ("line 3: ", "speaker is empty", "delete the line")),
        (f"{HEADER}\n,1,anger\n", ("line 2: ", "path is empty")),
        (f"{HEADER}\na.wav,1,  \n", ("line 2: ", "emotion is empty")),
        (f"id,{HEADER}\n1,a.wav,1,sad\n,b.wav,1,sad\n", ("line 3: ", "id is empty")),
        (f'{HEADER},text\na.wav,1,sad,"two\nlines"\nb.wav,,sad,x\n', ("line 4: ", "speaker is empty")),
        (f"{HEADER}\n\n\na.wav,1,\n", ("line 4: ", "emotion is empty")),
        (f"{HEADER}\na.wav,1,anger,\nb.wav,1,anger,\n", ("line 2: ", "4 cells", "3")),
        (f"{HEADER}\na.wav,1,anger\nb.wav,1\n", ("line 3: ", "2 cells", "3")),
        (f"{HEADER},speaker\na.wav,1,anger,2\n", ("'speaker'", "twice")),
        (f"{HEADER},start\na.wav,1,anger,soon\n", ("line 2: ", "start 'soon'", "seconds")),
        (f"{HEADER},end\na.wav,1,anger,inf\n", ("line 2: ", "end 'inf'", "seconds")),
        (f"{HEADER},duration\na.wav,1,anger,1:30\n", ("line 2: ", "duration '1:30'", "seconds")),
        (f"{HEADER},start,end\na.wav,1,anger,2,1\n", ("line 2: ", "from 2 s to 1 s", "start")),
        (f"{HEADER},start,end\na.wav,1,anger,1,1\n", ("line 2: ", "from 1 s to 1 s")),
        (f"{HEADER},start\na.wav,1,anger,-0.5\n", ("line 2: ", "-0.5 s", "negative")),
        (f"{HEADER}\n", ("no rows",)),
        ("", ("empty",)),
        ("path;speaker;emotion\na.wav,1,anger\n", ("line 2: ", "1 cells", "3")),
    ],
)  # fmt: skip
def test_a_wrong_manifest_names_its_line(tmp_path: Path, text: str, told: tuple[str, ...]) -> None:
    refused(lambda: of_text(tmp_path, text), str(tmp_path / "manifest.csv"), *told)


def test_rows_of_parquet_are_counted_from_one(tmp_path: Path) -> None:
    table = pd.DataFrame(manifest_rows()).assign(start=0.0, end=[1.0] * 11 + [float("inf")])
    table.to_parquet(tmp_path / "manifest.parquet")
    refused(lambda: csv.read(tmp_path), "manifest.parquet row 12: ", "end 'inf'")
    table.assign(end=1.0, speaker=[None, *table["speaker"][1:]]).to_parquet(tmp_path / "manifest.parquet")
    refused(lambda: csv.read(tmp_path), "manifest.parquet row 1: ", "speaker is empty")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clips.parquet", b"no table"),
        ("clips.csv", b"path,speaker,emotion\n\x81\x8d,1,sad"),
        ("clips.csv", b'path,speaker,emotion\n"a'),
    ],
)
def test_an_unreadable_manifest_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(lambda: csv.read(tmp_path / name), str(tmp_path / name), "cannot be read as a table", "save it")


def test_a_suffix_in_capitals_is_the_same_suffix(tmp_path: Path) -> None:
    pd.DataFrame(manifest_rows()).to_parquet(tmp_path / "CLIPS.PARQUET")
    assert len(csv.read(tmp_path / "CLIPS.PARQUET").table) == 12


# manifests as other programs write them


@pytest.mark.parametrize("column", ["file", "filename", "file_name", "audio", "wav", "File"])
def test_the_path_may_have_other_programs_names(tmp_path: Path, column: str) -> None:
    (tmp_path / "m.csv").write_text(f"{column},speaker,emotion\na.wav,1,anger\n")
    found = csv.read(tmp_path / "m.csv")
    assert found.table["path"].tolist() == [str(tmp_path / "a.wav")] and found.table["id"].tolist() == ["a"]
    assert found.notes == (f"m.csv: column {column!r} was read as path",)


def test_two_columns_that_may_be_the_path_are_refused(tmp_path: Path) -> None:
    text = "file,wav,speaker,emotion\na,a.wav,1,anger\n"
    refused(lambda: of_text(tmp_path, text), "manifest.csv: columns file and wav", "corpus.options.columns")
    found = csv.read(tmp_path, columns={"path": "wav", "id": "file"})
    assert found.table["path"].tolist() == [str(tmp_path / "a.wav")] and found.notes == ()


def test_columns_of_any_name_are_named_by_an_option(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("Clip,Who,label,emotion\na.wav,1,anger,7\n")
    options = {"path": "Clip", "speaker": "Who", "emotion": "label"}
    row = csv.read(tmp_path / "m.csv", columns=options).table.iloc[0]
    assert (row["path"], row["speaker"], row["emotion"]) == (str(tmp_path / "a.wav"), "1", "anger")
    for wrong, told in (
        ({"pfad": "Clip"}, "corpus.options.columns: 'pfad' is no column of ours"),
        ({"path": "clips"}, "corpus.options.columns.path: "),
        ("Clip", "corpus.options.columns: give"),
    ):
        refused(lambda wrong=wrong: load_corpus("csv", tmp_path / "m.csv", columns=wrong), told)


def test_times_as_audformat_writes_them_are_seconds(tmp_path: Path) -> None:
    times = ["0 days 00:00:01.200000,0 days 00:00:02.5", "0 days,0 days 00:00:01.2", "1 days 01:01:01,"]
    rows = [f"a.wav,{time},s,anger" for time in times]
    (tmp_path / "m.csv").write_text("\n".join(["file,start,end,speaker,emotion", *rows]))
    found = csv.read(tmp_path / "m.csv")
    assert found.table["start"].tolist() == [1.2, 0.0, 90_061.0]
    assert found.table["end"].tolist()[:2] == [2.5, 1.2] and pd.isna(found.table["end"][2])
    # the pieces of one file are told apart
    assert found.table["id"].tolist() == ["a@1.200", "a@0.000", "a@90061.000"]
    assert {"m.csv: start was read as times", "m.csv: end was read as times"} <= set(found.notes)


def test_the_times_of_a_parquet_manifest_are_seconds(tmp_path: Path) -> None:
    table = pd.DataFrame(manifest_rows()[:2]).assign(start=pd.to_timedelta([0.5, 1.0], unit="s"))
    table.assign(end=pd.to_timedelta([1.5, float("nan")], unit="s")).to_parquet(tmp_path / "manifest.parquet")
    found = csv.read(tmp_path).table
    assert found["start"].tolist() == [0.5, 1.0] and found["end"][0] == 1.5 and pd.isna(found["end"][1])


@pytest.mark.parametrize(
    ("encoding", "suffix", "separator", "told"),
    [
        ("utf-16", "txt", "\t", "m.txt was read as UTF-16 with tabs between cells"),
        ("utf-16-le", "tsv", "\t", "m.tsv was read as UTF-16"),
        ("cp1252", "csv", ";", "m.csv was read as Windows-1252 with semicolons between cells"),
        ("utf-8", "csv", ";", "m.csv was read with semicolons between cells"),
    ],
)
def test_what_excel_writes_is_read_and_told(
    tmp_path: Path, encoding: str, suffix: str, separator: str, told: str
) -> None:
    lines = ("path;speaker;emotion;start;end", "ä.wav;Jürgen;anger;0,25;1,5", "b.wav;Zoë;Ärger;1;2")
    text = "\r\n".join(lines).replace(";", separator)
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / f"m.{suffix}").write_bytes((mark + text).encode(encoding))
    found = csv.read(tmp_path / f"m.{suffix}")
    assert found.table["speaker"].tolist() == ["Jürgen", "Zoë"] and found.table["emotion"].tolist()[1] == "Ärger"
    assert found.table["path"].tolist()[0] == str(tmp_path / "ä.wav")
    assert found.table["start"].tolist() == [0.25, 1.0] and found.table["end"].tolist() == [1.5, 2.0]
    assert found.notes[0] == told and f"m.{suffix}: end was read as decimal commas" in found.notes


def test_a_comma_that_may_part_thousands_is_refused(tmp_path: Path) -> None:
    text = "path;speaker;emotion;end\na.wav;1;anger;1,234\nb.wav;1;anger;2.5\n"
    refused(lambda: of_text(tmp_path, text), "line 2: ", "end '1,234'", "not a number of seconds")
