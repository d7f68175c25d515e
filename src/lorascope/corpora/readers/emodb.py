"""EmoDB, the Berlin Database of Emotional Speech (Burkhardt et al. 2005): German, acted, 10 speakers, 535 clips.

File names: speaker (2 digits), text (3 characters), emotion (a German letter), take, as in `03a01Fa.wav`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ..corpus import About, Published, Recordings
from .files import sound_files

EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutrality",
}
#: What is said, by the three characters of the file's name (the corpus' documentation).
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
#: Speakers by sex, from the corpus' documentation.
FEMALE = ("08", "09", "13", "14", "16")
ABOUT = About(
    "EmoDB, Berlin Database of Emotional Speech", "German", "acted", 10, 535, "CC0 1.0", "Burkhardt et al. 2005"
)
PUBLISHED = Published(
    535,
    10,
    {"anger": 127, "boredom": 81, "disgust": 46, "fear": 69, "happiness": 71, "neutrality": 79, "sadness": 62},
)
_NAME = re.compile(r"(\d\d)([ab]\d\d)([WLEAFTN])([a-z])?")


def read(root: Path) -> Recordings:
    """Read `root` or `root/wav`, .wav or .flac. Raises `LorascopeError` where a sound file is not
    named as EmoDB names them.
    """
    folder = root / "wav" if (root / "wav").is_dir() else root
    rows = []
    for path in sound_files(folder):
        name = _NAME.fullmatch(path.stem)
        if name is None:
            raise LorascopeError(
                f"{path}: not an EmoDB file name (03a01Fa.wav); move the file elsewhere or use the csv reader"
            )
        speaker, text, letter, _ = name.groups()
        gender = "female" if speaker in FEMALE else "male"
        said = SENTENCES.get(text)
        rows.append((path.stem, str(path), speaker, EMOTIONS[letter], text, said, gender, "de"))
    columns = ["id", "path", "speaker", "emotion", "text", "transcript", "gender", "language"]
    return Recordings(pd.DataFrame(rows, columns=columns))
