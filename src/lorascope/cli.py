"""The command line: verbs that call the Python API of the same names. No logic of its own, and no
torch until a verb needs it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from . import __version__
from .errors import LorascopeError, told_to
from .machine.endings import FULL, Signals, errno_of, standard_output_is_gone, storage_line, use_utf8_names
from .machine.requirements import require

app = typer.Typer(
    name="lorascope",
    help="See what a LoRA adapter did inside a speech encoder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the configuration; repeatable."),
]


def _usable(out: Path) -> Path:
    """An --out that is no link to nowhere or to itself."""
    for place in (out, *out.parents):
        if place.is_symlink() and not place.exists():
            raise LorascopeError(
                f"--out {out}: {place} is a link to {place.readlink()}, which isn't there; make "
                "that folder, or give another"
            )
    return out


class _Clock:
    """Prints what is being done, with the seconds since the start, on standard error."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def __call__(self, text: str) -> None:
        print(f"{time.perf_counter() - self.start:7.1f} s  {text}", file=sys.stderr, flush=True)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        print(f"lorascope {__version__}")
        raise typer.Exit


@app.command("run")
def run_command(
    config: Annotated[Path, typer.Argument(help="The experiment, a YAML file.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the results; the same folder again continues.", callback=_usable)
    ],
    overrides: Set = None,
    debug: Debug = False,
) -> None:
    """Train and test every cell, analyse one fold, leave tables, figures and a report."""
    from .experiment.config import load_experiment

    experiment = load_experiment(config, overrides or [])
    from .api import run
    from .machine.environment import quiet

    quiet()
    results = run(experiment, out, _Clock())
    from .machine.processes import number

    if number() == 0:
        _show(results)


@app.command("plan")
def plan_command(
    config: Annotated[Path, typer.Argument(help="The experiment, a YAML file.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the results will lie; whether they fit there is told.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    overrides: Set = None,
    debug: Debug = False,
) -> None:
    """List every cell with its training, validation and test speakers and clip counts, and tell what can be known
    without training: time, memory, disk, and what would keep it from running here.
    """
    from .experiment.config import load_experiment

    experiment = load_experiment(config, overrides or [])
    from .experiment.planning import describe
    from .experiment.show import print_plan
    from .work.foresight import foresee

    ahead = foresee(experiment, out)
    description = describe(experiment) | {"ahead": ahead.described()}
    if as_json:
        import json

        print(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        print_plan(description)


@app.command("analyze")
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
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.", callback=_usable)],
    root: Annotated[Path | None, typer.Option("--root", help="Where the corpus lies.")] = None,
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
    labels: Annotated[
        str | None, typer.Option("--labels", help="Class names in the order of the logits, separated by commas.")
    ] = None,
    test_speakers: Annotated[
        list[str] | None,
        typer.Option(
            "--test-speakers",
            help="Speakers that the adapter was not trained on, separated by commas. Of several adapters, trained "
            "alike on folds of the corpus, one for each in their order: what they show is then aggregated.",
        ),
    ] = None,
    corpus_config: Annotated[
        Path | None,
        typer.Option("--corpus-config", help="YAML file with a corpus section: label_map, options, exclude."),
    ] = None,
    reader_options: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="An option of the corpus' reader; repeatable."),
    ] = None,
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
    from .experiment.config import analysis_from, corpus_from_file

    if context not in (None, "trim", "full"):
        raise LorascopeError(f"--context {context}: expected trim or full")
    config = analysis_from(overrides or [])
    section = (
        corpus
        if corpus_config is None and not reader_options and task is None
        else corpus_from_file(corpus, corpus_config, reader_options or [], task)
    )
    from .api import analyze, analyze_folds, analyze_several
    from .machine.environment import quiet
    from .work.sources import read_clip_ids

    quiet()
    options: dict[str, Any] = {
        "root": root,
        "context": context,
        "labels": None if labels is None else [name.strip() for name in labels.split(",")],
        "config": config,
        "say": _Clock(),
    }
    heard = [[name.strip() for name in names.split(",") if name.strip()] for names in test_speakers or ()]
    with told_to("analyze"):
        if heard and len(adapter) > 1:
            if clip_ids is not None:
                raise LorascopeError("--clip-ids and --test-speakers choose the clips in two ways; give one of them")
            _show(analyze_folds(backbone, adapter, heard, out, section, frozen=frozen, **options))
            return
        if len(frozen or ()) > 1 or len(heard) > 1:
            raise LorascopeError("--frozen, --test-speakers: several of them go with several adapters of folds alone")
        options["clip_ids"] = None if clip_ids is None else read_clip_ids(clip_ids)
        options["frozen"] = frozen[0] if frozen else None
        if len(adapter) == 1:
            speakers = heard[0] if heard else None
            _show(analyze(backbone, adapter[0], out, section, test_speakers=speakers, **options))
            return
        for results in analyze_several(backbone, adapter, out, section, **options).values():
            _show(results)


@app.command("doctor")
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
    root: Annotated[Path | None, typer.Option("--root", help="Where the corpus lies.")] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Labelled clips as a table: path, speaker, emotion.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Class names in the order of the logits, separated by commas.")
    ] = None,
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
    if fix != (out is not None):
        raise LorascopeError("--fix writes to a new folder: give --fix and --out together")
    from .api import examinations
    from .machine.environment import quiet

    quiet()
    names = None if labels is None else [name.strip() for name in labels.split(",")]
    where = None if out is None else _usable(out)
    found = examinations(adapters, backbone, corpus, root, manifest, names, where, _Clock())
    if as_json:
        import json

        print(json.dumps({"adapters": [each.as_json() for each in found]}, indent=2, ensure_ascii=False))
    else:
        from .examination.show import print_examinations

        given = (("--backbone", backbone), ("--corpus", corpus), ("--root", root), ("--manifest", manifest))
        options = "".join(f" {option} {value}" for option, value in given if value is not None)
        print_examinations(found, f"lorascope doctor {' '.join(adapters)}{options}")
    if any(each.error for each in found):
        raise typer.Exit(2)
    if not all(each.healthy for each in found):
        raise typer.Exit(1)


@app.command("report")
def report_command(
    folder: Annotated[Path, typer.Argument(help="A folder that run or analyze wrote.")], debug: Debug = False
) -> None:
    """Make tables, figures and report again from a folder of results."""
    from .report import write_all
    from .store.results import Results

    for fault in Results(folder).folder.faults():
        print(f"{folder / fault.name}: {fault.what}; made again", file=sys.stderr)
    write_all(folder)
    _show(Results(folder))


@app.command("sweep")
def sweep_command(
    grid: Annotated[Path, typer.Argument(help="The grid, a YAML file.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the results; the same folder again continues.", callback=_usable)
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells with an estimate; nothing is trained.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Tell which cells are whole, running, failed, missing.")
    ] = False,
    engine: Annotated[str, typer.Option("--engine", help="local (this machine) or ray (a cluster).")] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="local: processes; default: one a GPU, else cores / threads.")
    ] = None,
    per_gpu: Annotated[
        int | None, typer.Option("--workers-per-gpu", min=1, help="local: processes that share each GPU.")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="local: threads of each process.")] = None,
    address: Annotated[str, typer.Option("--address", help="ray: the cluster's address.")] = "auto",
    cpus: Annotated[float, typer.Option("--cpus-per-cell", min=0.1, help="ray: CPUs of a cell.")] = 1,
    gpus: Annotated[float, typer.Option("--gpus-per-cell", min=0, help="ray: GPUs of a cell.")] = 0,
    retries: Annotated[
        int, typer.Option("--retries", min=0, help="ray: further tries of a cell whose node was lost.")
    ] = 3,
    storage: Annotated[
        str, typer.Option("--storage", help="ray: shared (every node sees --out) or node (cells are handed back).")
    ] = "shared",
    cells_only: Annotated[bool, typer.Option("--cells-only", help="No analyses, no reports.")] = False,
    gflops: Annotated[
        float | None, typer.Option("--gflops", min=0.001, help="Throughput that the estimate takes for granted.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (with --dry-run and --status).")] = False,
    overrides: Set = None,
    debug: Debug = False,
) -> None:
    """Compute every cell of a grid of experiments once, on this machine or a cluster; then their reports and one table.

    Exit code: 0 when all is whole, 1 when a cell or a report failed, 2 for bad input.
    """
    from .experiment.grid import load_sweep

    for option, value, known in (("engine", engine, ("local", "ray")), ("storage", storage, ("shared", "node"))):
        if value not in known:
            raise LorascopeError(f"--{option} {value}: expected {' or '.join(known)}")
    sweep = load_sweep(grid, overrides or [])
    from .work.show import print_end, show

    if dry_run or status:
        show(sweep, out, dry_run, gflops, as_json)
        return
    from .api import run_sweep
    from .machine.environment import quiet
    from .work.engines.local import LocalEngine
    from .work.engines.on_ray import RayEngine

    quiet()
    logs, apart = out / "sweep" / "logs", engine == "ray" and storage == "node"
    if engine == "local":
        chosen: LocalEngine | RayEngine = LocalEngine(workers, threads, logs, per_gpu)
    else:
        chosen = RayEngine(address, cpus, gpus, retries)
    # nodes that don't see the folder can't report on it
    finisher = LocalEngine(1, threads, logs) if apart else None
    summary = run_sweep(sweep, out, chosen, finisher, apart, not cells_only, _Clock())
    print_end(summary, out)
    if summary.errors:
        raise typer.Exit(1)


corpora_app = typer.Typer(
    help="List the readers of corpora, or check a corpus.", invoke_without_command=True, pretty_exceptions_enable=False
)
app.add_typer(corpora_app, name="corpora")


@corpora_app.callback()
def corpora_command(context: typer.Context) -> None:
    """List the corpora that can be read; `check` compares one with what it should be."""
    if context.invoked_subcommand is None:
        from .corpora.checking.show import print_readers

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
    from .corpora.checking.check import check_corpus
    from .corpora.checking.show import print_check

    with told_to("check"):
        check = check_corpus(name, root, decode, task)
    if as_json:
        import json

        print(json.dumps(check.as_json(), indent=2, ensure_ascii=False))
    else:
        print_check(check)
    if check.faults:
        raise typer.Exit(1)


def _show(results: Any) -> None:
    from .machine.terminal import console
    from .report.tables import print_table1

    terminal = console()
    if len(results.table1):
        print_table1(results.folder.root, terminal)
    terminal.print(f"report: {results.report}", soft_wrap=True)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: what can't go on becomes one line on standard error; exit code 2 for a `LorascopeError` or a
    full disk, 128 and its number for a signal.
    """
    given = sys.argv[1:] if arguments is None else arguments
    signals, gone = None, False
    if arguments is None:
        use_utf8_names()
        signals = Signals()
    try:
        require("typer", "rich", "pydantic", "PyYAML")
        try:
            app(args=given)
        finally:
            # here, since what is left in the buffer would be told by a traceback after everything
            gone = standard_output_is_gone()
    except LorascopeError as error:
        if "--debug" in given:
            raise
        _last_words(f"error: {' '.join(str(error).split())}", 2)
    except KeyboardInterrupt:
        _interrupted(signals)
    except SystemExit as end:
        # typer's own way of ending after Ctrl-C, which says nothing
        if end.code == 130:
            _interrupted(signals)
        if gone and not end.code:
            _last_words("error: standard output takes no more; all is done but for what was to be printed", 2)
        raise
    except Exception as error:
        told = storage_line(error, _written(given))
        # no file is named, and all places take more
        gone = gone or (told is None and (errno_of(error) or (0, ""))[0] in FULL)
        if "--debug" in given or (told is None and not gone):
            raise
        if gone:
            told = "standard output takes no more; the same command continues where it stopped"
        _last_words(f"error: {' '.join(str(told).split())}", 2)


def _interrupted(signals: Signals | None) -> NoReturn:
    caught = signals.caught if signals else None
    by = f" by {caught.name}" if caught else ""
    _last_words(f"interrupted{by}; the same command continues where it stopped", 128 + caught if caught else 130)


def _last_words(text: str, code: int) -> NoReturn:
    """Say a line and leave; of several processes of one run the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)
    sys.exit(code)


def _written(given: list[str]) -> list[Path]:
    """Where a command writes: its --out, the cache, and the place of temporary files."""
    out = [Path(after) for option, after in pairwise(given) if option == "--out"]
    out += [Path(option.removeprefix("--out=")) for option in given if option.startswith("--out=")]
    from .store.cache import cache_folder

    return [*out, cache_folder(), Path(tempfile.gettempdir())]
