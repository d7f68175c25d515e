"""Who may read what is written: as the umask says, also where a library makes its files for their owner alone."""

from __future__ import annotations

import os
from pathlib import Path

# it can only be read by setting it, which threads would notice later on
_UMASK = os.umask(0o022)
os.umask(_UMASK)


def as_umask_says(path: Path) -> None:
    """Give a file, or all files directly in a folder, the mode that a file has which is simply opened.

    Temporary files, and those of safetensors, are made for their owner alone: others of a group could not read a shared
    cache or an adapter.
    """
    for file in path.iterdir() if path.is_dir() else (path,):
        if file.is_file() and not file.is_symlink():
            file.chmod(0o666 & ~_UMASK)
