"""The entry point: what can't go on becomes one line on standard error, and an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from ..errors import LorascopeError
from ..machine.endings import FULL, Signals, errno_of, standard_output_is_gone, storage_line, use_utf8_names
from ..machine.requirements import require
from .app import app


def main(arguments: list[str] | None = None) -> None:
    """Entry point: what can't go on becomes one line on standard error; exit code 2 for a `LorascopeError` or a
    full disk, 128 and its number for a signal.
    """
    given = sys.argv[1:] if arguments is None else arguments
    signals, gone = None, False
    if arguments is None:
        use_utf8_names()
        signals = Signals()
    try:
        require("typer", "rich", "pydantic", "PyYAML")
        try:
            app(args=given)
        finally:
            # here, since what is left in the buffer would be told by a traceback after everything
            gone = standard_output_is_gone()
    except LorascopeError as error:
        if "--debug" in given:
            raise
        _last_words(f"error: {' '.join(str(error).split())}", 2)
    except KeyboardInterrupt:
        _interrupted(signals)
    except SystemExit as end:
        # typer's own way of ending after Ctrl-C, which says nothing
        if end.code == 130:
            _interrupted(signals)
        if gone and not end.code:
            _last_words("error: standard output takes no more; all is done but for what was to be printed", 2)
        raise
    except Exception as error:
        told = storage_line(error, _written(given))
        # no file is named, and all places take more
        gone = gone or (told is None and (errno_of(error) or (0, ""))[0] in FULL)
        if "--debug" in given or (told is None and not gone):
            raise
        if gone:
            told = "standard output takes no more; the same command continues where it stopped"
        _last_words(f"error: {' '.join(str(told).split())}", 2)


def _interrupted(signals: Signals | None) -> NoReturn:
    caught = signals.caught if signals else None
    by = f" by {caught.name}" if caught else ""
    _last_words(f"interrupted{by}; the same command continues where it stopped", 128 + caught if caught else 130)


def _last_words(text: str, code: int) -> NoReturn:
    """Say a line and leave; of several processes of one run the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)
    sys.exit(code)


def _written(given: list[str]) -> list[Path]:
    """Where a command writes: its --out, the cache, and the place of temporary files."""
    out = [Path(after) for option, after in pairwise(given) if option == "--out"]
    out += [Path(option.removeprefix("--out=")) for option in given if option.startswith("--out=")]
    from ..store.cache import cache_folder

    return [*out, cache_folder(), Path(tempfile.gettempdir())]
