"""Finding the sound files of a corpus."""

from __future__ import annotations

from pathlib import Path

from ..errors import LorascopeError

SUFFIXES = (".wav", ".flac")


def sound_files(folder: Path, pattern: str = "*") -> list[Path]:
    """The .wav and .flac files that match a pattern, sorted by name, without the `._*` files that macOS leaves.

    Raises `LorascopeError` where there is no such folder or nothing in it.
    """
    if not folder.is_dir():
        raise LorascopeError(
            f"{folder}: no such folder; give the corpus' folder with corpus.root (on the command line --root)"
        )
    found = sorted(
        (p for p in folder.glob(pattern) if p.suffix.lower() in SUFFIXES and not p.name.startswith("._")),
        key=lambda p: (p.name, str(p)),
    )
    if not found:
        raise LorascopeError(
            f"{folder}: no .wav or .flac files ({pattern}); give the corpus' folder with corpus.root (on the command line --root)"
        )
    return found
