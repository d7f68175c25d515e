"""The verbs of finished folders: report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, show


def report_command(
    folder: Annotated[Path, typer.Argument(help="A folder that run or analyze wrote.")], debug: Debug = False
) -> None:
    """Make tables, figures and report again from a folder of results."""
    from ..report import write_all
    from ..store.results import Results

    for fault in Results(folder).folder.faults():
        print(f"{folder / fault.name}: {fault.what}; made again", file=sys.stderr)
    write_all(folder)
    show(Results(folder))
