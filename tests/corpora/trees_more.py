"""Tiny trees of corpora that are read by the names of their files, in the corpora's own layouts, filled with tones.
Each builder returns the folder that a reader is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import soundfile

from ..tiny import write_tone

CREMAD_EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutrality",
    "SAD": "sadness",
}
ESD_ENCODINGS = {"0001": "gb2312", "0003": "utf-16", "0011": "utf-8", "0013": "utf-16-le", "0016": "cp1252"}
ESD_NUMBERS = {"Neutral": 1, "Angry": 351, "Happy": 701, "Sad": 1051, "Surprise": 1401}
ESD_SPLITS = {"evaluation": 0, "test": 20, "train": 50}


def blip(path: Path, seed: int, rate: int = 16_000) -> Path:
    """A tone as short as makes a clip: readers don't listen."""
    return write_tone(path, hertz=150 + seed % 100, seconds=0.03, rate=rate, seed=seed)


def cremad_tree(
    root: Path, actors: Sequence[str] = ("1001", "1002", "1040", "1076"), demographics: bool = True
) -> Path:
    """`AudioWAV` and `VideoDemographics.csv`: every actor says one sentence in six emotions, and an angry one in
    three intensities; both odd files are among them.
    """
    seed = 0
    for actor in actors:
        names = [f"{actor}_DFA_{code}_XX" for code in CREMAD_EMOTIONS]
        names += [f"{actor}_IEO_ANG_{level}" for level in ("LO", "MD", "HI")]
        for name in names:
            seed += 1
            blip(root / "AudioWAV" / f"{name}.wav", seed)
    blip(root / "AudioWAV" / "1040_ITH_SAD_X.wav", 5)
    soundfile.write(root / "AudioWAV" / "1076_MTI_SAD_XX.wav", [0.0] * 800, 16_000)
    if demographics:
        people = [f'{actor},30,"{"Male" if actor == "1001" else "Female"}","Unknown","Hispanic"' for actor in actors]
        _lines(root / "VideoDemographics.csv", ['"ActorID","Age","Sex","Race","Ethnicity"', *people])
    return root


def savee_tree(root: Path, flat: bool = False) -> Path:
    """`AudioData` with a folder a speaker (or `ALL` with the speaker in the name): two sentences of
    each emotion, four neutral.
    """
    for number, speaker in enumerate(("DC", "JE", "JK", "KL")):
        for code in ("a", "d", "f", "h", "n", "sa", "su"):
            for sentence in range(1, 5 if code == "n" else 3):
                name = f"{code}{sentence:02d}.wav"
                path = root / "ALL" / f"{speaker}_{name}" if flat else root / "AudioData" / speaker / name
                blip(path, number + sentence)
    return root


def tess_tree(root: Path, words: Sequence[str] = ("back", "bite")) -> Path:
    """A folder for each speaker and emotion, at TESS' own rate, with the file whose speaker lacks a letter and one
    that is AIFF by the name of WAV.
    """
    folders = {"angry": "angry", "disgust": "disgust", "fear": "Fear", "happy": "happy", "neutral": "neutral"}
    folders |= {"ps": "Pleasant_surprise", "sad": "Sad"}
    for speaker in ("OAF", "YAF"):
        for emotion, folder in folders.items():
            for word in words:
                odd = (speaker, word, emotion) == ("OAF", "bite", "neutral")
                name = f"{'OA' if odd else speaker}_{word}_{emotion}.wav"
                blip(root / f"{speaker}_{folder}" / name, len(name), rate=24_414)
    aiff = root / "YAF_angry" / f"YAF_{words[0]}_angry.wav"
    samples, rate = soundfile.read(aiff)
    soundfile.write(aiff, samples, rate, format="AIFF")
    return root


def emovo_tree(root: Path) -> Path:
    """A folder a speaker: six of them say two sentences in seven emotions."""
    for number, speaker in enumerate(("f1", "f2", "f3", "m1", "m2", "m3")):
        for code in ("dis", "gio", "neu", "pau", "rab", "sor", "tri"):
            for sentence in ("b1", "n4"):
                path = root / speaker / f"{code}-{speaker}-{sentence}.wav"
                blip(path, number)
    return root


def esd_tree(root: Path, splits: bool = True, texts: Mapping[str, str] = ESD_ENCODINGS) -> Path:
    """A folder for each speaker of `texts` (speaker: encoding of the text file), emotion and, with `splits`, part:
    three clips of each emotion. One line of each text file has lost its tabs.
    """
    for speaker, encoding in texts.items():
        lines = []
        for emotion, first in ESD_NUMBERS.items():
            for split, offset in ESD_SPLITS.items():
                name = f"{speaker}_{first + offset:06d}"
                folder = root / speaker / emotion / (split if splits else "")
                blip(folder / f"{name}.wav", first + offset)
                told = "打远一看" if speaker <= "0010" else "The nine’s café."
                lines.append(f"{name}\t{told}\t{'中立' if speaker <= '0010' else emotion}")
        lines[-1] = lines[-1].replace("\t", " ")
        (root / speaker / f"{speaker}.txt").write_bytes("\r\n".join(lines).encode(encoding))
    return root


def _lines(path: Path, lines: Sequence[str], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path
