"""Finding the sound files of a corpus."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ...errors import LorascopeError

SUFFIXES = (".wav", ".flac")
#: What else soundfile reads, for corpora that come in any format.
ANY_SUFFIX = (*SUFFIXES, ".mp3", ".ogg", ".opus", ".aiff", ".aif")
#: What sound files are called that some reader takes, or none does.
OTHER_SUFFIXES = (*ANY_SUFFIX, ".m4a", ".aac", ".sph")

_WATCH: ContextVar[tuple[Collection[Path], set[Path]] | None] = ContextVar("watch", default=None)


@contextmanager
def watched(without: Collection[Path] = ()) -> Iterator[set[Path]]:
    """While a reader runs: which files `sound_files` hands it, collected in the set that this gives, as if those of
    `without` were not there.

    A reader stops at the first file that it can't take; so a check of the corpus finds the next one too.
    """
    seen: set[Path] = set()
    token = _WATCH.set((without, seen))
    try:
        yield seen
    finally:
        _WATCH.reset(token)


def sound_files(folder: Path, pattern: str = "*", suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The .wav and .flac files (or those of other `suffixes`) that match a pattern, sorted by name, without the `._*`
    files that macOS leaves.

    Raises `LorascopeError` where there is no such folder or nothing in it.
    """
    if not folder.is_dir():
        raise LorascopeError(
            f"{folder}: no such folder; give the corpus' folder with corpus.root (on the command line --root)"
        )
    without, seen = _WATCH.get() or ((), set())
    found = sorted(
        (path for path in _matching(folder, pattern, suffixes) if path not in without),
        key=lambda p: (p.name, str(p)),
    )
    seen.update(found)
    if not found:
        raise LorascopeError(
            f"{folder}: no {', '.join(suffixes[:-1])} or {suffixes[-1]} files ({pattern}){_elsewhere(folder)}; give "
            "the corpus' folder with corpus.root (on the command line --root)"
        )
    return found


def _elsewhere(folder: Path) -> str:
    """Where sounds lie below a folder in which a pattern found none, for an error; empty where there are none."""
    found = Counter((path.parent, path.suffix.lower()) for path in _matching(folder, "**/*", OTHER_SUFFIXES))
    if not found:
        return ""
    told = [f"{count} {suffix} in {os.path.relpath(place, folder)}" for (place, suffix), count in found.most_common(2)]
    more = f" and {len(found) - 2} other folders" if len(found) > 2 else ""
    return f", but {', '.join(told)}{more}"


def without_label(
    folder: Path, labelled: Iterable[str | Path], pattern: str = "**/*", suffixes: Sequence[str] = SUFFIXES
) -> tuple[tuple[str, int], ...]:
    """What a reader adds to `Recordings.left_out` for sound files that no label speaks of: ((reason, files),), or ()
    where there are none.
    """
    # by normal form, since labels may write "./a.wav" or "b/../a.wav"
    known = {Path(os.path.normpath(path)) for path in labelled}
    count = sum(Path(os.path.normpath(path)) not in known for path in _matching(folder, pattern, suffixes))
    return (("sound file without a label", count),) if count else ()


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, also in linked folders, which Python's own `**` passes by; each folder once.

    A link to a folder that is there by itself gives nothing more, or its clips would be in several parts of a fold. Nor
    does one to a folder that the link lies in: it is a circle, or leads out to what lies beside the corpus.
    """
    seen: set[Path] = set()
    links = [folder]
    while links:
        found: list[Path] = []
        for link in links:
            if link != folder and link.parent.resolve().is_relative_to(os.path.realpath(link)):
                continue
            for place, folders, files in os.walk(link):
                if (real := Path(os.path.realpath(place))) in seen:
                    folders.clear()
                    continue
                seen.add(real)
                folders.sort()
                found += [path for name in folders if (path := Path(place, name)).is_symlink()]
                yield from (Path(place, name) for name in files)
        links = found


def _matching(folder: Path, pattern: str, suffixes: Sequence[str]) -> Iterator[Path]:
    found = files_below(folder) if pattern == "**/*" else folder.glob(pattern)
    return (p for p in found if p.suffix.lower() in suffixes and not p.name.startswith("._"))


def clip_ids(paths: Sequence[str | Path], folder: Path) -> list[str]:
    """File names without suffix where they tell all files apart, else the paths below `folder` without suffix."""
    stems = [Path(path).stem for path in paths]
    if len(set(stems)) == len({str(path) for path in paths}):
        return stems
    return [Path(os.path.relpath(path, folder)).with_suffix("").as_posix() for path in paths]
