"""ESD, the Emotional Speech Database (Zhou et al. 2021): Mandarin (0001 to 0010) and English (0011 to 0020), acted,
20 speakers, 35000 clips.

`<speaker>/<Emotion>/<speaker>_<number>.wav`, in some releases with a folder train, evaluation or test between;
`<speaker>/<speaker>.txt` gives the texts, each file in an encoding of its own.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ..corpus import About, Published, Recordings
from .files import sound_files

EMOTIONS = {
    "Angry": "anger",
    "Happy": "happiness",
    "Neutral": "neutrality",
    "Sad": "sadness",
    "Surprise": "surprise",
}
SPLITS = {"train": "train", "evaluation": "validation", "test": "test"}
LANGUAGES = {"english": "en", "mandarin": "zh"}
#: From the corpus' ReadMe.
MALE = ("0004", "0005", "0006", "0008", "0010", "0011", "0012", "0013", "0014", "0020")
ABOUT = About(
    "ESD, Emotional Speech Database",
    "Mandarin, English",
    "acted",
    20,
    35_000,
    "for research, on request",
    "Zhou et al. 2021",
)
PUBLISHED = Published(35_000, 20, dict.fromkeys(EMOTIONS.values(), 7000))
_NAME = re.compile(r"(00[01]\d|0020)_\d{6}")
_PLACE = re.compile(rf"(\d{{4}})/({'|'.join(EMOTIONS)})(?:/({'|'.join(SPLITS)}))?")
_NESTED = ("", "Emotion Speech Dataset", "Emotional Speech Dataset (ESD)/Emotion Speech Dataset")


def read(root: Path, language: str | None = None) -> Recordings:
    """Read the speakers' folders in `root` or in the folders of the archive below it, .wav or .flac; with `language`
    (english, mandarin) the other's clips are counted and left out.

    A clip without a text is no error; a note counts them. Raises `LorascopeError` for another language, and where a
    sound file doesn't lie and isn't named as ESD has them.
    """
    if language is not None and language not in LANGUAGES:
        raise LorascopeError(
            f"corpus.options.language: unknown value {language!r}; use {' or '.join(LANGUAGES)}, "
            "or leave it out for both"
        )
    folder = next((root / name for name in _NESTED if (root / name / "0001").is_dir()), None)
    folder = folder or next((root / name for name in _NESTED if any((root / name).glob("00[012][0-9]"))), root)
    rows, others = [], Counter()
    for path in sound_files(folder, "**/*"):
        name = _NAME.fullmatch(path.stem)
        place = _PLACE.fullmatch(path.parent.relative_to(folder).as_posix())
        if name is None or place is None or place.group(1) != name.group(1):
            raise LorascopeError(
                f"{path}: not a file of ESD (0011/Angry/0011_000351.wav, or in a folder train, evaluation or "
                "test); move the file elsewhere or use the csv reader"
            )
        speaker, emotion, split = place.groups()
        spoken = "mandarin" if speaker <= "0010" else "english"
        if language not in (None, spoken):
            others[f"{spoken} (corpus.options.language is {language})"] += 1
            continue
        part = SPLITS[split] if split else pd.NA
        gender = "male" if speaker in MALE else "female"
        rows.append((path.stem, str(path), speaker, EMOTIONS[emotion], gender, LANGUAGES[spoken], part))
    table = pd.DataFrame(rows, columns=["id", "path", "speaker", "emotion", "gender", "language", "split"])
    texts, notes = {}, []
    for speaker, clips in table.groupby("speaker")["id"]:
        found = _texts(folder / str(speaker) / f"{speaker}.txt")
        texts |= found
        if missing := sum(clip not in found for clip in clips):
            notes.append(f"speaker {speaker}: {missing} of {len(clips)} clips without a text in {speaker}.txt")
    table["text"] = table["id"].map(texts)
    return Recordings(table, left_out=tuple(others.items()), notes=tuple(notes))


def _texts(file: Path) -> dict[str, str]:
    """Texts by clip; a line that isn't name, text, emotion between tabs (ESD has some) gives none."""
    if not file.is_file():
        return {}
    lines = (line.strip().split("\t") for line in decoded(file.read_bytes()).splitlines())
    return {cells[0].strip(): cells[1].strip() for cells in lines if len(cells) == 3}


def decoded(data: bytes) -> str:
    """Text in whichever of ESD's encodings it is: UTF-16, UTF-8, GB 2312, Latin 1.

    Most certain first: UTF-16 tells itself by its mark or by zero bytes, which no other holds; hardly any text in
    another encoding is valid UTF-8; GB 2312 writes its characters in pairs of bytes above A0, so that a lone one, as an
    accent or a quotation mark in Latin 1 is, is none. Latin 1, with Windows' quotation marks, takes all the rest.

    >>> {decoded("1\\t你好".encode(name)) for name in ("gb2312", "utf-16", "utf-16-le", "utf-16-be", "utf-8")}
    {'1\\t你好'}
    >>> decoded(b"It\\x92s a caf\\xe9.")
    'It’s a café.'
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data:
        # the zero is the upper byte of a tab, a digit or a line's end
        return data.decode("utf-16-le" if data.index(b"\0") % 2 else "utf-16-be", errors="replace")
    for encoding in ("utf-8-sig", "gb2312", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")
