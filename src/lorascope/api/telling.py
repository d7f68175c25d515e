"""The end of every verb that computes: what it found, told."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from ..store.folder import RunFolder
from ..store.locks import awaited
from .results import Results

Say = Callable[[str], None]


def report(folder: RunFolder, say: Say, audio: int | None = None) -> Results:
    """Tables, figures and report of what is computed, when nobody else writes there. `audio` clips can be heard in it:
    by default 24 where the corpus may be passed on, else none.
    """
    from ..report import write_all
    from .sounds import sounds_of

    with awaited(folder.lock, uuid.uuid4().hex, say):
        page = write_all(folder.root, lambda finished: sounds_of(finished, audio, say))
        folder.tidy()
    say(f"report: {page}")
    return Results(folder.root)
