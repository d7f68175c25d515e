"""RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song (Livingstone & Russo 2018):
English, acted, 24 speakers.

File names: modality-channel-emotion-intensity-statement-repetition-actor, two digits each, as in
`03-01-05-02-01-01-12.wav`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ..corpus import About, Published, Recordings
from .files import sound_files

EMOTIONS = {
    "01": "neutrality",
    "02": "calm",
    "03": "happiness",
    "04": "sadness",
    "05": "anger",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
INTENSITIES = {"01": "normal", "02": "strong"}
ABOUT = About(
    "RAVDESS, Ryerson Audio-Visual Database of Emotional Speech and Song (its audio-only speech)",
    "English",
    "acted",
    24,
    1440,
    "CC BY-NC-SA 4.0",
    "Livingstone & Russo 2018",
)
#: Of audio-only speech; every actor says both statements twice in two intensities, neutral in one.
PUBLISHED = Published(1440, 24, {name: 96 if name == "neutrality" else 192 for name in EMOTIONS.values()})
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")


def read(root: Path) -> Recordings:
    """Read `Actor_NN` folders or one flat folder, .wav or .flac; song, and the sound of videos,
    is counted and left out.

    Raises `LorascopeError` where a sound file is not named as RAVDESS names them.
    """
    nested = any(root.glob("Actor_*")) if root.is_dir() else False
    rows, left_out = [], Counter()
    for path in sound_files(root, "Actor_*/*" if nested else "*"):
        name = _NAME.fullmatch(path.stem)
        if name is None or name.group(3) not in EMOTIONS:
            raise LorascopeError(
                f"{path}: not a RAVDESS file name (03-01-05-02-01-01-12.wav); move the file "
                "elsewhere or use the csv reader"
            )
        modality, channel, emotion, intensity, statement, _, actor = name.groups()
        if modality != "03" or channel != "01":
            # the video files hold the same takes as the audio-only ones
            left_out["song, not speech" if channel != "01" else "from a video, not audio-only"] += 1
            continue
        gender = "male" if int(actor) % 2 else "female"
        how = INTENSITIES.get(intensity, intensity)
        said = STATEMENTS.get(statement)
        rows.append((path.stem, str(path), actor, EMOTIONS[emotion], statement, said, gender, "en", how))
    columns = ["id", "path", "speaker", "emotion", "text", "transcript", "gender", "language", "intensity"]
    table = pd.DataFrame(rows, columns=columns)
    return Recordings(table, left_out=tuple(sorted(left_out.items())))
