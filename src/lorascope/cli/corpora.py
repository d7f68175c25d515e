"""The verbs of corpora: list the readers, check a corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import told_to
from .options import Debug

corpora_app = typer.Typer(
    help="List the readers of corpora, or check a corpus.", invoke_without_command=True, pretty_exceptions_enable=False
)


@corpora_app.callback()
def corpora_command(context: typer.Context) -> None:
    """List the corpora that can be read; `check` compares one with what it should be."""
    if context.invoked_subcommand is None:
        from ..corpora.checking.show import print_readers

        print_readers()


@corpora_app.command("check")
def corpora_check_command(
    name: Annotated[str, typer.Argument(help="Reader of the corpus; `lorascope corpora` lists them.")],
    root: Annotated[
        Path | None, typer.Option("--root", help="Where the corpus lies; default $LORASCOPE_CORPORA/NAME.")
    ] = None,
    decode: Annotated[
        bool, typer.Option("--decode/--headers", help="Read all samples as a run does, or the headers alone.")
    ] = True,
    task: Annotated[str, typer.Option("--task", help="What the classes are of; labels of others are as they are.")] = (
        "emotion"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Count clips against the published figures; find what is missing, extra, damaged, duplicated or
    mislabelled. Nothing is changed.

    Exit code: 0 without faults (there may be warnings), 1 with faults, 2 where there is no such reader or folder.
    """
    from ..corpora.checking.check import check_corpus
    from ..corpora.checking.show import print_check

    with told_to("check"):
        check = check_corpus(name, root, decode, task)
    if as_json:
        print(json.dumps(check.as_json(), indent=2, ensure_ascii=False))
    else:
        print_check(check)
    if check.faults:
        raise typer.Exit(1)
