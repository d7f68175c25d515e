"""What a check finds in a corpus' sounds: damaged ones, and the same sound under two names. A file that passes here is
one that a run accepts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...errors import LorascopeError
from ...machine.progress import bar
from ...sound.decoding import FileHashes, load_audio
from ...sound.unheard import is_pointer, told_otherwise

#: A run uses no more of a clip than this.
USED_SECONDS = 30.0


@dataclass(frozen=True)
class Sound:
    """A file or a piece of it (`start`, `end` in seconds, None for all of it); `label` and `speaker` None where no
    table names it.
    """

    path: Path
    start: float | None = None
    end: float | None = None
    label: str | None = None
    speaker: str | None = None

    @property
    def name(self) -> str:
        """The file, and the piece of it."""
        if self.start is None and self.end is None:
            return str(self.path)
        return f"{self.path} [{self.start or 0:g} s to {'the end' if self.end is None else f'{self.end:g} s'}]"


@dataclass(frozen=True)
class Heard:
    """What examining found: faults as (kind, text), the clips by rate and channels, seconds in all, and how many are
    longer than the 30 s that are used.
    """

    faults: list[tuple[str, str]]
    formats: Counter[str]
    seconds: float
    longer: int


def examine(sounds: Sequence[Sound], decode: bool = True) -> Heard:
    """Read the header of every sound, and with `decode` all its samples; report the damaged, and those that are one
    sound under several names.
    """
    faults: list[tuple[str, str]] = []
    formats: Counter[str] = Counter()
    seconds, longer = 0.0, 0
    by_bytes: dict[str, list[Sound]] = defaultdict(list)
    by_samples: dict[str, list[tuple[Sound, str]]] = defaultdict(list)
    hashes = FileHashes()
    pointers = {path for path in dict.fromkeys(sound.path for sound in sounds) if is_pointer(path)}
    faults += pointers_told(sorted(pointers))
    sounds = [sound for sound in sounds if sound.path not in pointers]
    for sound in bar(sounds, "reading sounds"):
        try:
            rate, channels, length = header(sound.path)
            bytes_hash = hashes.of(sound.path, sound.start, sound.end)
            if decode:
                samples = load_audio(sound.path, sound.start, sound.end)
                by_samples[sha256(samples.tobytes()).hexdigest()].append((sound, bytes_hash))
        except LorascopeError as error:
            faults.append(("damaged", str(error)))
            continue
        formats[f"{rate / 1000:g} kHz {'mono' if channels == 1 else f'{channels} channels'}"] += 1
        took = (length if sound.end is None else min(sound.end, length)) - (sound.start or 0.0)
        seconds += took
        longer += took > USED_SECONDS
        by_bytes[bytes_hash].append(sound)
    same_bytes = [same for same in by_bytes.values() if len(same) > 1]
    faults += [_duplicate(same, "the same bytes") for same in same_bytes]
    for group in by_samples.values():
        # one of each content: what is the same by its bytes has been told
        different = {bytes_hash: sound for sound, bytes_hash in reversed(group)}
        if len(different) > 1:
            faults.append(_duplicate(list(different.values())[::-1], "the same samples"))
    return Heard(faults, formats, seconds, longer)


def pointers_told(pointers: Sequence[Path]) -> list[tuple[str, str]]:
    """One fault for all Git LFS pointers, none where there are none: they have one cause and one way out."""
    if not pointers:
        return []
    several = f"{len(pointers)} files are Git LFS pointers" if len(pointers) > 1 else "1 file is a Git LFS pointer"
    return [("pointer", f"{pointers[0]}: {several} in the sounds' place; fetch them with `git lfs pull`")]


def header(path: Path) -> tuple[int, int, float]:
    """(rate in hertz, channels, seconds) of a sound file. Raises `LorascopeError` where its header can't be read."""
    import soundfile

    try:
        found = soundfile.info(str(path))
    except (soundfile.SoundFileError, RuntimeError) as error:
        if known := told_otherwise(path):
            raise LorascopeError(f"{path}: {known}") from error
        raise LorascopeError(
            f"{path}: cannot be read as audio ({str(error).splitlines()[0]}); mend the file, or leave the clip out "
            "with `corpus.exclude`"
        ) from error
    return found.samplerate, found.channels, found.duration


def _duplicate(same: Iterable[Sound], how: str) -> tuple[str, str]:
    """A group of equal sounds is mislabelled where labels or speakers differ: then it is in two classes, or in two
    parts of a fold.
    """
    same = list(same)
    told = [
        sound.name + (f" ({sound.label}, speaker {sound.speaker})" if sound.label is not None else "") for sound in same
    ]
    labels = {sound.label for sound in same if sound.label is not None}
    speakers = {sound.speaker for sound in same if sound.speaker is not None}
    text = f"{how}: {' and '.join(told)}"
    if len(labels) > 1 or len(speakers) > 1:
        what = " and ".join(
            [*(["two labels"] if len(labels) > 1 else []), *(["two speakers"] if len(speakers) > 1 else [])]
        )
        return "mislabelled", f"{text}: one sound under {what}; keep the right one"
    return "duplicate", f"{text}; keep one"
