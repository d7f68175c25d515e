"""How files are written: beside their place, brought to the disk, and moved there, so that none is seen half-written;
and how JSON is read.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import LorascopeError
from .modes import as_umask_says

# what file systems answer that can't bring a folder to the disk by itself
_NO_FOLDERS = (errno.EINVAL, errno.EACCES, errno.EBADF, errno.EISDIR, errno.ENOTSUP, errno.EPERM)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of entries to the disk, where the file system can: a move into it then survives a power
    cut.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and bring the entry of each that is new to the disk: else a power cut takes it
    with everything in it, however well that was kept.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(new):
        sync_folder(place.parent)


@contextlib.contextmanager
def beside(path: Path, lasting: bool = True) -> Iterator[IO[bytes]]:
    """A file to write in the block; at its end it is brought to the disk, if it is to last, and moved to `path`."""
    make_folder(path.parent)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".partial", delete=False) as file:
        try:
            yield file
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        except BaseException:
            Path(file.name).unlink()
            raise
    as_umask_says(Path(file.name))
    Path(file.name).replace(path)
    if lasting:
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file beside its place and move it there; it survives a crash of the machine."""
    with beside(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON as `write_text` writes."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. Raises `LorascopeError` naming the file where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LorascopeError(f"{path}: cannot be read ({error}); delete it and run the same command again") from error
