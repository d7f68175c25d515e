"""A progress bar for long loops."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def bar(items: Iterable[Item], title: str, total: int | None = None) -> Iterable[Item]:
    """The items; while they are consumed a bar shows on standard error, where that is a terminal and this the
    first process of the run.
    """
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description=title, total=total, console=Console(stderr=True), transient=True)
