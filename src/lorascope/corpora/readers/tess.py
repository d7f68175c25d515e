"""TESS, the Toronto emotional speech set (Pichora-Fuller & Dupuis 2020): English, acted, 2 female speakers, 2800 clips
of one word in a carrier sentence.

File names: speaker (OAF, the older, YAF, the younger), word, emotion, as in `OAF_back_angry.wav`; `ps` is pleasant
surprise. Two speakers are too few for leave-one-speaker-out with a validation speaker.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ..corpus import About, Published, Recordings
from .files import sound_files

EMOTIONS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutrality",
    "ps": "surprise",
    "sad": "sadness",
}
ABOUT = About(
    "TESS, Toronto emotional speech set", "English", "acted", 2, 2800, "CC BY-NC-ND 4.0", "Pichora-Fuller & Dupuis 2020"
)
PUBLISHED = Published(2800, 2, dict.fromkeys(EMOTIONS.values(), 400))
# OA: one file, OA_bite_neutral, lacks the F
_NAME = re.compile(r"(OAF?|YAF)_([A-Za-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)")


def read(root: Path) -> Recordings:
    """Read one folder for each speaker and emotion (`OAF_angry`), or one flat folder, .wav or .flac.

    A whole second copy deeper in the tree, as one common archive has it, is not looked at. Raises `LorascopeError`
    where a sound file is not named as TESS names them.
    """
    nested = any(path.is_dir() for path in root.glob("?AF_*"))
    rows = []
    for path in sound_files(root, "?AF_*/*" if nested else "*"):
        name = _NAME.fullmatch(path.stem)
        if name is None:
            raise LorascopeError(
                f"{path}: not a TESS file name (OAF_back_angry.wav); move the file elsewhere or use the csv reader"
            )
        speaker, word, emotion = name.groups()
        speaker = "YAF" if speaker == "YAF" else "OAF"
        said = f"Say the word {word}."
        rows.append((path.stem, str(path), speaker, EMOTIONS[emotion], word, said, "female", "en"))
    columns = ["id", "path", "speaker", "emotion", "text", "transcript", "gender", "language"]
    return Recordings(pd.DataFrame(rows, columns=columns))
