"""Tiny trees in the exact layouts of the corpora, filled with tones that depend a little on emotion and speaker."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from ..tiny import write_tone

#: What an emotion does to the pitch of a voice in these trees.
PITCH = {"anger": 1.7, "happiness": 1.4, "neutrality": 1.0, "sadness": 0.75}
IEMOCAP_CODES = {"ang": "anger", "hap": "happiness", "exc": "happiness", "neu": "neutrality", "sad": "sadness"}
HUB_LABELS = ("anger", "happiness", "neutrality", "sadness")
#: Prefix and scene of each session's dialogues; both speakers of the session speak in every one.
IEMOCAP_DIALOGUES = ("F_impro01", "M_impro02", "F_script01_1", "M_script02_2b")
#: What macOS leaves beside every file of the release: AppleDouble data, neither text nor sound.
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff\xfe\n[not a turn\nSes01F_impro01_F000 [0]: not said\n"


def voice(path: Path, speaker: int, female: bool, emotion: str, seed: int, rate: int = 16_000) -> Path:
    """A tone of 0.5 to 1 s: the speaker's pitch, raised or lowered by the emotion."""
    hertz = (210 if female else 120) * (1 + 0.02 * speaker) * PITCH.get(emotion, 1.1)
    return write_tone(path, hertz=hertz, seconds=0.5 + 0.1 * (seed % 6), rate=rate, seed=seed)


def iemocap_turns(per_class: int = 2) -> Iterator[tuple[str, str]]:
    """(utterance, code) of a small IEMOCAP: each of the 10 speakers has `per_class` clips of each class, one
    frustrated and one undecided.

    Each of the four dialogues of a session holds both speakers; happiness alternates between hap and exc.
    """
    for session in range(1, 6):
        taken: dict[str, int] = defaultdict(int)
        for turn in range(per_class + 1):
            codes = ("ang", "exc" if turn % 2 else "hap", "neu", "sad") if turn < per_class else ("fru", "xxx")
            for place, code in enumerate(codes):
                dialogue = f"Ses0{session}{IEMOCAP_DIALOGUES[(turn + place) % 4]}"
                for speaker in "FM":
                    number = taken[dialogue + speaker]
                    taken[dialogue + speaker] += 1
                    yield f"{dialogue}_{speaker}{number:03d}", code


def iemocap_tree(root: Path, per_class: int = 2) -> Path:
    """`IEMOCAP_full_release` below `root`, with labels, rater lines, transcriptions, sounds, and macOS' `._` files
    beside them. Returns that folder.
    """
    release = root / "IEMOCAP_full_release"
    dialogues: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for number, (name, code) in enumerate(iemocap_turns(per_class)):
        dialogue, letter = name[:-5], name[-4]
        session = release / f"Session{name[4]}"
        wav = session / "sentences" / "wav" / dialogue / f"{name}.wav"
        voice(wav, int(name[4]), letter == "F", IEMOCAP_CODES.get(code, code), seed=number)
        (wav.parent / f"._{name}.wav").write_bytes(APPLE_DOUBLE)
        dialogues[dialogue].append((name, code))
    for dialogue, turns in dialogues.items():
        _iemocap_dialogue(release / f"Session{dialogue[4]}" / "dialog", dialogue, turns)
    return release


def _iemocap_dialogue(folder: Path, dialogue: str, turns: Sequence[tuple[str, str]]) -> None:
    labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    texts = []
    for number, (name, code) in enumerate(turns):
        start = 6.25 + 3 * number
        labels += [
            f"[{start:.4f} - {start + 1.5:.4f}]\t{name}\t{code}\t[2.5000, 2.5000, 2.5000]",
            "C-E2:\tNeutral;\t()",
            "C-F1:\tNeutral; Anger;\t(curious)",
            "A-E3:\tval 3; act 2; dom  2;\t()",
            "",
        ]
        texts.append(f"{name} [{start:08.4f}-{start + 1.5:08.4f}]: Line {number}: in {dialogue}.")
    evaluation = folder / "EmoEvaluation"
    _write(evaluation / f"{dialogue}.txt", "\n".join(labels))
    (evaluation / f"._{dialogue}.txt").write_bytes(APPLE_DOUBLE)
    # single raters' labels lie a folder deeper and say other things
    _write(evaluation / "Categorical" / f"{dialogue}_e1_cat.txt", f"{turns[0][0]} :Surprise; ()\n")
    _write(folder / "transcriptions" / f"{dialogue}.txt", "\n".join([*texts, "M: [LAUGHTER]"]))
    (folder / "transcriptions" / f"._{dialogue}.txt").write_bytes(APPLE_DOUBLE)


def iemocap_hub_copy(folder: Path, per_class: int = 2) -> Path:
    """A dataset folder in the layout of the hub's copy: splits session1 to session5, columns audio (bytes
    and file name) and label.
    """
    import datasets

    features = datasets.Features(
        {
            "audio": datasets.Audio(sampling_rate=16_000),
            "label": datasets.ClassLabel(names=["ang", "hap", "neu", "sad"]),
        }
    )
    sessions: dict[str, list[dict[str, object]]] = defaultdict(list)
    for number, (name, code) in enumerate(iemocap_turns(per_class)):
        if code not in IEMOCAP_CODES:
            continue
        wav = voice(folder / "unpacked.wav", int(name[4]), name[-4] == "F", IEMOCAP_CODES[code], seed=number)
        sound = {"bytes": wav.read_bytes(), "path": f"{name}.wav"}
        sessions[name[4]].append({"audio": sound, "label": HUB_LABELS.index(IEMOCAP_CODES[code])})
        wav.unlink()
    (folder / "data").mkdir(parents=True)
    for session, rows in sessions.items():
        # by pyarrow, since datasets itself encodes sound only with torchcodec; the schema carries the Audio feature
        table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
        pq.write_table(table, folder / "data" / f"session{session}-00000-of-00001-0123456789abcdef.parquet")
    return folder


def emodb_tree(root: Path, speakers: Sequence[str] = ("03", "08", "10", "16"), suffix: str = ".wav") -> Path:
    """EmoDB's `wav` folder: every speaker says one text in each of the seven emotions, the second half of
    them twice. Returns `root`.
    """
    letters = {
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happiness",
        "T": "sadness",
        "N": "neutrality",
    }
    for number, speaker in enumerate(speakers):
        for letter, emotion in letters.items():
            for take in "ab" if letter in "FTN" else "a":
                path = root / "wav" / f"{speaker}a0{1 + number % 2}{letter}{take}{suffix}"
                voice(path, number, speaker in ("08", "16"), emotion, seed=number * 20 + ord(letter) + ord(take))
    return root


def ravdess_tree(root: Path, actors: int = 4) -> Path:
    """RAVDESS' `Actor_NN` folders: eight emotions in two repetitions (neutral in one), one song, one stereo clip
    at 48 kHz. Returns `root`.
    """
    emotions = ("neutrality", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")
    for actor in range(1, actors + 1):
        for code, emotion in enumerate(emotions, 1):
            for repetition in (1, 2) if code > 1 else (1,):
                name = f"03-01-{code:02d}-01-01-{repetition:02d}-{actor:02d}.wav"
                voice(root / f"Actor_{actor:02d}" / name, actor, actor % 2 == 0, emotion, seed=100 * actor + code)
    voice(root / "Actor_01" / "03-02-05-01-01-01-01.wav", 1, False, "anger", seed=1)
    time = np.arange(48_000) / 48_000
    stereo = np.stack([0.3 * np.sin(2 * np.pi * 200 * time), 0.1 * np.sin(2 * np.pi * 200 * time)], axis=1)
    soundfile.write(root / "Actor_02" / "03-01-05-01-01-01-02.wav", stereo, 48_000)
    return root


def manifest(root: Path, rows: Sequence[Mapping[str, object]], name: str = "manifest.csv", sounds: bool = True) -> Path:
    """A manifest with the columns of the first row; `sounds` writes a tone for every path in it.
    Returns the manifest's path.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
        writer.writeheader()
        writer.writerows(rows)
    for number, row in enumerate(rows if sounds else ()):
        write_tone(root / str(row["path"]), hertz=150.0 + 10 * number, seed=number)
    return root / name


def manifest_rows(
    speakers: Sequence[str] = ("1", "2", "3"), emotions: Sequence[str] = tuple(PITCH)
) -> list[dict[str, object]]:
    """One clip of every speaker in every emotion."""
    return [
        {"path": f"{speaker}-{emotion}.wav", "speaker": speaker, "emotion": emotion}
        for speaker in speakers
        for emotion in emotions
    ]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
