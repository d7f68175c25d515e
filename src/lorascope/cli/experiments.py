"""The verbs of experiments: run, plan, sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LorascopeError
from .options import Clock, Debug, Set, show, usable


def run_command(
    config: Annotated[Path, typer.Argument(help="The experiment, a YAML file.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the results; the same folder again continues.", callback=usable)
    ],
    overrides: Set = None,
    debug: Debug = False,
) -> None:
    """Train and test every cell, analyse one fold, leave tables, figures and a report."""
    from ..experiment.loading import load_experiment

    experiment = load_experiment(config, overrides or [])
    from ..api import run
    from ..machine.environment import quiet

    quiet()
    results = run(experiment, out, Clock())
    from ..machine.processes import number

    if number() == 0:
        show(results)


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
    from ..experiment.loading import load_experiment

    experiment = load_experiment(config, overrides or [])
    from ..experiment.planning import describe
    from ..experiment.show import print_plan
    from ..work.foresight import foresee

    ahead = foresee(experiment, out)
    description = describe(experiment) | {"ahead": ahead.described()}
    if as_json:
        print(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        print_plan(description)


def sweep_command(
    grid: Annotated[Path, typer.Argument(help="The grid, a YAML file.")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the results; the same folder again continues.", callback=usable)
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

    Exit code: 0 when all is whole, 1 when a cell or a report failed, 2 for bad input, 3 when something is lacking for
    another reason, which the output tells.
    """
    from ..experiment.grid import load_sweep

    for option, value, known in (("engine", engine, ("local", "ray")), ("storage", storage, ("shared", "node"))):
        if value not in known:
            raise LorascopeError(f"--{option} {value}: expected {' or '.join(known)}")
    sweep = load_sweep(grid, overrides or [])
    from ..work.show import print_end, show

    if dry_run or status:
        show(sweep, out, dry_run, gflops, as_json)
        return
    from ..api import run_sweep
    from ..machine.environment import quiet
    from ..work.engines.local import LocalEngine
    from ..work.engines.on_ray import RayEngine

    quiet()
    logs, apart = out / "sweep" / "logs", engine == "ray" and storage == "node"
    if engine == "local":
        chosen: LocalEngine | RayEngine = LocalEngine(workers, threads, logs, per_gpu)
    else:
        chosen = RayEngine(address, cpus, gpus, retries)
    # nodes that don't see the folder can't report on it
    finisher = LocalEngine(1, threads, logs) if apart else None
    summary = run_sweep(sweep, out, chosen, finisher, apart, not cells_only, Clock())
    print_end(summary, out)
    if summary.errors or summary.lacking:
        raise typer.Exit(1 if summary.errors else 3)
