"""The verbs of finished folders: report, advise, claims."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, names_in, show, usable


def _usable(out: Path | None) -> Path | None:
    return None if out is None else usable(out)


def report_command(
    folder: Annotated[Path, typer.Argument(help="A folder that run or analyze wrote.")],
    audio: Annotated[
        int | None,
        typer.Option(
            "--audio",
            min=0,
            metavar="N",
            help="Clips that can be heard in the page; by default 24 where the corpus' licence lets them be passed on.",
        ),
    ] = None,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="No clip can be heard: the same as --audio 0.")] = False,
    debug: Debug = False,
) -> None:
    """Make tables, figures and report again from a folder of results."""
    from ..api.telling import report
    from ..store.results import Results

    there = Results(folder).folder
    for fault in there.faults():
        print(f"{folder / fault.name}: {fault.what}; made again", file=sys.stderr)
    show(report(there, lambda text: print(text, file=sys.stderr), 0 if no_audio else audio))


def figures_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that run or analyze wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for figures, tables and captions.", callback=usable)],
    style: Annotated[str, typer.Option("--style", help="Widths and letters of ieee, acl, nature or slides.")] = "ieee",
    columns: Annotated[int, typer.Option("--columns", help="As wide as 1 column or as 2.")] = 1,
    formats: Annotated[str, typer.Option("--format", help="pdf, svg, png, or several, separated by commas.")] = "pdf",
    only: Annotated[
        str | None,
        typer.Option("--only", help="Figures by stem or name (fig2a, lens), and table1, separated by commas."),
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", help="This variant alone (corrected, paper, released); default: all.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a run's figures as wide as a paper's columns, readable in print and in grey, and its tables as LaTeX,
    Markdown and CSV.
    """
    from ..api.drawing import figures

    files = figures(
        run, out, style, columns, names_in(formats) or ("pdf",), names_in(only), variant, lambda text: print(text)
    )
    drawn, tables = (
        [file for file in files if (file.suffix in (".pdf", ".svg", ".png")) is picture] for picture in (True, False)
    )
    print(f"{len(drawn)} figures and {len(tables)} tables and captions: {out}")


def advise_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that run or analyze wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Tell which layers, modules and rank the next adapter needs, with the evidence, as lines for PEFT's LoraConfig."""
    from ..findings.advice import advise

    found = advise(run)
    print(json.dumps(found.as_json(), indent=2, ensure_ascii=False) if as_json else found)


def claims_command(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders that run or sweep wrote, of one or several settings."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for claims.parquet, tables, forest plot and page.", callback=_usable),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    statements: Annotated[
        Path | None, typer.Option("--claims", help="Your own statements beside the paper's, a YAML file.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Decide the paper's statements on what runs found: over folds and seeds, against their controls, corrected for how
    many there are.
    """
    from ..api.deciding import claims
    from ..machine.terminal import console
    from ..report.claims import printed

    found = claims(runs, out, statements)
    if as_json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return
    terminal = console()
    # a pipe has no width, and a table of ten columns none that is narrow
    printed(found, terminal if terminal.is_terminal else console(width=220))
    if out is not None:
        terminal.print(f"page: {out / 'index.html'}", soft_wrap=True)
