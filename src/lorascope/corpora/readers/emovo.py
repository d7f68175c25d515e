"""EMOVO (Costantini et al. 2014): Italian, acted, 6 speakers, 588 clips.

File names: emotion (the first letters of its Italian name), speaker, sentence, as in `f1/dis-f1-b1.wav`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ..corpus import About, Published, Recordings
from .files import sound_files

EMOTIONS = {
    "dis": "disgust",
    "gio": "happiness",
    "neu": "neutrality",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
ABOUT = About("EMOVO", "Italian", "acted", 6, 588, "freely available, on its authors' terms", "Costantini et al. 2014")
PUBLISHED = Published(588, 6, dict.fromkeys(EMOTIONS.values(), 84))
_NAME = re.compile(r"(dis|gio|neu|pau|rab|sor|tri)-([fm][123])-([a-z]\d)")


def read(root: Path) -> Recordings:
    """Read the speakers' folders (`f1` to `m3`) or one flat folder, .wav or .flac; `root` may also be
    the folder above `EMOVO`.

    Raises `LorascopeError` where a sound file is not named as EMOVO names them.
    """
    folder = root / "EMOVO" if (root / "EMOVO").is_dir() else root
    nested = any(path.is_dir() for path in folder.glob("[fm][123]"))
    rows = []
    for path in sound_files(folder, "[fm][123]/*" if nested else "*"):
        name = _NAME.fullmatch(path.stem)
        if name is None or (nested and name.group(2) != path.parent.name):
            raise LorascopeError(
                f"{path}: not an EMOVO file name (f1/dis-f1-b1.wav); move the file elsewhere or use the csv reader"
            )
        emotion, speaker, sentence = name.groups()
        gender = "female" if speaker[0] == "f" else "male"
        rows.append((path.stem, str(path), speaker, EMOTIONS[emotion], sentence, gender, "it"))
    return Recordings(pd.DataFrame(rows, columns=["id", "path", "speaker", "emotion", "text", "gender", "language"]))
