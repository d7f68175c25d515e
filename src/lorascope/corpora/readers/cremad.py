"""CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset (Cao et al. 2014): English, acted, 91 speakers, 7442
clips.

File names: actor, sentence, emotion, intensity (LO, MD, HI, XX where none was asked for; X in one name), as in
`1001_DFA_ANG_XX.wav`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ..corpus import About, Published, Recordings
from .files import sound_files
from .tables import read_table

#: What is said, by the three letters of the file's name (Cao et al. 2014, table 1).
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutrality",
    "SAD": "sadness",
}
#: The one file that holds no signal.
SILENT = "1076_MTI_SAD_XX"
DEMOGRAPHICS = "VideoDemographics.csv"
ABOUT = About(
    "CREMA-D, Crowd-sourced Emotional Multimodal Actors Dataset",
    "English",
    "acted",
    91,
    7442,
    "ODbL 1.0",
    "Cao et al. 2014",
)
#: Of all files, the silent one among them.
PUBLISHED = Published(7442, 91, {name: 1087 if name == "neutrality" else 1271 for name in EMOTIONS.values()})
_NAME = re.compile(r"(1\d{3})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?)")


def read(root: Path) -> Recordings:
    """Read `root` or `root/AudioWAV`, .wav or .flac, with gender from `VideoDemographics.csv` in `root` or beside it;
    the file without signal is counted and left out.

    Raises `LorascopeError` where a sound file is not named as CREMA-D names them, or the demographics are no such
    table; without them gender is unknown, which is a note.
    """
    folder = root / "AudioWAV" if (root / "AudioWAV").is_dir() else root
    rows, silent = [], 0
    for path in sound_files(folder):
        name = _NAME.fullmatch(path.stem)
        if name is None:
            raise LorascopeError(
                f"{path}: not a CREMA-D file name (1001_DFA_ANG_XX.wav); move the file elsewhere or use the csv reader"
            )
        if path.stem == SILENT:
            silent += 1
            continue
        actor, sentence, emotion = name.groups()
        rows.append((path.stem, str(path), actor, EMOTIONS[emotion], sentence, SENTENCES.get(sentence), "en"))
    table = pd.DataFrame(rows, columns=["id", "path", "speaker", "emotion", "text", "transcript", "language"])
    genders = _genders(folder)
    table["gender"] = table["speaker"].map(genders)
    unknown = sorted(set(table["speaker"]) - set(genders))
    told = f"{', '.join(unknown[:3])}{' and others' if len(unknown) > 3 else ''}"
    return Recordings(
        table,
        left_out=((f"no signal ({SILENT})", silent),) if silent else (),
        notes=(f"gender unknown of actor {told}: not in {DEMOGRAPHICS}",) if unknown else (),
    )


def _genders(folder: Path) -> dict[str, str]:
    for file in (folder / DEMOGRAPHICS, folder.parent / DEMOGRAPHICS):
        if file.is_file():
            people, where, *_ = read_table(file, ("ActorID", "Sex"))
            for sex, place in zip(people["Sex"], where, strict=True):
                if sex not in ("Female", "Male"):
                    raise LorascopeError(f"{place}: Sex {sex!r} is neither Female nor Male; mend the line")
            return dict(zip(people["ActorID"], people["Sex"].str.lower(), strict=True))
    return {}
