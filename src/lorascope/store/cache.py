"""Where lorascope keeps what it can make again: features, encoder outputs, synthetic speech."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from .modes import as_umask_says


def cache_folder() -> Path:
    """`$LORASCOPE_CACHE`, else `$XDG_CACHE_HOME/lorascope`, else `~/.cache/lorascope`; not necessarily there yet."""
    if own := os.environ.get("LORASCOPE_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "lorascope"


def read_array(path: Path) -> np.ndarray | None:
    """An array that `keep_array` wrote; None where it is not there or damaged, so that it is made again."""
    try:
        return np.load(path)
    except (OSError, EOFError, ValueError):
        return None


def keep_array(path: Path, array: np.ndarray) -> None:
    """Write an array beside its place and move it there, so that it is never seen half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        try:
            np.save(file, array)
        except BaseException:
            Path(file.name).unlink()
            raise
    as_umask_says(Path(file.name))
    Path(file.name).replace(path)
