"""Where lorascope keeps what it can make again: features, synthetic speech."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$LORASCOPE_CACHE`, else `$XDG_CACHE_HOME/lorascope`, else `~/.cache/lorascope`; not necessarily there yet."""
    if own := os.environ.get("LORASCOPE_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "lorascope"
