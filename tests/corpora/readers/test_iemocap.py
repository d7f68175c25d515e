"""IEMOCAP: true speakers, four classes, published counts; the release tree and the hub's copy alike."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from lorascope.corpora import load_corpus
from lorascope.corpora.readers import iemocap
from lorascope.corpora.readers.iemocap import CODES, PREFIX_LEAK, count_differences, parse_name

from ..refusals import refused
from ..trees import IEMOCAP_CODES, iemocap_tree, iemocap_turns

#: The table of the published counts: session, anger, happiness with excited, neutrality, sadness, female, male.
TABLE = """
1 229 278 384 194 528 557
2 137 327 362 197 481 542
3 240 286 320 305 522 629
4 327 303 258 143 528 503
5 170 442 384 245 590 651
"""


# names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ses01F_impro01_M000", ("1", "F", "M")),
        ("Ses01F_impro01_F000", ("1", "F", "F")),
        ("Ses05M_script01_1b_F012", ("5", "M", "F")),
        ("Ses02F_script03_2_MXX1", ("2", "F", "M")),
        ("Ses03M_impro08a_F001", ("3", "M", "F")),
    ],
)
def test_the_speaker_is_the_letter_of_the_last_part(name: str, expected: tuple[str, str, str]) -> None:
    assert parse_name(name) == expected


@pytest.mark.parametrize(
    "name", ["Ses01F_impro01", "Ses01X_impro01_F000", "Ses01F_impro01_X000", "03a01Fa", "", "Ses01F_F000"]
)
def test_other_names_are_refused(name: str) -> None:
    refused(lambda: parse_name(name, "labels.txt line 3"), "labels.txt line 3", repr(name), "Ses01F_impro01_F000")


def test_the_male_of_a_dialogue_named_after_the_female_is_the_sessions_male(release: Path) -> None:
    clips = load_corpus("iemocap", release).clips
    assert clips.loc["Ses01F_impro01_M000", ["speaker", "gender", "session"]].tolist() == ["Ses01M", "male", "1"]
    assert clips.loc["Ses01F_impro01_F000", ["speaker", "gender", "session"]].tolist() == ["Ses01F", "female", "1"]
    true = [f"Ses0{name[4]}{name.rpartition('_')[2][0]}" for name in clips.index]
    assert (clips["speaker"] == true).all() and len(set(true)) == 10


# the release tree


def test_every_turn_of_the_release_is_read(release: Path) -> None:
    found = iemocap.read(release)
    expected = dict(iemocap_turns())
    table = found.table.set_index("id")
    assert set(table.index) == set(expected) and len(table) == len(expected) == 100
    assert all(Path(path).is_file() and Path(path).stem == name for name, path in table["path"].items())
    assert (table["emotion"] == [CODES[expected[name]] for name in table.index]).all()
    assert (table["duration"] == 1.5).all() and (table["language"] == "en").all()


def test_the_words_of_a_turn_are_its_transcription(release: Path) -> None:
    clips = load_corpus("iemocap", release).clips
    assert clips["text"].notna().all() and clips["text"].is_unique
    assert clips.loc["Ses03M_script02_2b_F000", "text"].endswith("in Ses03M_script02_2b.")
    assert ": in " in clips["text"].iloc[0]  # a colon within the words stays


def test_excited_is_joined_to_happiness(release: Path) -> None:
    codes = Counter(code for _, code in iemocap_turns())
    counts = load_corpus("iemocap", release).clips["emotion"].value_counts()
    assert codes["exc"] > 0 and counts["happiness"] == codes["hap"] + codes["exc"]
    assert counts.sum() == sum(codes[code] for code in IEMOCAP_CODES)


@pytest.mark.parametrize("key", ["exc", "excited", "excitement"])
def test_excited_may_be_taken_apart_from_happiness(release: Path, key: str) -> None:
    codes = Counter(code for _, code in iemocap_turns())
    without = load_corpus("iemocap", release, label_map={key: None})
    assert (without.clips["emotion"] == "happiness").sum() == codes["hap"]
    assert codes["exc"] in set(without.left_out["clips"])
    apart = load_corpus("iemocap", release, classes=("anger", "happiness", "excitement"))
    counts = apart.clips["emotion"].value_counts()
    assert (counts["happiness"], counts["excitement"]) == (codes["hap"], codes["exc"])


def test_excited_goes_where_a_label_map_sends_happiness(release: Path) -> None:
    codes = Counter(code for _, code in iemocap_turns())
    corpus = load_corpus("iemocap", release, classes=("positive", "anger"), label_map={"happiness": "positive"})
    assert (corpus.clips["emotion"] == "positive").sum() == codes["hap"] + codes["exc"]


def test_other_labels_are_left_out_and_counted(release: Path) -> None:
    corpus = load_corpus("iemocap", release)
    reasons = dict(zip(corpus.left_out["reason"], corpus.left_out["clips"], strict=True))
    assert sorted(reasons.values()) == [10, 10]
    assert any("frustration" in reason for reason in reasons) and any("undecided" in reason for reason in reasons)


def test_a_label_map_may_take_frustration_in(release: Path) -> None:
    corpus = load_corpus("iemocap", release, label_map={"fru": "anger"})
    assert (corpus.clips["emotion"] == "anger").sum() == 20 + 10


def test_the_root_may_be_the_folder_above(release: Path) -> None:
    assert load_corpus("iemocap", release.parent).clips.equals(load_corpus("iemocap", release).clips)


@pytest.mark.parametrize(
    "line",
    [
        "[6.2901 - 8.2357]\tSes01F_impro01_F099\tmeh\t[2.5000, 2.5000, 2.5000]",
        "[6.2901 - 8.2357] Ses01F_impro01_F099 neu [2.5000, 2.5000, 2.5000]",
        "[6.2901 - ]\tSes01F_impro01_F099\tneu\t[2.5000, 2.5000, 2.5000]",
        "[6.2901 - 8.2357]\tImpro01_F099\tneu\t[2.5000, 2.5000, 2.5000]",
    ],
)
def test_a_line_that_is_no_turn_names_file_and_line(tmp_path: Path, line: str) -> None:
    release = iemocap_tree(tmp_path, per_class=1)
    labels = release / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    before = labels.read_text()
    labels.write_text(before + line + "\n")
    refused(lambda: load_corpus("iemocap", release), f"{labels} line {len(before.splitlines()) + 1}: ")


def test_a_missing_sound_names_its_label_and_itself(tmp_path: Path) -> None:
    release = iemocap_tree(tmp_path, per_class=1)
    sound = release / "Session2" / "sentences" / "wav" / "Ses02F_impro01" / "Ses02F_impro01_M000.wav"
    sound.unlink()
    refused(lambda: load_corpus("iemocap", release), "Ses02F_impro01.txt line ", str(sound), "corpus.exclude")


def test_labels_without_turns_are_refused(tmp_path: Path) -> None:
    release = iemocap_tree(tmp_path, per_class=1)
    for folder in release.glob("Session*/dialog/EmoEvaluation"):
        shutil.rmtree(folder)
    refused(lambda: load_corpus("iemocap", release), str(release), "no labelled turns", "corpus.root")


def test_a_session_alone_is_no_release(release: Path) -> None:
    refused(lambda: load_corpus("iemocap", release / "Session1"), "Session1", "IEMOCAP_full_release", "--root")


@pytest.mark.parametrize(("option", "value"), [("speakers", "letters"), ("source", "disk")])
def test_an_unknown_value_of_an_option_is_refused(release: Path, option: str, value: str) -> None:
    refused(lambda: load_corpus("iemocap", release, **{option: value}), f"corpus.options.{option}", repr(value), "use ")


# the released code's speakers


def test_prefix_speakers_reproduce_the_released_leak_and_say_so(release: Path) -> None:
    true, leaky = load_corpus("iemocap", release), load_corpus("iemocap", release, speakers="prefix")
    assert leaky.optimistic == (PREFIX_LEAK,) and not true.optimistic
    assert leaky.clips.loc["Ses01F_impro01_M000", "speaker"] == "Ses01F"
    assert (leaky.clips["speaker"] == [name[:6] for name in leaky.clips.index]).all()
    assert leaky.clips.drop(columns="speaker").equals(true.clips.drop(columns="speaker"))


# published counts


def published() -> pd.DataFrame:
    """A table of clips with the published counts."""
    rows = []
    for line in TABLE.split("\n")[1:-1]:
        session, *numbers = line.split()
        anger, happiness, neutrality, sadness, female, male = map(int, numbers)
        emotions = ["anger"] * anger + ["happiness"] * happiness + ["neutrality"] * neutrality + ["sadness"] * sadness
        genders = ["female"] * female + ["male"] * male
        rows += [(session, emotion, gender) for emotion, gender in zip(emotions, genders, strict=True)]
    return pd.DataFrame(rows, columns=["session", "emotion", "gender"])


def test_the_published_counts_give_no_note() -> None:
    table = published()
    assert len(table) == 5531
    others = pd.DataFrame({"session": ["1", "2"], "emotion": ["frustration", "undecided"], "gender": "male"})
    assert list(count_differences(pd.concat([table, others]))) == []


def test_one_clip_too_few_is_noted_with_its_session() -> None:
    table = published()
    lost = table.drop(table.index[(table["session"] == "4") & (table["emotion"] == "sadness")][0])
    notes = list(count_differences(lost))
    assert len(notes) == 2 and all(note.startswith("session 4: ") for note in notes)
    assert "sadness 142" in notes[0] and "published" in notes[0] and "sadness 143" in notes[0]


def test_a_clip_of_another_speaker_is_noted() -> None:
    table = published()
    table.loc[0, "gender"] = "male"
    assert list(count_differences(table)) == ["session 1: female 527, male 558; published female 528, male 557"]


def test_a_missing_session_is_noted() -> None:
    table = published()
    notes = list(count_differences(table[table["session"] != "5"]))
    assert len(notes) == 2 and all(note.startswith("session 5: ") for note in notes) and "anger 0" in notes[0]


def test_a_corpus_with_other_counts_carries_the_notes(release: Path) -> None:
    corpus = load_corpus("iemocap", release)
    assert set(count_differences(corpus.clips)) <= set(corpus.notes)
    assert {note.partition(":")[0] for note in corpus.notes} == {f"session {number}" for number in range(1, 6)}


# the hub's copy


@pytest.mark.usefixtures("cache")
def test_the_hubs_copy_is_the_same_corpus(release: Path, hub_copy: Path) -> None:
    tree, copy = load_corpus("iemocap", release), load_corpus("iemocap", hub_copy, source="hub")
    same = ["speaker", "emotion", "gender", "session", "language"]
    assert copy.clips[same].equals(tree.clips[same])
    assert copy.notes == tree.notes and copy.left_out.empty
    assert load_corpus("iemocap", hub_copy, source="hub", speakers="prefix").optimistic == (PREFIX_LEAK,)


def test_sounds_of_the_hubs_copy_are_kept_in_the_cache(hub_copy: Path, cache: Path) -> None:
    first = load_corpus("iemocap", hub_copy, source="hub").clips["path"]
    assert all(cache in Path(path).parents for path in first)
    assert all(soundfile.info(path).samplerate == 16_000 for path in first.iloc[:3])
    row = (
        pq.read_table(hub_copy / "data" / "session1-00000-of-00001-0123456789abcdef.parquet").slice(0, 1).to_pylist()[0]
    )
    sound = Path(first[Path(row["audio"]["path"]).stem])
    assert sound.read_bytes() == row["audio"]["bytes"]
    written = {path: Path(path).stat().st_mtime_ns for path in first}
    sound.write_bytes(b"half of it")  # as after an interruption
    again = load_corpus("iemocap", hub_copy, source="hub").clips["path"]
    assert again.equals(first) and sound.read_bytes() == row["audio"]["bytes"]
    assert all(Path(path).stat().st_mtime_ns == written[path] for path in first if path != str(sound))


def _hub_table(folder: Path, **columns: list[object]) -> Path:
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "data" / "session1-00000-of-00001.parquet")
    return folder


def _sounds(*names: str) -> list[object]:
    return [{"bytes": b"RIFF", "path": name} for name in names]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (
            {"sound": _sounds("Ses01F_impro01_F000.wav"), "label": [0]},
            ("columns audio and label", "corpus.options.hub_id"),
        ),
        ({"audio": _sounds("Ses01F_impro01_F000.wav")}, ("columns audio and label",)),
        (
            {"audio": _sounds("Ses01F_impro01_F000.wav", "Ses01F_impro01_F001.wav"), "label": [0, 4]},
            ("session1 row 2", "label 4"),
        ),
        (
            {"audio": _sounds("Ses01F_impro01_F000.wav"), "label": ["angr"]},
            ("session1 row 1", "'angr'", "did you mean"),
        ),
        ({"audio": _sounds("03a01Fa.wav"), "label": [0]}, ("session1 row 1", "'03a01Fa'")),
        ({"audio": [{"bytes": b"RIFF", "path": None}], "label": [0]}, ("session1 row 1", "file name")),
    ],
)  # fmt: skip
def test_another_dataset_is_refused(tmp_path: Path, columns: dict[str, list[object]], told: tuple[str, ...]) -> None:
    folder = _hub_table(tmp_path / "copy", **columns)
    refused(lambda: load_corpus("iemocap", folder, source="hub"), str(folder), *told)


@pytest.mark.usefixtures("cache")
def test_labels_as_words_are_as_good_as_numbers(tmp_path: Path) -> None:
    names = [
        f"Ses0{session}F_impro01_{letter}00{number}.wav" for session in (1, 2) for letter in "FM" for number in range(4)
    ]
    folder = _hub_table(tmp_path / "copy", audio=_sounds(*names), label=["sad", "neu", "hap", "ang"] * 4)
    assert (
        load_corpus("iemocap", folder, source="hub").clips["emotion"].tolist()
        == ["sadness", "neutrality", "happiness", "anger"] * 4
    )


@pytest.mark.usefixtures("cache")
def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(
        lambda: load_corpus("iemocap", tmp_path / "empty", source="hub"),
        str(tmp_path / "empty"),
        "cannot be loaded",
        "corpus.root",
    )
