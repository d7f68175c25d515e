"""SAVEE, Surrey Audio-Visual Expressed Emotion (Haq & Jackson 2009): British English, acted, 4
male speakers, 480 clips.

File names: emotion and sentence number, `AudioData/DC/a01.wav` in the speaker's folder or `DC_a01.wav`. The numbers
count an emotion's own sentences, so they don't tell which text it is: `a04` and `d04` differ, `a01` and `d01` may not.
Text is therefore unknown.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ..corpus import About, Published, Recordings
from .files import sound_files

#: Meant so in SAVEE alone: elsewhere "n" is neutral too, but "a" is fear (EmoDB) or anger (MSP-Podcast).
EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutrality",
    "sa": "sadness",
    "su": "surprise",
}
SPEAKERS = ("DC", "JE", "JK", "KL")
ABOUT = About(
    "SAVEE, Surrey Audio-Visual Expressed Emotion",
    "English",
    "acted",
    4,
    480,
    "for research, on request",
    "Haq & Jackson 2009",
)
PUBLISHED = Published(480, 4, {name: 120 if name == "neutrality" else 60 for name in EMOTIONS.values()})
_NAME = re.compile(r"(?:(DC|JE|JK|KL)_)?(sa|su|[adfhn])(\d\d)")


def read(root: Path) -> Recordings:
    """Read the speakers' folders in `root` or `root/AudioData`, or one flat folder (`root` or
    `root/ALL`), .wav or .flac.

    Raises `LorascopeError` where a sound file is not named as SAVEE names them, or lies in another speaker's folder.
    """
    folder = next((root / name for name in ("AudioData", "ALL") if (root / name).is_dir()), root)
    nested = any((folder / speaker).is_dir() for speaker in SPEAKERS)
    rows = []
    for path in sound_files(folder, "*/*" if nested else "*"):
        name = _NAME.fullmatch(path.stem)
        speaker = path.parent.name if nested else name and name.group(1)
        if name is None or speaker not in SPEAKERS or name.group(1) not in (None, speaker):
            raise LorascopeError(
                f"{path}: not a SAVEE file name (DC/a01.wav or DC_a01.wav); move the file "
                "elsewhere or use the csv reader"
            )
        emotion = EMOTIONS[name.group(2)]
        rows.append((f"{speaker}_{name.group(2)}{name.group(3)}", str(path), speaker, emotion, "male", "en"))
    return Recordings(pd.DataFrame(rows, columns=["id", "path", "speaker", "emotion", "gender", "language"]))
