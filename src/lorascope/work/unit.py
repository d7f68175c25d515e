"""What a worker does: compute one cell or one analysis, or finish one experiment. Nothing here knows which engine runs
it, or where.

A worker opens an experiment's corpus and backbone once and keeps them for the next cell of the same experiment.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ..errors import LorascopeError
from ..experiment.analyses import AnalysisUnit, plan_analyses
from ..experiment.config import Experiment
from ..experiment.loading import experiment_from
from ..experiment.methods import ClassicConfig, FrozenConfig
from ..experiment.planning import Cell, corpus_of, plan
from ..machine.endings import storage_line
from ..store import seals
from ..store.cache import cache_folder
from ..store.folder import RunFolder, digest, read_json
from ..store.locks import held, in_words, now
from .journal import SweepFolder


@dataclass(frozen=True)
class Job:
    """One piece of work: `kind` "cell" or "analysis" computes the unit `key` of the plan of the experiment,
    "experiment" finishes the whole experiment `key`.

    `out` is the sweep's folder and `here` the folder that relative paths are relative to. `apart` says that the worker
    doesn't see `out` and hands its cell back as bytes; `whole` names the cells that are there already. `gone` is a lock
    of the unit whose holder is known to be gone (`store.locks.abandoned`).
    """

    kind: Literal["cell", "analysis", "experiment"]
    experiment: Experiment
    key: str
    words: str
    out: str
    owner: str
    here: str
    apart: bool = False
    whole: frozenset[str] = frozenset()
    gone: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a job. `state` is whole, failed or running (another sweep computes the unit); `computed` says
    whether this job did it. `unit` is the unit's address.

    `error` is one line, `trace` Python's traceback of an error that is none of the user's. `packed` is the cell where
    the worker couldn't write it in place.
    """

    state: Literal["whole", "failed", "running"]
    unit: str | None = None
    computed: bool = False
    seconds: float = 0.0
    error: str = ""
    trace: str = ""
    host: str = ""
    pid: int = 0
    started: str = ""
    ended: str = ""
    packed: bytes | None = None


def work(job: Job) -> Outcome:
    """Do a job. Whatever goes wrong in it is its outcome, so that the rest goes on."""
    from ..machine.environment import quiet

    quiet()
    start, started = time.perf_counter(), now()
    try:
        if Path(job.here).is_dir():
            os.chdir(job.here)
        outcome = _finish(job) if job.kind == "experiment" else _apart(job) if job.apart else _compute(job)
    except Exception as error:
        outcome = failure(error, Path(job.out))
        if job.kind != "experiment" and not job.apart:
            # a disk that is full takes no note either
            with contextlib.suppress(OSError):
                note_failure(SweepFolder(job.out), job, outcome)
    spent = time.perf_counter() - start
    return replace(outcome, seconds=spent, host=socket.gethostname(), pid=os.getpid(), started=started, ended=now())


def failure(error: BaseException, out: Path | None = None) -> Outcome:
    """The outcome of an error; one of writing is told as such, by `out` or the cache where it names no file."""
    told = storage_line(error, [*([out] if out else []), cache_folder()])
    if isinstance(error, LorascopeError):
        return Outcome("failed", error=" ".join(str(error).split()))
    words = " ".join(str(error).split())
    return Outcome(
        "failed",
        error=told or (f"{type(error).__name__}: {words}" if words else type(error).__name__),
        trace="".join(traceback.format_exception(error)),
    )


def note_failure(folder: SweepFolder, job: Job, outcome: Outcome) -> None:
    """Keep the error of a unit where `--status` finds it."""
    unit = outcome.unit or folder.state(job.key, job.kind).about.get("hash")
    known = {"hash": unit} if unit else {}
    error = {"error": outcome.error, "trace": outcome.trace, "words": job.words, "at": outcome.ended or now()}
    folder.record(job.key, known | error, job.kind)
    folder.note("failed", unit, job.key, error=outcome.error)


def _compute(job: Job) -> Outcome:
    """Compute a cell or an analysis, if nobody did and nobody does."""
    folder = SweepFolder(job.out)
    if not folder.grid.is_file() and not job.apart:
        raise LorascopeError(
            f"--out {job.out}: {socket.gethostname()} doesn't see this folder; give one that all nodes share, or "
            "--storage node"
        )
    opened = _open(job.experiment.model_dump_json())
    name = opened.address(job.kind, job.key)
    folder.record(job.key, {"hash": name}, job.kind)
    if name in job.whole:
        return Outcome("whole", name)
    with held(folder.lock(name), job.owner, job.gone) as other:
        # asked while the lock is held, since another may have finished it just now
        if folder.units(job.kind).take_up(name, print, building=other is not None):
            return Outcome("whole", name)
        if other is not None:
            return Outcome("running", name, error=f"computed by {in_words(other)}")
        folder.note("started", name, job.key)
        if job.kind == "cell":
            opened.compute_cell(job.key, name, folder.run)
        else:
            opened.compute_analysis(job.key, folder.run)
        folder.note("whole", name, job.key)
        return Outcome("whole", name, computed=True)


def _apart(job: Job) -> Outcome:
    """Compute a cell in a folder of this machine's own and hand it back as bytes. An interrupted cell goes on from
    there.
    """
    own = SweepFolder(cache_folder() / "sweeps" / digest([job.out]))
    outcome = _compute(replace(job, out=str(own.root)))
    if outcome.state != "whole" or outcome.unit is None or outcome.unit in job.whole:
        return outcome
    packed = own.run.cells.pack(outcome.unit)
    shutil.rmtree(own.run.cell(outcome.unit))
    return replace(outcome, packed=packed)


def _finish(job: Job) -> Outcome:
    from .run import compute

    compute(job.experiment, SweepFolder(job.out).experiment(job.key), print, owner=job.owner)
    return Outcome("whole", computed=True)


def is_computed(run: RunFolder, cells: frozenset[str], analyses: frozenset[str]) -> bool:
    """Whether an experiment has its manifest on these cells and analyses, which are whole: told by the content of what
    it stands on.
    """
    try:
        manifest = read_json(run.manifest)
        listed = [{unit["hash"] for unit in manifest[kind]} for kind in ("cells", "analyses")]
    except (LorascopeError, KeyError, TypeError):
        return False
    if listed != [cells, analyses] or "stands_on" not in manifest:
        return False
    if run.lacks(manifest) or run.moved_on(manifest) is not None:
        return False
    # tables and report are made anew from these two, and from the analysis that is shown
    broken = any(fault.name in (run.manifest.name, run.config.name) for fault in run.faults())
    return not broken and (manifest.get("analysis") is None or seals.fault(run.analysis) is None)


class _Opened:
    """An experiment's cells and analyses, and what they share."""

    def __init__(self, experiment: Experiment) -> None:
        from .sources import open_inputs

        corpus = corpus_of(experiment)
        self.experiment, self.corpus_name = experiment, corpus.name
        cells = plan(experiment, corpus)
        self.cells = {cell.key: cell for cell in cells}
        self.analyses = {unit.key: unit for unit in plan_analyses(experiment, corpus, cells)}
        with _alone(experiment):
            self.inputs, self.backbone = open_inputs(experiment, corpus, cells)

    def address(self, kind: str, key: str) -> str:
        """The address of a unit that was planned elsewhere. Raises `LorascopeError` where it isn't among those here."""
        unit = (self.cells if kind == "cell" else self.analyses).get(key)
        if unit is None:
            raise LorascopeError(
                f"corpus {self.corpus_name}: on {socket.gethostname()} it (or lorascope) is another than where the "
                "sweep was started; make them the same"
            )
        return self._cell(unit) if isinstance(unit, Cell) else unit.address(self._of_cells(unit), self.inputs.clips)

    def compute_cell(self, key: str, name: str, run: RunFolder) -> None:
        """Train a cell."""
        from .kinds.cell import compute_cell

        cell = self.cells[key]
        if isinstance(cell.method, (FrozenConfig, ClassicConfig)):
            # the first worker fills the cache, the others wait for it rather than doing the same
            with _alone(self.experiment):
                self.inputs.fixed(cell.method, cell.context)
        compute_cell(cell, self.inputs, run, name)

    def compute_analysis(self, key: str, run: RunFolder) -> None:
        """Measure an analysis' cells."""
        from .kinds.analysis import compute_analysis

        unit = self.analyses[key]
        compute_analysis(unit, self._of_cells(unit), self.inputs, self.backbone, run, print)

    def _cell(self, cell: Cell) -> str:
        return cell.address(self.backbone.fingerprint, self.inputs.clips, self.inputs.labels)

    def _of_cells(self, unit: AnalysisUnit) -> dict[str, str]:
        return {cell.key: self._cell(cell) for cell in unit.cells}


@lru_cache(maxsize=1)
def _open(experiment: str) -> _Opened:
    import json

    return _Opened(experiment_from(json.loads(experiment)))


@contextlib.contextmanager
def _alone(experiment: Experiment) -> Iterator[None]:
    """Only one process of this machine at a time works on the cached features of a corpus for a backbone.

    A cache that can't be written needs no lock: what isn't there can't be put there.
    """
    from filelock import FileLock

    sections = (experiment.corpus, experiment.test_corpus)
    name = digest([[section and section.model_dump(mode="json") for section in sections], experiment.backbone.name])
    folder = cache_folder() / "locks"
    lock: contextlib.AbstractContextManager[Any] = FileLock(folder / f"{name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.lock").open("a").close()
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        lock = contextlib.nullcontext()
    with lock:
        yield
