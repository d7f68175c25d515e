"""The command line: all verbs, in the order in which the help lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .adapters import analyze_command, doctor_command
from .corpora import corpora_app
from .experiments import plan_command, run_command, sweep_command
from .models import predict_command
from .pruning import prune_command
from .results import advise_command, claims_command, figures_command, report_command

app = typer.Typer(
    name="lorascope",
    help="See what a LoRA adapter did inside a speech encoder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(f"lorascope {__version__}")
        raise typer.Exit


for verb, command in (
    ("run", run_command),
    ("plan", plan_command),
    ("analyze", analyze_command),
    ("doctor", doctor_command),
    ("prune", prune_command),
    ("report", report_command),
    ("figures", figures_command),
    ("predict", predict_command),
    ("advise", advise_command),
    ("claims", claims_command),
    ("sweep", sweep_command),
):
    app.command(verb)(command)
app.add_typer(corpora_app, name="corpora")
