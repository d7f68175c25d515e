"""Where lorascope keeps what it can make again: features, encoder outputs, synthetic speech.

What is kept of arrays ends with the SHA-256 of all before it. A file whose bytes are others is told in a line, and made
again by whoever asked for it.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from .files import beside

#: Belongs into the keys of what `keep` writes; counts up when its form changes, so that no older file is asked for.
FORM = "checked-1"
_CHECKSUM = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """`$LORASCOPE_CACHE`, else `$XDG_CACHE_HOME/lorascope`, else `~/.cache/lorascope`; not necessarily there yet."""
    if own := os.environ.get("LORASCOPE_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "lorascope"


def kept(path: Path) -> io.BytesIO | None:
    """What `keep` wrote there; None where nothing is, or it is damaged, so that it is made again."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    body, checksum = content[:-_CHECKSUM], content[-_CHECKSUM:]
    if hashlib.sha256(body).digest() != checksum:
        logging.getLogger(__name__).warning("%s: not what was written there; it is made again", path)
        return None
    return io.BytesIO(body)


def keep(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write what `write` puts into a file, and its checksum, beside its place; and move it there when it is whole."""
    body = io.BytesIO()
    write(body)
    # a power cut may take it: the checksum tells, and waiting for the disk at every clip costs more than making one
    # again
    with beside(path, lasting=False) as file:
        file.write(body.getbuffer())
        file.write(hashlib.sha256(body.getbuffer()).digest())


def read_array(path: Path) -> np.ndarray | None:
    """An array that `keep_array` wrote; None where it is not there or damaged, so that it is made again."""
    found = kept(path)
    return None if found is None else np.load(found)


def keep_array(path: Path, array: np.ndarray) -> None:
    """Keep an array, see `keep`."""
    keep(path, lambda file: np.save(file, array))
