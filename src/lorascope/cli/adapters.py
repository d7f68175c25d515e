"""The verbs of adapters that were made anywhere: analyze, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import LorascopeError, told_to
from .options import Clock, CorpusFile, Debug, Labels, ReaderOptions, Root, show, usable


def analyze_command(
    backbone: Annotated[
        str, typer.Option("--backbone", help="Folder, hub id or name of the encoder that the adapter was trained on.")
    ],
    adapter: Annotated[
        list[str],
        typer.Option(
            "--adapter", help="Folder or hub id of a PEFT adapter or a whole checkpoint; repeat it to compare several."
        ),
    ],
    corpus: Annotated[str, typer.Option("--corpus", help="Reader of the corpus (see `lorascope corpora`), or a path.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.", callback=usable)],
    root: Root = None,
    frozen: Annotated[
        list[Path] | None,
        typer.Option(
            "--frozen",
            help="The frozen baseline: the same with only a trained head; with several --test-speakers one an adapter.",
        ),
    ] = None,
    clip_ids: Annotated[
        Path | None, typer.Option("--clip-ids", help="Text file with the ids of the clips to analyse, one a line.")
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context",
            help="trim or full; default: what the adapter's folder records, else full where there is a window.",
        ),
    ] = None,
    labels: Labels = None,
    test_speakers: Annotated[
        list[str] | None,
        typer.Option(
            "--test-speakers",
            help="Speakers that the adapter was not trained on, separated by commas. Of several adapters, trained "
            "alike on folds of the corpus, one for each in their order: what they show is then aggregated.",
        ),
    ] = None,
    corpus_config: CorpusFile = None,
    reader_options: ReaderOptions = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="What the classes are of, if not emotion: labels are taken as they are."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the analysis section; repeatable."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Analyse adapters that were made anywhere; nothing is trained."""
    from ..experiment.loading import analysis_from, corpus_from_file

    if context not in (None, "trim", "full"):
        raise LorascopeError(f"--context {context}: expected trim or full")
    config = analysis_from(overrides or [])
    section = (
        corpus
        if corpus_config is None and not reader_options and task is None
        else corpus_from_file(corpus, corpus_config, reader_options or [], task)
    )
    from ..api import analyze, analyze_folds, analyze_several
    from ..machine.environment import quiet
    from ..work.sources import read_clip_ids

    quiet()
    options: dict[str, Any] = {
        "root": root,
        "context": context,
        "labels": None if labels is None else [name.strip() for name in labels.split(",")],
        "config": config,
        "say": Clock(),
    }
    heard = [[name.strip() for name in names.split(",") if name.strip()] for names in test_speakers or ()]
    with told_to("analyze"):
        if heard and len(adapter) > 1:
            if clip_ids is not None:
                raise LorascopeError("--clip-ids and --test-speakers choose the clips in two ways; give one of them")
            show(analyze_folds(backbone, adapter, heard, out, section, frozen=frozen, **options))
            return
        if len(frozen or ()) > 1 or len(heard) > 1:
            raise LorascopeError("--frozen, --test-speakers: several of them go with several adapters of folds alone")
        options["clip_ids"] = None if clip_ids is None else read_clip_ids(clip_ids)
        options["frozen"] = frozen[0] if frozen else None
        if len(adapter) == 1:
            speakers = heard[0] if heard else None
            show(analyze(backbone, adapter[0], out, section, test_speakers=speakers, **options))
            return
        for results in analyze_several(backbone, adapter, out, section, **options).values():
            show(results)


def doctor_command(
    adapters: Annotated[
        list[str],
        typer.Argument(
            metavar="ADAPTER...",
            help="Folders or hub ids of PEFT adapters or whole checkpoints; a folder of many examines each.",
        ),
    ],
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="What they were trained on; default: what each folder records.")
    ] = None,
    corpus: Annotated[str | None, typer.Option("--corpus", help="Reader of a corpus with labelled clips.")] = None,
    root: Root = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Labelled clips as a table: path, speaker, emotion or label.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="What the labels are of, where it isn't emotion; they are then taken as they are."),
    ] = None,
    labels: Labels = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Write what can be mended without guessing to --out.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="With --fix: a new folder for the mended adapter.")] = None,
    debug: Debug = False,
) -> None:
    """Examine adapters: nothing dropped, a trained head, labels in order, trained at all, used as it was trained?

    Exit code: 0 healthy (there may be remarks), 1 sick, 2 could not be examined. Every code: docs/doctor.md.
    """
    if corpus is not None and manifest is not None:
        raise LorascopeError("--corpus and --manifest: give one of them")
    if root is not None and corpus is None:
        raise LorascopeError("--root: is of a corpus; name its reader with --corpus")
    if task is not None and corpus is None and manifest is None:
        raise LorascopeError("--task: is what labels are of; give labelled clips with --corpus or --manifest")
    if fix != (out is not None):
        raise LorascopeError("--fix writes to a new folder: give --fix and --out together")
    from ..api import examinations
    from ..machine.environment import quiet

    quiet()
    names = None if labels is None else [name.strip() for name in labels.split(",")]
    where = None if out is None else usable(out)
    with told_to("doctor"):
        found = examinations(adapters, backbone, corpus, root, manifest, names, where, Clock(), task or "emotion")
    if as_json:
        print(json.dumps({"adapters": [each.as_json() for each in found]}, indent=2, ensure_ascii=False))
    else:
        from ..examination.show import print_examinations

        given = (("--backbone", backbone), ("--corpus", corpus), ("--root", root), ("--manifest", manifest))
        given = (*given, ("--task", task))
        options = "".join(f" {option} {value}" for option, value in given if value is not None)
        print_examinations(found, f"lorascope doctor {' '.join(adapters)}{options}")
    if any(each.error for each in found):
        raise typer.Exit(2)
    if not all(each.healthy for each in found):
        raise typer.Exit(1)
