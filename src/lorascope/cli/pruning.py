"""The verb that makes adapters smaller: prune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LorascopeError
from .options import Clock, CorpusFile, Debug, Labels, ReaderOptions, Root, names_in, usable


def prune_command(
    out: Annotated[
        Path, typer.Option("--out", help="A new folder for the adapter, or for all of a run.", callback=usable)
    ],
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            help="auto (the least that is as good on the validation speakers), a share of the rank over all matrices "
            "(0.2), or a number of directions of each matrix (4).",
        ),
    ],
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run: all its LoRA adapters, each on its own fold.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option("--adapter", help="Instead of a run: folder or hub id of a PEFT adapter.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="Folder, hub id or name of the encoder that it was trained on.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option("--corpus", help="Reader of the corpus that it is measured on, or a path.")
    ] = None,
    root: Root = None,
    validation_speakers: Annotated[
        str | None,
        typer.Option("--validation-speakers", help="With --keep auto: speakers to choose on, separated by commas."),
    ] = None,
    test_speakers: Annotated[
        str | None,
        typer.Option("--test-speakers", help="Speakers to measure on, separated by commas; default: all clips."),
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", help="trim or full; default: what the adapter's folder records.")
    ] = None,
    labels: Labels = None,
    corpus_config: CorpusFile = None,
    reader_options: ReaderOptions = None,
    debug: Debug = False,
) -> None:
    """Write smaller adapters: the directions of ΔW with the largest σ, as PEFT reads them, and what that costs."""
    if (run is None) == (adapter is None):
        raise LorascopeError("prune: give a run's folder, or --adapter and --backbone")
    if context not in (None, "trim", "full"):
        raise LorascopeError(f"--context {context}: expected trim or full")
    given: dict[str, Any] = {
        "--backbone": backbone,
        "--corpus": corpus,
        "--root": root,
        "--validation-speakers": validation_speakers,
        "--test-speakers": test_speakers,
        "--context": context,
        "--labels": labels,
        "--corpus-config": corpus_config,
        "--option": reader_options,
    }
    own = next((option for option, value in given.items() if value is not None), None)
    if run is not None and own is not None:
        raise LorascopeError(f"{own}: goes with --adapter; a run has its own")
    if adapter is not None and backbone is None:
        raise LorascopeError("--adapter: name the encoder that it was trained on with --backbone")
    if corpus is None and (corpus_config is not None or reader_options):
        raise LorascopeError("--corpus-config and --option are of a corpus; name its reader with --corpus")
    from ..api import prune, prune_adapter
    from ..experiment.loading import corpus_from_file
    from ..machine.environment import quiet

    quiet()
    if run is not None:
        found = prune(run, out, keep, Clock())
    else:
        assert adapter is not None and backbone is not None
        section: Any = corpus
        if corpus is not None and (corpus_config is not None or reader_options):
            section = corpus_from_file(corpus, corpus_config, reader_options or [])
        found = prune_adapter(
            backbone,
            adapter,
            out,
            keep,
            section,
            root,
            names_in(validation_speakers),
            names_in(test_speakers),
            context,
            names_in(labels) or None,
            Clock(),
        )
    for line in found.lines:
        print(line)
    print(f"pruned: {found.out}")
