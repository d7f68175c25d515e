"""Experiments: one run, a sweep of many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..experiment.config import Experiment
from ..experiment.grid import Sweep
from ..machine import processes
from ..store.finished import FinishedRun
from ..store.folder import RunFolder
from ..work import sweep as sweeps
from ..work.engines.engine import Engine
from ..work.journal import SweepFolder
from ..work.run import compute
from ..work.sweep import Summary
from ..work.unit import failure
from .results import Results
from .telling import Say, report


def run(experiment: Experiment, out: str | Path, say: Say = lambda _: None) -> Results:
    """Train and test every cell, analyse one fold, and leave tables, figures and a report in `out`.

    Interrupted, the same call continues. Started by `accelerate launch` or `torchrun`, the processes train each cell
    together, and the first one does all else. Raises `LorascopeError` for bad input before anything is written.
    """
    processes.join()
    if processes.number():
        say = lambda _: None  # noqa: E731
    folder = RunFolder(out)
    compute(experiment, folder, say, lambda manifest: _first_look(folder, manifest, say))
    return processes.on_first(lambda: report(folder, say))


def run_sweep(
    sweep: Sweep,
    out: str | Path,
    engine: Engine | None = None,
    finisher: Engine | None = None,
    apart: bool = False,
    reports: bool = True,
    say: Say = lambda _: None,
) -> Summary:
    """Compute every cell that is not whole, analyse and report every experiment whose cells are,
    and write one table of all.

    `engine` is this machine by default; it is closed at the end. A cell that fails is told and keeps nobody waiting;
    the same call tries it again. What another sweep computes in the same folder is waited for, and computed here where
    that one gives it up or is gone. `finisher` runs the analyses (by default the engine). With `apart` the engine's
    workers don't see `out`: they hand their cells back. Without `reports` it ends with the cells.
    """
    summary = sweeps.compute_sweep(sweep, out, engine, finisher, apart, reports, say)
    return _tell(sweep, summary, Path(out).resolve(), say) if reports else summary


def _tell(sweep: Sweep, summary: Summary, root: Path, say: Say) -> Summary:
    """The report of every experiment that is computed and has none of its results of today, and the table of all."""
    from ..report.sweep_table import write_table

    folder, errors = SweepFolder(root), dict(summary.unfinished)
    told: list[str] = []
    for slug in summary.finished:
        run = folder.experiment(slug)
        try:
            for fault in run.faults():
                say(f"{slug}: {fault}; made again")
            if not run.is_told():
                report(run, lambda text, slug=slug: say(f"{slug}: {text}"))
            told.append(slug)
        except Exception as error:  # a report that cannot be made keeps the others from nothing
            errors[slug] = failure(error).error
    values = {variant.slug: variant.values for variant in sweep.variants}
    runs = {slug: folder.experiment(slug).root for slug in told}
    table = write_table(sweep.axes, values, runs, root)
    return replace(summary, unfinished=errors, table=table)


def _first_look(folder: RunFolder, manifest: dict[str, Any], say: Say) -> None:
    """The first adapter's first figure, long before the report, whose own takes its place."""
    from ..report.figures import draw

    first = next(unit for unit in manifest["analyses"] if unit.get("epoch") is None)
    unit = FinishedRun(folder.root, only=first["hash"], given=manifest)
    drawn = draw(unit, folder.root / "figures", formats=("png",), first=True)
    if drawn:
        say(f"a first picture, of one adapter alone (fold {first['fold']}): {drawn[0]}")
