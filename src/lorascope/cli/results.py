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
    from ..api.telling import report
    from ..store.results import Results

    there = Results(folder).folder
    for fault in there.faults():
        print(f"{folder / fault.name}: {fault.what}; made again", file=sys.stderr)
    show(report(there, lambda text: print(text, file=sys.stderr)))


def advise_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that run or analyze wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Tell which layers, modules and rank the next adapter needs, with the evidence, as lines for PEFT's LoraConfig."""
    from ..findings.advice import advise

    found = advise(run)
    print(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if as_json else found)
