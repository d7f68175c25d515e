"""IEMOCAP (Busso et al. 2008): English, 5 sessions of two speakers each; the paper's corpus, by its release
tree or its copy on the hub.

The speaker is the session and the letter of the last name part: `Ses01F_impro01_M000` is Ses01's male. The prefix
`Ses01F` names the dialogue; taking it for the speaker, as the released code does, puts test speakers into training
(`speakers="prefix"` reproduces that, marked optimistic).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import LorascopeError
from ...machine.requirements import require
from ...store.cache import cache_folder
from ..corpus import About, Recordings
from ..labels import canonical

CODES = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "excitement",
    "sad": "sadness",
    "neu": "neutrality",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "oth": "other",
    "xxx": "undecided",
}
#: The four classes of the literature count excited as happy.
JOINED = {"excitement": "happiness"}
#: Published 4-class counts by session: anger, happiness (with excited), neutrality, sadness; then
#: female and male clips.
PUBLISHED = {
    "1": ((229, 278, 384, 194), (528, 557)),
    "2": ((137, 327, 362, 197), (481, 542)),
    "3": ((240, 286, 320, 305), (522, 629)),
    "4": ((327, 303, 258, 143), (528, 503)),
    "5": ((170, 442, 384, 245), (590, 651)),
}
ABOUT = About(
    "IEMOCAP, Interactive Emotional Dyadic Motion Capture",
    "English",
    "acted: scripted and improvised dialogues",
    10,
    10_039,
    "of its own, on request from USC",
    "Busso et al. 2008",
)
CLASSES = ("anger", "happiness", "neutrality", "sadness")
HUB_COPY = "Zahra99/IEMOCAP_Audio"
HUB_LABELS = ("anger", "happiness", "neutrality", "sadness")
PREFIX_LEAK = (
    "the speaker was taken from the dialogue's prefix (speakers: prefix), as the released code does: test speakers "
    "are also in training"
)

_NAME = re.compile(r"Ses0(\d)([FM])_(.+)_([FM])(\w+)")
_TURN = re.compile(r"\[(\d+\.\d+) - (\d+\.\d+)\]\t(\S+)\t(\w+)\t")


def read(
    root: Path | None = None, speakers: str = "letter", source: str = "release", hub_id: str = HUB_COPY
) -> Recordings:
    """Read the release tree (`root` is `IEMOCAP_full_release` or the folder above it), or with `source="hub"` the copy
    on the hub (4 classes, joined already).

    Excited turns count as happy; a label map (`exc: null`) or `excitement` among the classes takes them apart
    again. `speakers` is "letter" (true speakers) or "prefix" (the released code's). Counts of the four classes are
    compared with the published ones; a difference is a note. Raises `LorascopeError` where files are missing or
    not as the corpus has them.
    """
    if speakers not in ("letter", "prefix"):
        raise LorascopeError(
            f"corpus.options.speakers: unknown value {speakers!r}; use letter (true speakers) or "
            "prefix (the released code's)"
        )
    if source == "release":
        assert root is not None
        table = pd.DataFrame(_turns(_release(root)))
    elif source == "hub":
        table = pd.DataFrame(_hub(str(root) if root is not None else hub_id))
    else:
        raise LorascopeError(f"corpus.options.source: unknown value {source!r}; use release or hub")
    if table.empty:
        raise LorascopeError(f"{root}: no labelled turns found; give the folder IEMOCAP_full_release with corpus.root")
    where = list(table.pop("where"))
    names = [parse_name(name, place) for name, place in zip(table["id"], where, strict=True)]
    table = table.assign(
        session=[session for session, _, _ in names],
        gender=["female" if letter == "F" else "male" for _, _, letter in names],
        speaker=[f"Ses0{session}{letter if speakers == 'letter' else prefix}" for session, prefix, letter in names],
        language="en",
    )
    return Recordings(
        table,
        where=where,
        notes=tuple(count_differences(table)),
        optimistic=(PREFIX_LEAK,) if speakers == "prefix" else (),
        joined=JOINED,
    )


def parse_name(name: str, place: str = "IEMOCAP") -> tuple[str, str, str]:
    """(session, letter of the dialogue's prefix, letter of the true speaker) of an utterance's name.

    >>> parse_name("Ses01F_impro01_M000")
    ('1', 'F', 'M')
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise LorascopeError(f"{place}: {name!r} is not an IEMOCAP utterance (Ses01F_impro01_F000); check corpus.root")
    session, prefix, _, letter, _ = found.groups()
    return session, prefix, letter


def _release(root: Path) -> Path:
    for folder in (root, root / "IEMOCAP_full_release"):
        if (folder / "Session1").is_dir():
            return folder
    raise LorascopeError(
        f"{root}: no folder Session1; give IEMOCAP_full_release (or the folder above it) with corpus.root (on "
        "the command line --root)"
    )


def _turns(release: Path) -> Iterator[dict[str, object]]:
    for session in sorted(release.glob("Session[1-5]")):
        texts = _transcriptions(session)
        for labels in sorted((session / "dialog" / "EmoEvaluation").glob("*.txt")):
            if labels.name.startswith("._"):
                continue
            for number, line in enumerate(labels.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if not line.startswith("["):
                    continue
                turn = _TURN.match(line)
                if turn is None or turn.group(4) not in CODES:
                    raise LorascopeError(
                        f"{labels} line {number}: not a turn of IEMOCAP ([start - end] name emotion [v, a, d], "
                        "separated by tabs); mend the file"
                    )
                start, end, name, code = turn.groups()
                yield {
                    "id": name,
                    "path": str(session / "sentences" / "wav" / labels.stem / f"{name}.wav"),
                    "emotion": CODES[code],
                    "text": texts.get(name, pd.NA),
                    # the bounds are those of the turn in its dialogue; the wav holds the turn alone
                    "duration": round(float(end) - float(start), 4),
                    "where": f"{labels} line {number}",
                }


def _transcriptions(session: Path) -> dict[str, str]:
    texts = {}
    for file in sorted((session / "dialog" / "transcriptions").glob("*.txt")):
        if file.name.startswith("._"):
            continue
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, bracket, rest = line.partition(" [")
            if bracket and "]: " in rest:
                texts[name] = rest.split("]: ", 1)[1].strip()
    return texts


def _hub(target: str) -> Iterator[dict[str, object]]:
    require("datasets")
    try:
        import datasets
    except ImportError as error:
        raise LorascopeError(
            "corpus.options.source: hub needs the package datasets; install it with pip install 'lorascope[hub]'"
        ) from error
    try:
        splits: Any = datasets.load_dataset(target)
    except Exception as error:  # the hub's, the loader's and the network's errors share no base
        raise LorascopeError(
            f"{target}: cannot be loaded ({' '.join(str(error).split())[:200]}); download it once where the hub "
            "can be reached, or give a copy's folder with corpus.root"
        ) from error
    folder = cache_folder() / "iemocap-hub"
    folder.mkdir(parents=True, exist_ok=True)
    for split_name, split in splits.items():
        if not {"audio", "label"} <= set(split.column_names):
            raise LorascopeError(
                f"{target}: {split_name} lacks the columns audio and label; name a copy like {HUB_COPY} with "
                "corpus.options.hub_id"
            )
        names = getattr(split.features["label"], "names", HUB_LABELS)
        for number, row in enumerate(split.cast_column("audio", datasets.Audio(decode=False)), 1):
            place = f"{target}: {split_name} row {number}"
            sound = row["audio"]
            if not sound["path"]:
                raise LorascopeError(f"{place}: no file name, which holds the utterance's id; use another copy")
            path = Path(sound["path"])
            if sound["bytes"] is not None:
                path = folder / f"{path.stem}.wav"
                if not path.is_file() or path.read_bytes() != sound["bytes"]:
                    path.write_bytes(sound["bytes"])
            yield {
                "id": path.stem,
                "path": str(path),
                "emotion": _hub_label(row["label"], names, place),
                "where": place,
            }


def _hub_label(label: object, names: Sequence[str], place: str) -> str:
    """An emotion from a label's number or name."""
    if isinstance(label, int):
        if not 0 <= label < len(names):
            raise LorascopeError(f"{place}: label {label} is none of {', '.join(names)}; use another copy")
        label = names[label]
    try:
        return canonical(str(label))
    except LorascopeError as error:
        raise LorascopeError(f"{place}: {error}; use another copy") from error


def count_differences(table: pd.DataFrame) -> Iterator[str]:
    """A line for each session whose clips of the four classes, or of a speaker, are not as many as published
    (columns session, emotion, gender).
    """
    four = table.assign(emotion=table["emotion"].replace(JOINED))
    four = four[four["emotion"].isin(CLASSES)]
    for session, (counts, by_gender) in PUBLISHED.items():
        of_session = four[four["session"] == session]
        found = tuple(int((of_session["emotion"] == name).sum()) for name in CLASSES)
        if found != counts:
            yield f"session {session}: {_named(CLASSES, found)}; published {_named(CLASSES, counts)}"
        genders = tuple(int((of_session["gender"] == name).sum()) for name in ("female", "male"))
        if genders != by_gender:
            yield (
                f"session {session}: {_named(('female', 'male'), genders)}; published "
                f"{_named(('female', 'male'), by_gender)}"
            )


def _named(names: tuple[str, ...], counts: tuple[int, ...]) -> str:
    return ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))
