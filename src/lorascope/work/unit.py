"""What a worker does: compute one cell, or finish one experiment. Nothing here knows which engine runs it, or where.

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
from ..experiment.config import Experiment, experiment_from
from ..experiment.methods import ClassicConfig, FrozenConfig
from ..experiment.planning import corpus_of, plan
from ..machine.endings import storage_line
from ..store.cache import cache_folder
from ..store.folder import RunFolder, digest, read_json
from ..store.locks import held, now
from .journal import SweepFolder


@dataclass(frozen=True)
class Job:
    """One piece of work: `kind` "cell" computes the cell `key` of the plan of the experiment, "experiment" finishes the whole experiment `key`.

    `out` is the sweep's folder and `here` the folder that relative paths are relative to. `apart` says that the worker doesn't see `out` and hands
    its cell back as bytes; `whole` names the cells that are there already.
    """

    kind: Literal["cell", "experiment"]
    experiment: Experiment
    key: str
    words: str
    out: str
    owner: str
    here: str
    apart: bool = False
    whole: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Outcome:
    """What became of a job. `state` is whole, failed or running (another sweep computes the cell); `computed` says whether this job did it.

    `error` is one line, `trace` Python's traceback of an error that is none of the user's. `packed` is the cell where the worker couldn't write it in place.
    """

    state: Literal["whole", "failed", "running"]
    cell: str | None = None
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
        if job.kind == "cell" and not job.apart:
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
    """Keep the error of a cell where `--status` finds it."""
    cell = outcome.cell or folder.state(job.key).about.get("hash")
    known = {"hash": cell} if cell else {}
    folder.record(
        job.key,
        known | {"error": outcome.error, "trace": outcome.trace, "words": job.words, "at": outcome.ended or now()},
    )
    folder.note("failed", cell, job.key, error=outcome.error)


def _compute(job: Job) -> Outcome:
    from .kinds.cell import run_cell

    folder = SweepFolder(job.out)
    if not folder.grid.is_file() and not job.apart:
        raise LorascopeError(
            f"--out {job.out}: {socket.gethostname()} doesn't see this folder; give one that all nodes share, or --storage node"
        )
    opened = _open(job.experiment.model_dump_json())
    cell = opened.cells.get(job.key)
    if cell is None:
        raise LorascopeError(
            f"corpus {opened.corpus_name}: on {socket.gethostname()} it (or lorascope) is another than where the sweep was started; make them the same"
        )
    inputs, backbone = opened.inputs, opened.backbone
    name = cell.address(backbone.fingerprint, inputs.clips, inputs.labels)
    folder.record(job.key, {"hash": name})
    if name in job.whole:
        return Outcome("whole", name)
    with held(folder.lock(name), job.owner) as other:
        # asked while the lock is held, since another may have finished it just now
        if folder.run.is_whole(name):
            return Outcome("whole", name)
        if other is not None:
            return Outcome(
                "running", name, error=f"{other.host} computes it (process {other.pid}, since {other.since})"
            )
        folder.note("started", name, job.key)
        if isinstance(cell.method, (FrozenConfig, ClassicConfig)):
            # the first worker fills the cache, the others wait for it rather than doing the same
            with _alone(job.experiment):
                inputs.fixed(cell)
        run_cell(cell, inputs, folder.run, backbone.fingerprint)
        folder.note("whole", name, job.key)
        return Outcome("whole", name, computed=True)


def _apart(job: Job) -> Outcome:
    """Compute a cell in a folder of this machine's own and hand it back as bytes. An interrupted cell goes on from there."""
    own = SweepFolder(cache_folder() / "sweeps" / digest([job.out]))
    outcome = _compute(replace(job, out=str(own.root)))
    if outcome.state != "whole" or outcome.cell is None or outcome.cell in job.whole:
        return outcome
    packed = own.pack(outcome.cell)
    shutil.rmtree(own.run.cell(outcome.cell))
    return replace(outcome, packed=packed)


def _finish(job: Job) -> Outcome:
    from .run import compute

    compute(job.experiment, SweepFolder(job.out).experiment(job.key))
    return Outcome("whole", computed=True)


def is_computed(run: RunFolder, cells: frozenset[str]) -> bool:
    """Whether an experiment has its manifest, written last, on these cells (their hashes hold lorascope's version)."""
    if not run.manifest.is_file():
        return False
    changed = run.config.stat().st_mtime > run.manifest.stat().st_mtime
    return not changed and {cell["hash"] for cell in read_json(run.manifest)["cells"]} == cells


class _Opened:
    """An experiment's cells and what they share."""

    def __init__(self, experiment: Experiment) -> None:
        from .sources import open_inputs

        corpus = corpus_of(experiment)
        self.corpus_name = corpus.name
        cells = plan(experiment, corpus)
        self.cells = {cell.key: cell for cell in cells}
        with _alone(experiment):
            self.inputs, self.backbone = open_inputs(experiment, corpus, cells)


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
