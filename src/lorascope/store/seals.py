"""Seals: what the files of a folder were when it was made whole, so that a changed one is known as such.

`seal.json` is written last and read first. It holds the SHA-256 and the size of every file, and the SHA-256 of that
list, so that a changed seal is known too. Sealing also brings the files to the disk (fsync): what a seal vouches for
survives a power cut. A seal tells damage and mix-ups; it is no signature, whoever can write files can seal them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .files import sync_folder, write_text

SEAL = "seal.json"
# what is said of a file whose bytes are others than those that were sealed, and of one that is gone
CHANGED, GONE = "not what was sealed", "not there"


class Fault(NamedTuple):
    """A file that is not as it was sealed, by its path in the folder, and what is wrong with it."""

    name: str
    what: str

    @property
    def gone(self) -> bool:
        """Whether it is missing: then nothing wrong can come of it."""
        return self.what == GONE

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


def seal(folder: Path, without: Iterable[str] = (), only: Iterable[Path] | None = None) -> str:
    """Bring every file of a folder to the disk and write its seal; returns the seal's name (see `name_of`).

    `without` names entries directly in it that don't belong to it (patterns as of `Path.match`); `only` are the files
    that do, by default all but hidden ones.
    """
    left_out = tuple(without)
    files = _files(folder, left_out) if only is None else sorted(only)
    listed: dict[str, dict[str, Any]] = {}
    for file in files:
        name, size = _hashed(file, sync=True)
        listed[file.relative_to(folder).as_posix()] = {"bytes": size, "sha256": name}
    for inner in sorted({parent for file in files for parent in file.parents if folder in parent.parents}):
        sync_folder(inner)
    write_text(folder / SEAL, _text(listed))
    return name_of(folder)


def name_of(folder: Path) -> str:
    """SHA-256 of a folder's seal: it names the folder's content. Empty where there is no seal."""
    file = folder / SEAL
    return _hashed(file)[0] if file.is_file() else ""


def content_of(folder: Path) -> str:
    """SHA-256 of the names and contents of the files directly in a folder, sealed or not; of a file, of its content."""
    files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else [folder]
    listed = [(file.name if folder.is_dir() else "", _hashed(file)[0]) for file in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def is_sealed(folder: Path) -> bool:
    """Whether a folder has a seal, broken or not."""
    return (folder / SEAL).is_file()


def faults(folder: Path, files: Iterable[str] | None = None) -> Iterator[Fault]:
    """What of a sealed folder is not as it was sealed, which every byte of it is read for.

    `files` are those that are looked at, by default all. Unlisted files are none of the seal's business.
    """
    listed = _listed(folder)
    if listed is None:
        yield Fault(SEAL, CHANGED if is_sealed(folder) else GONE)
        return
    for name in listed if files is None else [name for name in files if name in listed]:
        then = listed[name]
        try:
            found, size = _hashed(folder / name)
        except OSError as error:
            yield Fault(name, GONE if error.errno == errno.ENOENT else str(error.strerror))
            continue
        if (found, size) != (then["sha256"], then["bytes"]):
            yield Fault(name, CHANGED if size else f"empty, though it was sealed with {then['bytes']} bytes")


def fault(folder: Path) -> Fault | None:
    """The first of a folder's `faults`; None where all is as it was sealed."""
    return next(faults(folder), None)


def is_complete(folder: Path) -> bool:
    """Whether every sealed file is there in its size: a glance, for those who only tell where things stand."""
    listed = _listed(folder)
    if listed is None:
        return False
    with contextlib.suppress(OSError):
        return all((folder / name).stat().st_size == then["bytes"] for name, then in listed.items())
    return False


def _files(folder: Path, without: tuple[str, ...]) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        if path.name == SEAL or path.name.startswith(".") or any(path.match(pattern) for pattern in without):
            continue
        found += [path] if path.is_file() else [inner for inner in sorted(path.rglob("*")) if inner.is_file()]
    return found


def _hashed(file: Path, sync: bool = False) -> tuple[str, int]:
    """SHA-256 and size of a file, which is brought to the disk where that is wished."""
    with file.open("rb") as opened:
        name = hashlib.file_digest(opened, "sha256").hexdigest()
        if sync:
            os.fsync(opened.fileno())
        return name, opened.tell()


def _text(listed: dict[str, dict[str, Any]]) -> str:
    own = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    return json.dumps({"files": listed, "seal": own}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _listed(folder: Path) -> dict[str, dict[str, Any]] | None:
    """What a seal lists; None where there is none, or not one byte for byte as `seal` writes it."""
    try:
        text = (folder / SEAL).read_bytes().decode("utf-8")
        listed = json.loads(text)["files"]
        return listed if text == _text(listed) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
