"""The check of a corpus: each fault planted in a clean tree is found and named, and nothing else is."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from lorascope.cli import main
from lorascope.corpora.checking.check import MOST_MISNAMED, Check, check_corpus
from lorascope.corpora.checking.suspicions import unlike_published
from lorascope.corpora.corpus import Published
from lorascope.corpora.readers import emodb, iemocap
from lorascope.errors import LorascopeError, in_options_of

from ...tiny import write_tone
from ..conftest import real_corpus
from ..refusals import refused
from ..trees import APPLE_DOUBLE, emodb_tree, manifest, manifest_rows, ravdess_tree
from ..trees_labelled import audformat_tree, msp_tree


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """EmoDB's folder of 40 clips, with its own published figures."""
    classes = dict.fromkeys(("anger", "boredom", "disgust", "fear"), 4) | dict.fromkeys(
        ("happiness", "sadness", "neutrality"), 8
    )
    monkeypatch.setattr(emodb, "PUBLISHED", Published(clips=40, speakers=4, by_class=classes))
    return emodb_tree(tmp_path / "emodb")


def copied(source: str, target: str) -> Callable[[Path], object]:
    return lambda wav: shutil.copy(wav / source, wav / target)


def as_flac(source: str, target: str) -> Callable[[Path], object]:
    """The samples of a clip under the name of another, in another format."""

    def change(wav: Path) -> None:
        soundfile.write(wav / f"{target}.flac", *soundfile.read(wav / f"{source}.wav", dtype="int16"), subtype="PCM_16")
        (wav / f"{target}.wav").unlink()

    return change


def written(name: str, samples: np.ndarray) -> Callable[[Path], object]:
    return lambda wav: soundfile.write(wav / name, samples, 16_000, subtype="FLOAT")


def both(*changes: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda wav: [change(wav) for change in changes]


def labelled(wrong: dict[str, str]) -> Callable[[Path], object]:
    """A manifest beside the corpus, in whose lines some files have another label."""

    def change(wav: Path) -> None:
        table = emodb.read(wav).table
        table["emotion"] = [
            wrong.get(clip, emotion) for clip, emotion in zip(table["id"], table["emotion"], strict=True)
        ]
        table.assign(path=[f"wav/{Path(path).name}" for path in table["path"]]).to_csv(
            wav.parent / "manifest.csv", index=False
        )

    return change


#: What is done to the clean tree's folder `wav`; then each fault as its kind and words of its text.
FAULTS: dict[str, tuple[Callable[[Path], object], list[tuple[str, ...]]]] = {
    "clean": (lambda wav: None, []),
    "macOS' files": (lambda wav: (wav / "._03a01Wa.wav").write_bytes(APPLE_DOUBLE), []),
    "misnamed": (
        both(copied("03a01Wa.wav", "Track 1.wav"), lambda wav: write_tone(wav / "3a01Wa.wav", 99)),
        [
            ("misnamed", "Track 1.wav", "03a01Fa.wav"),
            ("misnamed", "3a01Wa.wav"),
            ("duplicate", "03a01Wa.wav", "Track 1.wav", "the same bytes"),
        ],
    ),
    "damaged": (
        both(
            lambda wav: (wav / "03a01Wa.wav").write_bytes(b"RIFF nothing"),
            lambda wav: (wav / "08a02Wa.wav").write_bytes(b""),
            written("10a01Wa.wav", np.zeros(8000)),
            written("16a02Wa.wav", np.array([0.1, np.nan, 0.2] * 1000)),
            written("16a02Aa.wav", np.zeros(0)),
        ),
        [
            ("damaged", "03a01Wa.wav", "cannot be read as audio"),
            ("damaged", "08a02Wa.wav", "cannot be read as audio"),
            ("damaged", "10a01Wa.wav", "silence"),
            ("damaged", "16a02Wa.wav", "NaN"),
            ("damaged", "16a02Aa.wav", "no samples"),
        ],
    ),
    "missing": (
        lambda wav: (wav / "03a01Nb.wav").unlink(),
        [("published", "39 clips, published are 40"), ("published", "7 clips of neutrality, published are 8")],
    ),
    "duplicate": (
        copied("03a01Na.wav", "03a01Nb.wav"),
        [("duplicate", "the same bytes", "03a01Na.wav (neutrality, speaker 03)", "03a01Nb.wav", "keep one")],
    ),
    "duplicate in another format": (
        as_flac("03a01Na", "03a01Nb"),
        [("duplicate", "the same samples", "03a01Na.wav", "03a01Nb.flac", "keep one")],
    ),
    "three of one content are told once": (
        both(copied("03a01Fa.wav", "03a01Fb.wav"), as_flac("03a01Fa", "03a01Wa")),
        [
            ("duplicate", "the same bytes", "03a01Fa.wav", "03a01Fb.wav"),
            ("mislabelled", "the same samples", "03a01Fa.wav (happiness", "03a01Wa.flac (anger", "two labels"),
        ],
    ),
    "two labels": (
        copied("03a01Wa.wav", "03a01La.wav"),
        [("mislabelled", "03a01La.wav (boredom, speaker 03)", "03a01Wa.wav (anger, speaker 03)", "two labels")],
    ),
    "two speakers": (
        copied("03a01Wa.wav", "10a01Wa.wav"),
        [("mislabelled", "speaker 03", "speaker 10", "one sound under two speakers")],
    ),
    "a manifest beside that agrees": (labelled({}), []),
    "a manifest beside that doesn't": (
        labelled({"08a02Ta": "happy"}),
        [("mislabelled", "08a02Ta.wav: sadness by its name, happiness in the manifest beside it")],
    ),
    "extra": (copied("03a01Wa.wav", "noise.mp3"), [("extra", "noise.mp3")]),
}  # fmt: skip


def same_faults(check: Check, expected: list[tuple[str, ...]]) -> None:
    """Exactly these faults, each by its kind and words of its text, in any order."""
    left = list(check.faults)
    for kind, *words in expected:
        (found,) = [f for f in left if f[0] == kind and all(word in f[1] for word in words)]
        left.remove(found)
    assert left == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_nothing_else(tree: Path, fault: str) -> None:
    plant, expected = FAULTS[fault]
    plant(tree / "wav")
    check = check_corpus("emodb", tree)
    same_faults(check, expected)
    assert check.warnings == [] and check.notes == []


def test_headers_alone_show_what_headers_can_show(tree: Path) -> None:
    FAULTS["damaged"][0](tree / "wav")
    copied("03a01Na.wav", "03a01Nb.wav")(tree / "wav")
    same_faults(
        check_corpus("emodb", tree, decode=False),
        [("damaged", "03a01Wa.wav"), ("damaged", "08a02Wa.wav"), ("duplicate", "03a01Nb.wav")],
    )


def test_sounds_elsewhere_and_other_files_are_no_faults(tree: Path) -> None:
    write_tone(tree / "silence" / "noise.wav")
    (tree / "wav" / "README.txt").write_text("read me")
    check = check_corpus("emodb", tree)
    assert check.faults == [] and check.notes == [
        f"sound files that are no clips of the corpus, in {tree / 'silence'}: 1"
    ]


def test_another_corpus_is_not_read_to_its_end(tmp_path: Path) -> None:
    for number in range(MOST_MISNAMED + 5):
        shutil.copy(
            write_tone(tmp_path / "tone.wav") if number == 0 else tmp_path / "x0.wav", tmp_path / f"x{number}.wav"
        )
    check = check_corpus("emodb", tmp_path, decode=False)
    told = [text for kind, text in check.faults if kind == "misnamed"]
    assert len(told) == MOST_MISNAMED + 1 and "is this emodb?" in told[-1] and check.clips is None


def test_ravdess_song_is_left_out_and_no_fault(tmp_path: Path) -> None:
    check = check_corpus("ravdess", ravdess_tree(tmp_path))
    # this small tree is not of the published size, and its repetitions are the same tone
    assert {kind for kind, _ in check.faults} == {"published", "duplicate"}
    assert check.notes == ["left out: song, not speech (1)"]
    assert check.heard is not None and check.heard.formats == {"16 kHz mono": 59, "48 kHz 2 channels": 1}


def test_iemocap_is_held_to_its_figures_by_session(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [text for kind, text in check_corpus("iemocap", release, decode=False).faults if kind == "published"]
    assert len(told) == 10 and sum("published anger 229" in text for text in told) == 1
    small = {str(session): ((4, 4, 4, 4), (8, 8)) for session in range(1, 6)}
    monkeypatch.setattr(iemocap, "PUBLISHED", small)
    check = check_corpus("iemocap", release)
    assert check.faults == [] and check.notes == [] and check.counts("session").tolist() == [20] * 5


@pytest.mark.parametrize(("name", "tree"), [("msp_podcast", msp_tree), ("audformat", audformat_tree)])
def test_sounds_that_the_reader_counts_as_left_out_are_no_faults(
    tmp_path: Path, name: str, tree: Callable[[Path], Path]
) -> None:
    check = check_corpus(name, tree(tmp_path / "tree"))
    assert check.faults == [] and any("left out: " in note for note in check.notes)
    assert check.clips is not None
    sound = Path(check.clips["path"].iloc[0])
    write_tone(sound.with_name("one-more.wav"), 99)
    again = check_corpus(name, tmp_path / "tree")
    assert again.faults == [] and again.notes != check.notes


def test_figures_of_some_classes_count_no_others_and_join_what_is_published_so() -> None:
    emotions = ["anger", "excitement", "happiness", "fear"]
    clips = pd.DataFrame({"emotion": emotions, "speaker": ["1", "2", "unknown", "1"]})
    four = Published(clips=3, speakers=2, by_class={"anger": 1, "happiness": 2})
    assert unlike_published(clips, four, {"excitement": "happiness"}) == []
    assert unlike_published(clips, four, {}) == [
        ("published", "2 clips, published are 3"),
        ("published", "1 clips of happiness, published are 2"),
    ]
    assert unlike_published(clips, Published(clips=4, speakers=None, by_class={}), {}) == []


# manifests


def csv_of(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table, **columns) -> Path:
    file = manifest(folder, manifest_rows())
    change(pd.read_csv(file, dtype=str).assign(**columns)).to_csv(file, index=False)
    return file


def cell(row: int, column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[row, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda table: table, []),
        (cell(5, "path", "gone.wav"), [("missing", "manifest.csv line 7", "gone.wav"), ("extra", "2-happiness.wav")]),
        (
            cell(5, "emotion", "hapines"),
            [("unknown label", "manifest.csv line 7", "'hapines'"), ("mislabelled", "line 7")],
        ),
        (
            cell(5, "emotion", "sad"),
            [("mislabelled", "line 7: labelled sadness", "2-happiness.wav is named happiness")],
        ),
        (lambda t: pd.concat([t, t.iloc[[3]]]), [("id twice", "line 5", "line 14", "'1-sadness'")]),
        (lambda t: t.iloc[:-1], [("extra", "3-sadness.wav")]),
        (cell(2, "speaker", ""), [("unreadable", "line 4", "speaker is empty")]),
        (lambda t: t.assign(start="0", end=["0.3"] * 11 + ["9"]), [("damaged", "3-sadness.wav", "no piece")]),
        (
            lambda t: pd.concat([t.assign(id=t["path"]), t.iloc[[3]].assign(id="again", emotion="anger")]),
            [
                ("mislabelled", "1-sadness.wav (anger", "1-sadness.wav (sadness", "two labels"),
                ("mislabelled", "line 14"),
            ],
        ),
    ],
)  # fmt: skip
def test_a_manifests_fault_is_found_and_nothing_else(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], expected: list[tuple[str, ...]]
) -> None:
    same_faults(check_corpus("csv", csv_of(tmp_path, change)), expected)


def test_pieces_of_one_file_are_no_duplicates(tmp_path: Path) -> None:
    write_tone(tmp_path / "all.wav", seconds=3)
    rows = [f"{n},all.wav,{n % 3},{e},{n / 4},{n / 4 + 0.25}" for n, e in enumerate(("anger", "sad") * 6)]
    (tmp_path / "manifest.csv").write_text("\n".join(["id,path,speaker,emotion,start,end", *rows]))
    check = check_corpus("csv", tmp_path)
    assert check.faults == [] and check.heard is not None and check.heard.seconds == pytest.approx(3)


def test_words_of_the_sentence_in_a_name_are_no_labels(tmp_path: Path) -> None:
    rows = [
        {"path": f"{s}-{word}-{e}.wav", "speaker": s, "emotion": e}
        for s in "123"
        for word in ("happy", "house")
        for e in ("anger", "sadness")
    ]
    assert check_corpus("csv", manifest(tmp_path, rows)).faults == []
    unnamed = [
        row | {"path": f"{row['speaker']}-{word}-{n}.wav"}
        for n, (row, word) in enumerate(zip(rows, ["happy"] + ["house"] * 11, strict=True))
    ]
    assert check_corpus("csv", manifest(tmp_path / "unnamed", unnamed)).faults == []


def test_lopsided_speakers_are_warned_of(tmp_path: Path) -> None:
    check = check_corpus(
        "csv",
        csv_of(
            tmp_path, lambda t: t[((t["speaker"] != "1") | (t["emotion"] == "anger")) & (t["path"] != "2-sadness.wav")]
        ),
        decode=False,
    )
    assert sorted(check.warnings) == [
        ("class missing", "no clip of sadness by speaker 2"),
        ("one emotion", "anger is all that there is of speaker 1"),
    ]


def test_sentences_that_tell_the_emotion_are_warned_of(tmp_path: Path) -> None:
    telling = check_corpus("csv", csv_of(tmp_path / "a", lambda t: t.assign(text="I say " + t["emotion"])))
    assert [kind for kind, _ in telling.warnings] == ["sentence"] and telling.faults == []
    silent = check_corpus("csv", csv_of(tmp_path / "b", text="I say nothing"))
    assert silent.warnings == [] and silent.sentence is not None and silent.sentence.uar == pytest.approx(0.25)
    without = check_corpus("csv", csv_of(tmp_path / "c"))
    assert without.sentence is None


def test_clips_of_unknown_speakers_are_noted(tmp_path: Path) -> None:
    check = check_corpus("csv", csv_of(tmp_path, cell(0, "speaker", "unknown")))
    told = "clips of unknown speakers: 1; they count as one speaker, 'unknown'"
    assert check.notes == [told] and check.faults == []


# the command


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
        sys.exit(0)
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_the_exit_code_tells_faults(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(capsys, "corpora", "check", "emodb", "--root", tree)
    lines = [line.split() for line in out.splitlines()]
    assert code == 0 and ["anger", "4", "4"] in lines and ["all", "40", "40"] in lines and "no faults" in out
    assert max(map(len, out.splitlines()[1:])) <= 80
    (tree / "wav" / "03a01Wa.wav").unlink()
    code, out, _ = call(capsys, "corpora", "check", "emodb", "--root", tree, "--headers")
    assert code == 1 and "2 faults:" in out and "3 clips of anger, published are 4" in out
    for arguments in (("emobd",), ("emodb", "--root", tree / "nowhere"), ("synthetic", "--root", tree)):
        code, _, err = call(capsys, "corpora", "check", *arguments)
        assert code == 2 and len(err.splitlines()) == 1 and err.startswith("error: ")


def test_json_holds_what_the_screen_shows(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copied("03a01Na.wav", "03a01Nb.wav")(tree / "wav")
    code, out, _ = call(capsys, "corpora", "check", "emodb", "--root", tree, "--json")
    told = json.loads(out)
    assert code == 1 and [fault["kind"] for fault in told["faults"]] == ["duplicate"]
    assert told["clips"] == 40 and told["by_speaker"] == dict.fromkeys(("03", "08", "10", "16"), 10)
    assert told["published"]["by_class"] == told["by_class"] and told["formats"] == {"16 kHz mono": 40}


def test_the_readers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "corpora")
    assert code == 0 and {"iemocap", "emodb", "ravdess", "csv", "synthetic"} <= {
        line.split()[0] for line in out.splitlines()[1:]
    }


def test_an_unknown_reader_is_refused() -> None:
    refused(lambda: check_corpus("emobd"), "'emobd'", "did you mean 'emodb'")


# the real ones


def test_the_real_emodb_has_no_fault() -> None:
    check = check_corpus("emodb", real_corpus("emodb"))
    assert check.faults == [] and check.clips is not None and len(check.clips) == 535
    assert check.sentence is not None and not check.sentence.tells


def test_the_real_ravdess_is_whole_and_has_one_take_twice() -> None:
    check = check_corpus("ravdess", real_corpus("ravdess"), decode=False)
    assert [kind for kind, _ in check.faults if kind != "duplicate"] == []
    assert check.warnings == [] and check.clips is not None and len(check.clips) == 1440


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 73000\n"


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `corpora check` prints of a corpus with faults."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["corpora", "check", *arguments])
    assert end.value.code == 1
    return capsys.readouterr().out


def test_git_lfs_pointers_are_one_line(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds = sorted(tree.rglob("*.wav"))
    for number, path in enumerate(sounds[:3]):
        path.write_text(POINTER.format(f"{number:064x}"))
    same_faults(check_corpus("emodb", tree), [("pointer", sounds[0].name, "3 files", "git lfs pull")])
    for number, path in enumerate(sounds):
        path.write_text(POINTER.format(f"{number:064x}"))
    out = printed(["emodb", "--root", str(tree)], capsys)
    assert "40 files are Git LFS pointers" in " ".join(out.split()) and "git lfs pull" in " ".join(out.split())
    assert len(out.splitlines()) < 15


def test_a_nested_tree_is_told_with_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for emotion in ("angry", "sad"):
        for number, word in enumerate(("back", "bite", "book")):
            folder = tmp_path / "tess" / "archive" / "TESS" / f"OAF_{emotion}"
            folder.mkdir(parents=True, exist_ok=True)
            write_tone(folder / f"OAF_{word}_{emotion}.wav", 100 + 7 * number + len(emotion))
    out = printed(["tess", "--root", str(tmp_path / "tess")], capsys)
    assert "the corpus lies deeper, in archive/TESS" in " ".join(out.split())
    assert len(out.splitlines()) < 15


@pytest.mark.slow
def test_many_equal_faults_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,speaker,emotion"]
    for number in range(5000):
        (tmp_path / f"{number}.wav").write_bytes(b"RIFF nothing %d" % number)
        rows.append(f"{number}.wav,{number % 9},{('angry', 'sad')[number % 2]}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    out = printed(["csv", "--root", str(tmp_path)], capsys)
    assert "5000 faults" in out and "and 4997 more of 5000 (all with --json)" in out
    assert len(out.splitlines()) < 15
    told = json.loads(printed(["csv", "--root", str(tmp_path), "--json"], capsys))
    assert len(told["faults"]) == 5000


def test_another_task_is_counted_by_its_own_labels(tmp_path: Path) -> None:
    tree = ravdess_tree(tmp_path)
    check = check_corpus("ravdess", tree, decode=False, task="intensity")
    assert set(check.counts("emotion").index) <= {"normal", "strong"} and check.counts("emotion").sum()
    assert not {kind for kind, _ in check.faults} & {"unknown label", "published", "mislabelled"}
    assert "one emotion" not in {kind for kind, _ in check.warnings}
    with pytest.raises(LorascopeError, match="this reader gives no 'mood'"):
        check_corpus("ravdess", tree, decode=False, task="mood")


def test_hints_name_what_the_verb_has() -> None:
    told = "corpus.options.columns.path: m.csv has no column 'p'; or map it with corpus.label_map in a run"
    assert in_options_of("check", told).count("in a run") == 2
    assert in_options_of("analyze", "corpus.label_map.sad: no clip").startswith("label_map.sad in a file for --corpus-")
    assert in_options_of("analyze", "corpus.options.columns.path: none") == "--option columns.path: none"
    assert in_options_of("analyze", "analysis.measures: lens cannot be had") == "--set measures: lens cannot be had"
