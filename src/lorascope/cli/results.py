"""The verbs of finished folders: report, advise."""

from __future__ import annotations

import json
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


def advise_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that run or analyze wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Tell which layers, modules and rank the next adapter needs, with the evidence, as lines for PEFT's LoraConfig."""
    from ..findings.advice import advise

    found = advise(run)
    print(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if as_json else found)
