"""Progress of long loops: a bar on a terminal, a line every half minute in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

#: Seconds between two lines in a log.
EVERY = 30.0


def bar(items: Iterable[Item], title: str, total: int | None = None) -> Iterable[Item]:
    """The items; while they are consumed the first process of the run shows on standard error how far they are and what
    time is left: a bar on a terminal, else a line every 30 s.
    """
    if os.environ.get("RANK", "0") != "0":
        return items
    if total is None and isinstance(items, Sized):
        total = len(items)
    if not sys.stderr.isatty():
        return _lines(items, title, total)
    from rich.console import Console
    from rich.progress import track

    return track(items, description=title, total=total, console=Console(stderr=True), transient=True)


def _lines(
    items: Iterable[Item], title: str, total: int | None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Item]:
    began = last = clock()
    for done, item in enumerate(items):
        now = clock()
        if now - last >= EVERY:
            print(f"{title}: {told(done, total, now - began)}", file=sys.stderr, flush=True)
            last = now
        yield item


def told(done: int, total: int | None, seconds: float) -> str:
    """How many of all are done, and how long the others take if they take as long as those.

    >>> told(1200, 3000, 60)
    '1200 of 3000, 1:30 left'
    """
    if total is None or not done:
        return str(done) if total is None else f"{done} of {total}"
    left = round(seconds / done * max(total - done, 0))
    hours, rest = divmod(left, 3600)
    return f"{done} of {total}, {f'{hours}:{rest // 60:02d}' if hours else rest // 60}:{rest % 60:02d} left"
