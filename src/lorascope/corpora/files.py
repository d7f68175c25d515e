"""Finding the sound files of a corpus."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ..errors import LorascopeError

SUFFIXES = (".wav", ".flac")

_WATCH: ContextVar[tuple[Collection[Path], set[Path]] | None] = ContextVar("watch", default=None)


@contextmanager
def watched(without: Collection[Path] = ()) -> Iterator[set[Path]]:
    """While a reader runs: which files `sound_files` hands it, collected in the set that this gives, as if those of `without` were not there.

    A reader stops at the first file that it can't take; so a check of the corpus finds the next one too.
    """
    seen: set[Path] = set()
    token = _WATCH.set((without, seen))
    try:
        yield seen
    finally:
        _WATCH.reset(token)


def sound_files(folder: Path, pattern: str = "*") -> list[Path]:
    """The .wav and .flac files that match a pattern, sorted by name, without the `._*` files that macOS leaves.

    Raises `LorascopeError` where there is no such folder or nothing in it.
    """
    if not folder.is_dir():
        raise LorascopeError(
            f"{folder}: no such folder; give the corpus' folder with corpus.root (on the command line --root)"
        )
    without, seen = _WATCH.get() or ((), set())
    found = sorted(
        (
            p
            for p in folder.glob(pattern)
            if p.suffix.lower() in SUFFIXES and not p.name.startswith("._") and p not in without
        ),
        key=lambda p: (p.name, str(p)),
    )
    seen.update(found)
    if not found:
        raise LorascopeError(
            f"{folder}: no .wav or .flac files ({pattern}); give the corpus' folder with corpus.root (on the command line --root)"
        )
    return found
