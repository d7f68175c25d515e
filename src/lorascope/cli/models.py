"""The verb that uses what a run trained: predict."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import LorascopeError
from .options import Clock, Debug

if TYPE_CHECKING:
    from ..work.predict import Predicted

Method = Annotated[str | None, typer.Option("--method", help="A method of the run, by its name in the configuration.")]
Fold = Annotated[str | None, typer.Option("--fold", help="A fold of the run; default: the first.")]
Seed = Annotated[int | None, typer.Option("--seed", help="A seed of the run; default: the first.")]


def predict_command(
    run: Annotated[Path, typer.Argument(metavar="RUN_OR_CELL", help="A run's folder, or that of one of its cells.")],
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP...", help="Sound files, folders of them, or - for a WAV on stdin.")
    ],
    method: Method = None,
    fold: Fold = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing of what is being done.")] = False,
    debug: Debug = False,
) -> None:
    """Tell the class of clips, with probabilities, by a model of a run: by default its best method on the selection
    clips, first fold, which is named.
    """
    from ..api.predicting import predict
    from ..machine import environment

    environment.quiet()
    with tempfile.TemporaryDirectory() as scratch:
        places = [_from_stdin(Path(scratch)) if clip == "-" else clip for clip in dict.fromkeys(clips)]
        found = predict(run, places, method, fold, seed, (lambda _: None) if quiet else Clock())
        found.table["clip"] = ["-" if clip.startswith(scratch) else clip for clip in found.table["clip"]]
    if as_json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return
    _print(found)


def _from_stdin(folder: Path) -> str:
    content = sys.stdin.buffer.read()
    if not content:
        raise LorascopeError("-: nothing came on standard input; pipe a WAV file into it")
    file = folder / "stdin.wav"
    file.write_bytes(content)
    return str(file)


def _print(found: Predicted) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from ..machine.terminal import console

    terminal, model = console(), found.model
    classes = model["classes"]
    terminal.print(f"{model['label']}, fold {model['fold']}, seed {model['seed']} ({model['chosen']})", soft_wrap=True)
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in ("clip", "class", *classes):
        shown.add_column(Text(head), justify="left" if head in ("clip", "class") else "right", overflow="fold")
    for _, row in found.table.iterrows():
        shown.add_row(*map(Text, (row["clip"], row["predicted"], *(f"{row[f'p_{name}']:.2f}" for name in classes))))
    # a pipe has no width
    (terminal if terminal.is_terminal else console(width=200)).print(shown)
    for note in found.notes:
        terminal.print(note, soft_wrap=True)
