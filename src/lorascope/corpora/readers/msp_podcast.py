"""MSP-Podcast (Lotfian & Busso 2019): English, natural speech from podcasts, by releases of growing size; speakers of
some clips are unknown.

`Audios/MSP-PODCAST_0001_0008.wav` (podcast, segment); `Labels/labels_consensus.csv`, `labels_concensus.csv` in older
releases: FileName, EmoClass, SpkrID, Gender, Split_Set; `Transcripts/MSP-PODCAST_0001_0008.txt` in newer ones.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import LorascopeError
from ..corpus import About, Recordings, named_speakers
from .files import without_label
from .tables import filled, read_table

#: X: the raters did not agree.
EMOTIONS = {
    "A": "anger",
    "S": "sadness",
    "H": "happiness",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutrality",
    "O": "other",
    "X": "undecided",
}
LABELS = ("Labels/labels_consensus.csv", "Labels/labels_concensus.csv", "labels_consensus.csv", "labels_concensus.csv")
SPLITS = {"train": "train", "development": "validation", "validation": "validation", "test1": "test"}
ABOUT = About(
    "MSP-Podcast", "English", "natural", None, None, "of its own, on request from UT Dallas", "Lotfian & Busso 2019"
)
_NAME = re.compile(r"MSP-PODCAST_(\w+?)_\w+")


def read(root: Path) -> Recordings:
    """Read a release; `split` is the corpus' own (train, validation, test, test2, test3), `session` the podcast.

    Clips of unknown speakers are one speaker, `UNKNOWN_SPEAKER`. Rows without a label and sounds without a row (the
    blind test set) are counted and left out. Raises `LorascopeError` where the labels are missing or not as the corpus
    has them.
    """
    file = next((root / name for name in LABELS if (root / name).is_file()), None)
    if file is None:
        raise LorascopeError(
            f"{root}: no {LABELS[0]} (nor labels_concensus.csv); give the release's folder with corpus.root (on the "
            "command line --root)"
        )
    table, where, *_ = read_table(file, ("FileName", "EmoClass", "SpkrID"))
    audio = root / "Audio" if (root / "Audio").is_dir() and not (root / "Audios").is_dir() else root / "Audios"
    names = filled(table["FileName"], "FileName", where)
    paths = [str(audio / name) for name in names]
    left_out = list(without_label(audio, paths, "*"))
    if unlabelled := int(table["EmoClass"].isna().sum()):
        left_out.insert(0, ("no EmoClass", unlabelled))
    speakers, notes = named_speakers(table["SpkrID"])
    found = pd.DataFrame(
        {
            "id": [Path(name).stem for name in names],
            "path": paths,
            "speaker": speakers,
            "emotion": [_emotion(code, place) for code, place in zip(table["EmoClass"], where, strict=True)],
            "language": "en",
        }
    )
    found["session"] = [name.group(1) if (name := _NAME.fullmatch(clip)) else pd.NA for clip in found["id"]]
    if "Gender" in table:
        found["gender"] = table["Gender"].str.lower().where(table["Gender"].isin(["Female", "Male"]), pd.NA)
    if "Split_Set" in table:
        found["split"] = [_split(name, place) for name, place in zip(table["Split_Set"], where, strict=True)]
    if (root / "Transcripts").is_dir():
        found["text"] = [_text(root / "Transcripts" / f"{clip}.txt") for clip in found["id"]]
    kept = table["EmoClass"].notna()
    places = [place for place, keep in zip(where, kept, strict=True) if keep]
    return Recordings(found[kept], where=places, left_out=tuple(left_out), notes=notes)


def _emotion(code: Any, place: str) -> Any:
    if pd.isna(code):
        return pd.NA
    if code not in EMOTIONS:
        raise LorascopeError(f"{place}: EmoClass {code!r} is none of {', '.join(EMOTIONS)}; mend the line")
    return EMOTIONS[code]


def _split(name: Any, place: str) -> Any:
    """The first test set is the one that is meant by "test"; others keep their number."""
    if pd.isna(name):
        return pd.NA
    folded = name.lower()
    if folded not in SPLITS and not re.fullmatch(r"test\d?", folded):
        raise LorascopeError(
            f"{place}: Split_Set {name!r} is none of Train, Development, Validation, Test1, Test2, ...; mend the line"
        )
    return SPLITS.get(folded, folded)


def _text(file: Path) -> Any:
    return file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else pd.NA
