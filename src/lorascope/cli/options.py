"""What several verbs share: options, the clock of what is being done, and what is told of results at the end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LorascopeError

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the configuration; repeatable."),
]

CorpusFile = Annotated[
    Path | None, typer.Option("--corpus-config", help="YAML file with a corpus section: label_map, options, exclude.")
]
ReaderOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of the corpus' reader; repeatable."),
]
Labels = Annotated[
    str | None, typer.Option("--labels", help="Class names in the order of the logits, separated by commas.")
]
Root = Annotated[Path | None, typer.Option("--root", help="Where the corpus lies.")]


def usable(out: Path) -> Path:
    """An --out that is no link to nowhere or to itself."""
    for place in (out, *out.parents):
        if place.is_symlink() and not place.exists():
            raise LorascopeError(
                f"--out {out}: {place} is a link to {place.readlink()}, which isn't there; make "
                "that folder, or give another"
            )
    return out


class Clock:
    """Prints what is being done, with the seconds since the start, on standard error."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def __call__(self, text: str) -> None:
        """Say what is being done now."""
        print(f"{time.perf_counter() - self.start:7.1f} s  {text}", file=sys.stderr, flush=True)


def show(results: Any) -> None:
    """Table 1, where there is one, and where the report lies."""
    from ..machine.terminal import console
    from ..report.tables import print_table1

    terminal = console()
    if len(results.table1):
        print_table1(results.folder.root, terminal)
    terminal.print(f"report: {results.report}", soft_wrap=True)


def names_in(text: str | None) -> list[str]:
    """Names that are separated by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
