"""The readers of acted corpora that tell a clip by its file's name: CREMA-D, SAVEE, TESS, EMOVO, ESD."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from lorascope.corpora import load_corpus
from lorascope.corpora.readers import cremad, emovo, esd, savee, tess
from lorascope.sound.decoding import load_audio

from ...tiny import write_tone
from ..refusals import refused
from ..trees import APPLE_DOUBLE
from ..trees_more import ESD_ENCODINGS, cremad_tree, emovo_tree, esd_tree, savee_tree, tess_tree

BIG_SIX = ("anger", "disgust", "fear", "happiness", "sadness", "neutrality")


def told(table: pd.DataFrame, clip: str) -> dict[str, object]:
    """What is known of a clip but for its path."""
    return table.set_index("id").loc[clip].drop("path").dropna().to_dict()


# CREMA-D


def test_cremad_names_are_read(tmp_path: Path) -> None:
    found = cremad.read(cremad_tree(tmp_path))
    assert told(found.table, "1002_DFA_HAP_XX") == {
        "speaker": "1002", "emotion": "happiness", "text": "DFA", "gender": "female", "language": "en",
        "transcript": "Don't forget a jacket.",
    }  # fmt: skip
    assert told(found.table, "1001_IEO_ANG_MD")["gender"] == "male"
    assert len(found.table) == 4 * 9 + 1 and not found.notes
    assert found.table.groupby("emotion").size().to_dict() == dict.fromkeys(BIG_SIX, 4) | {"anger": 16, "sadness": 5}


def test_the_name_with_a_single_x_is_a_clip(tmp_path: Path) -> None:
    clip = told(cremad.read(cremad_tree(tmp_path)).table, "1040_ITH_SAD_X")
    assert (clip["speaker"], clip["emotion"], clip["text"]) == ("1040", "sadness", "ITH")


def test_the_file_without_signal_is_counted_and_left_out(tmp_path: Path) -> None:
    corpus = load_corpus("cremad", cremad_tree(tmp_path), classes=BIG_SIX)
    assert corpus.left_out.to_dict("records") == [{"reason": "no signal (1076_MTI_SAD_XX)", "clips": 1}]
    assert len(corpus.clips) + 1 == len(list(tmp_path.rglob("*.wav")))


def test_cremads_folder_of_sounds_may_be_given_itself(tmp_path: Path) -> None:
    cremad_tree(tmp_path)
    assert cremad.read(tmp_path / "AudioWAV").table.equals(cremad.read(tmp_path).table)


def test_without_demographics_gender_is_unknown_and_noted(tmp_path: Path) -> None:
    found = cremad.read(cremad_tree(tmp_path, demographics=False))
    assert found.table["gender"].isna().all()
    assert "1001, 1002, 1040 and others" in found.notes[0] and "VideoDemographics.csv" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ActorID,Age\n1001,30\n", ("no column 'Sex'",)),
        ("ActorID,Sex\n1001,Male\n1002,F\n", ("line 3: ", "'F'", "Female")),
    ],
)
def test_wrong_demographics_are_refused(tmp_path: Path, text: str, told: tuple[str, ...]) -> None:
    (cremad_tree(tmp_path) / "VideoDemographics.csv").write_text(text)
    refused(lambda: cremad.read(tmp_path), "VideoDemographics.csv", *told)


# SAVEE


@pytest.mark.parametrize("flat", [True, False])
def test_savee_names_are_read(tmp_path: Path, flat: bool) -> None:
    table = savee.read(savee_tree(tmp_path, flat=flat)).table
    assert told(table, "JK_su02") == {"speaker": "JK", "emotion": "surprise", "gender": "male", "language": "en"}
    assert told(table, "DC_sa01")["emotion"] == "sadness" and told(table, "KL_a01")["emotion"] == "anger"
    assert table.groupby("emotion").size().to_dict() == dict.fromkeys((*BIG_SIX, "surprise"), 8) | {"neutrality": 16}
    assert table["speaker"].value_counts().to_dict() == dict.fromkeys(("DC", "JE", "JK", "KL"), 16)
    assert all(Path(path).is_file() for path in table["path"])


def test_the_two_layouts_of_savee_are_one_corpus(tmp_path: Path) -> None:
    nested = savee.read(savee_tree(tmp_path / "nested")).table
    flat = savee.read(savee_tree(tmp_path / "flat", flat=True) / "ALL").table
    columns = [name for name in nested if name != "path"]
    assert nested.set_index("id").sort_index()[columns[1:]].equals(flat.set_index("id").sort_index()[columns[1:]])


# TESS


def test_tess_names_are_read(tmp_path: Path) -> None:
    table = tess.read(tess_tree(tmp_path)).table
    assert told(table, "YAF_back_ps") == {
        "speaker": "YAF", "emotion": "surprise", "text": "back", "gender": "female", "language": "en",
        "transcript": "Say the word back.",
    }  # fmt: skip
    assert table.groupby(["speaker", "emotion"]).size().eq(2).all() and len(table) == 2 * 7 * 2


def test_the_name_that_lacks_a_letter_is_the_older_speakers(tmp_path: Path) -> None:
    clip = told(tess.read(tess_tree(tmp_path)).table, "OA_bite_neutral")
    assert (clip["speaker"], clip["emotion"], clip["text"]) == ("OAF", "neutrality", "bite")


def test_every_sound_of_tess_can_be_heard_whatever_its_format(tmp_path: Path) -> None:
    table = tess.read(tess_tree(tmp_path)).table
    formats = {soundfile.info(path).format for path in table["path"]}
    assert formats == {"WAV", "AIFF"}
    assert all(len(load_audio(path)) == round(soundfile.info(path).duration * 16_000) for path in table["path"])


def test_tess_may_lie_flat_and_hold_a_second_copy(tmp_path: Path) -> None:
    nested = tess.read(tess_tree(tmp_path / "nested")).table
    tess_tree(tmp_path / "nested" / "TESS Toronto emotional speech set data")
    assert tess.read(tmp_path / "nested").table.equals(nested)
    (tmp_path / "flat").mkdir()
    for path in nested["path"]:
        Path(path).rename(tmp_path / "flat" / Path(path).name)
    assert tess.read(tmp_path / "flat").table.drop(columns="path").equals(nested.drop(columns="path"))


# EMOVO


def test_emovo_names_are_read(tmp_path: Path) -> None:
    table = emovo.read(emovo_tree(tmp_path)).table
    assert told(table, "rab-m2-n4") == {
        "speaker": "m2", "emotion": "anger", "text": "n4", "gender": "male", "language": "it",
    }  # fmt: skip
    assert told(table, "pau-f1-b1")["emotion"] == "fear" and told(table, "gio-f1-b1")["gender"] == "female"
    assert table.groupby("emotion").size().to_dict() == dict.fromkeys((*BIG_SIX, "surprise"), 12)
    assert sorted(set(table["speaker"])) == ["f1", "f2", "f3", "m1", "m2", "m3"]


def test_emovo_may_lie_flat_or_in_a_folder_of_its_name(tmp_path: Path) -> None:
    nested = emovo.read(emovo_tree(tmp_path / "EMOVO")).table
    assert emovo.read(tmp_path).table.equals(nested)
    (tmp_path / "flat").mkdir()
    for path in nested["path"]:
        Path(path).rename(tmp_path / "flat" / Path(path).name)
    assert emovo.read(tmp_path / "flat").table.drop(columns="path").equals(nested.drop(columns="path"))


# ESD


@pytest.mark.parametrize("splits", [True, False])
def test_esd_folders_and_names_are_read(tmp_path: Path, splits: bool) -> None:
    table = esd.read(esd_tree(tmp_path, splits=splits)).table
    clip = told(table, "0013_000351")
    assert clip.pop("split", None) == ("validation" if splits else None)
    assert clip == {
        "speaker": "0013", "emotion": "anger", "text": "The nine’s café.", "gender": "male", "language": "en",
    }  # fmt: skip
    assert told(table, "0001_001051")["language"] == "zh" and told(table, "0016_001401")["emotion"] == "surprise"
    assert table.groupby("emotion").size().eq(3 * 5).all() and table["emotion"].nunique() == 5
    if splits:
        assert table["split"].value_counts().to_dict() == dict.fromkeys(("train", "validation", "test"), 25)


@pytest.mark.parametrize("speaker", list(ESD_ENCODINGS))
def test_texts_of_every_encoding_are_read_and_broken_lines_counted(tmp_path: Path, speaker: str) -> None:
    found = esd.read(esd_tree(tmp_path))
    texts = found.table.loc[found.table["speaker"] == speaker, "text"]
    assert set(texts.dropna()) == {"打远一看" if speaker <= "0010" else "The nine’s café."}
    assert texts.isna().sum() == 1
    assert f"speaker {speaker}: 1 of 15 clips without a text in {speaker}.txt" in found.notes


def test_without_its_text_file_a_speaker_has_no_texts(tmp_path: Path) -> None:
    (esd_tree(tmp_path) / "0011" / "0011.txt").unlink()
    found = esd.read(tmp_path)
    assert found.table.loc[found.table["speaker"] == "0011", "text"].isna().all()
    assert "speaker 0011: 15 of 15 clips without a text in 0011.txt" in found.notes


def test_bytes_of_no_encoding_are_still_told_apart_by_their_tabs() -> None:
    # 81 is in none of the others, and means nothing in Windows' Latin 1 either
    assert esd.decoded(b"0016_000001\tcaf\xe9 \x81\tNeutral").split("\t")[1] == "café \x81"


@pytest.mark.parametrize(("language", "other", "speakers"), [("english", "mandarin", 3), ("mandarin", "english", 2)])
def test_the_other_language_is_counted_and_left_out(tmp_path: Path, language: str, other: str, speakers: int) -> None:
    found = esd.read(esd_tree(tmp_path), language=language)
    assert found.table["speaker"].nunique() == speakers and found.table["language"].nunique() == 1
    ((reason, count),) = found.left_out
    assert other in reason and count == 15 * (5 - speakers)


def test_an_unknown_language_is_refused(tmp_path: Path) -> None:
    refused(lambda: load_corpus("esd", esd_tree(tmp_path), language="en"), "corpus.options.language", "'en'", "english")


def test_esd_is_found_in_the_folders_of_its_archive(tmp_path: Path) -> None:
    inner = esd_tree(tmp_path / "Emotional Speech Dataset (ESD)" / "Emotion Speech Dataset")
    (inner / "ReadMe.txt").write_text("0001: Chinese Female")
    assert len(esd.read(tmp_path).table) == len(esd.read(inner).table) == 75


# what every one of them refuses


TREES: dict[str, tuple[Callable[..., Path], Callable[[Path], object]]] = {
    "cremad": (cremad_tree, cremad.read),
    "savee": (savee_tree, savee.read),
    "tess": (tess_tree, tess.read),
    "emovo": (emovo_tree, emovo.read),
    "esd": (esd_tree, esd.read),
}


@pytest.mark.parametrize(
    ("reader", "name"),
    [
        ("cremad", "AudioWAV/1001_DFA_BOR_XX.wav"),
        ("cremad", "AudioWAV/1001_DFA_ANG.wav"),
        ("savee", "AudioData/DC/b01.wav"),
        ("savee", "AudioData/DC/KL_a01.wav"),
        ("savee", "AudioData/XX/a01.wav"),
        ("tess", "OAF_angry/OAF_back_furious.wav"),
        ("tess", "OAF_angry/back_angry.wav"),
        ("emovo", "f1/dis-f4-b1.wav"),
        ("emovo", "f1/dis-f2-b1.wav"),
        ("emovo", "m1/anger-m1-b1.wav"),
        ("esd", "0011/Angry/train/0012_000400.wav"),
        ("esd", "0011/Bored/train/0011_000400.wav"),
        ("esd", "0011/Angry/dev/0011_000400.wav"),
        ("esd", "0011/0011_000400.wav"),
        ("esd", "0011/Angry/take 1.wav"),
    ],
)
def test_a_misnamed_file_is_refused(tmp_path: Path, reader: str, name: str) -> None:
    tree, read = TREES[reader]
    write_tone(tree(tmp_path) / name)
    refused(lambda: read(tmp_path), str(tmp_path / name), "move the file elsewhere or use the csv reader")


@pytest.mark.parametrize("reader", list(TREES))
def test_what_macos_leaves_is_no_clip_and_flac_is(tmp_path: Path, reader: str) -> None:
    tree, read = TREES[reader]
    before = read(tree(tmp_path)).table  # pyright: ignore[reportAttributeAccessIssue]
    path = Path(before["path"].iloc[0])
    path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
    samples, rate = soundfile.read(path)
    soundfile.write(path.with_suffix(".flac"), samples, rate)
    path.unlink()
    after = read(tmp_path).table  # pyright: ignore[reportAttributeAccessIssue]
    assert after.drop(columns="path").equals(before.drop(columns="path"))


@pytest.mark.parametrize("reader", list(TREES))
def test_the_four_classes_are_read_by_name_and_everything_else_is_counted(tmp_path: Path, reader: str) -> None:
    tree, _ = TREES[reader]
    corpus = load_corpus(reader, tree(tmp_path))
    sounds = [path for path in tmp_path.rglob("*.wav") if not path.name.startswith("._")]
    assert len(corpus.clips) + corpus.left_out["clips"].sum() == len(sounds)
    assert set(corpus.clips["emotion"]) == set(corpus.classes)
