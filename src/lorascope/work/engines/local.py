"""The engine for this machine: one process a worker, with so many threads each that they don't fight over the cores."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ...errors import LorascopeError
from ...machine.devices import visible_gpus
from ..unit import Job, Outcome

Work = Callable[[Job], Outcome]

#: What the numerical libraries read when they are first imported.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: More threads than these gain a small encoder little.
MOST_THREADS = 4


class LocalEngine:
    """Runs jobs in `workers` processes of `threads` threads. With GPUs each worker has one, which it shares where there
    are more workers than GPUs.

    By default `per_gpu` workers for each GPU (one, where that isn't given), else as many as the cores allow. `logs` is
    the folder that gets what the workers say, else the terminal does. Raises `LorascopeError` where workers times
    threads exceed the cores, and where workers a GPU are asked for without one.
    """

    def __init__(
        self,
        workers: int | None = None,
        threads: int | None = None,
        logs: Path | None = None,
        per_gpu: int | None = None,
    ) -> None:
        count = cores()
        self.gpus = visible_gpus()
        if per_gpu is not None:
            if workers is not None:
                raise LorascopeError("--workers and --workers-per-gpu say the same in two ways; give one of them")
            if not self.gpus:
                raise LorascopeError("--workers-per-gpu: there is no GPU here; give --workers")
            workers = per_gpu * len(self.gpus)
        asked = int(os.environ.get("OMP_NUM_THREADS") or 0)
        share = max(1, count // workers) if workers else min(count, MOST_THREADS)
        self.threads = threads or (min(share if workers else count, asked) if asked else share)
        self.workers = workers or len(self.gpus) or max(1, count // self.threads)
        self.logs = logs
        self._workers: dict[int, _Worker] = {}
        if threads and self.workers * threads > count:
            raise LorascopeError(
                f"--workers {self.workers} with --threads {threads}: more than this machine's {count} cores; give "
                "fewer of either"
            )

    @property
    def words(self) -> str:
        """The engine in words."""
        workers = "1 process" if self.workers == 1 else f"{self.workers} processes"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{workers} of {threads}{f' on {len(self.gpus)} GPUs' if self.gpus else ''}"

    def outcomes(self, work: Work, jobs: Sequence[Job]) -> Generator[tuple[Job, Outcome | Exception], None, None]:
        """Each job with its outcome as soon as it is there, or with the error of a worker that died: its job alone is
        lost.

        Workers are started when they are needed and kept for the next call, until `close`. Those that are in a job when
        the loop over the outcomes is left are ended at once.
        """
        waiting, idle = deque(jobs), list(range(min(self.workers, len(jobs))))
        busy: dict[Connection, tuple[int, Job]] = {}
        try:
            while waiting or busy:
                while idle and waiting:
                    slot, job = idle.pop(0), waiting.popleft()
                    if slot not in self._workers:
                        self._workers[slot] = self._worker(slot)
                    self._workers[slot].connection.send((work, job))
                    busy[self._workers[slot].connection] = (slot, job)
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    slot, job = busy.pop(connection)
                    try:
                        outcome = connection.recv()
                    except (EOFError, ConnectionResetError):
                        outcome = self._workers.pop(slot).death()
                    idle.append(slot)
                    yield job, outcome
        finally:
            for slot, _ in busy.values():
                self._workers.pop(slot).end()

    def close(self) -> None:
        """End all workers."""
        for slot in list(self._workers):
            self._workers.pop(slot).end()

    def _worker(self, slot: int) -> _Worker:
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        return _Worker(self.threads, gpu, self.logs)


class _Worker:
    """One process that does the jobs it is sent, one after the other."""

    def __init__(self, threads: int, gpu: str | None, logs: Path | None) -> None:
        # spawned, since a forked process inherits the threads' locks and CUDA's state
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, os.getpid(), logs))
        settings: dict[str, str] = {name: str(threads) for name in THREAD_VARIABLES}
        if gpu is not None:
            settings["CUDA_VISIBLE_DEVICES"] = gpu
        with _environment(settings):
            self.process.start()
        theirs.close()

    def death(self) -> Exception:
        """Why the process is gone."""
        self.process.join()
        code = self.process.exitcode or 0
        why = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        hint = ", perhaps for want of memory: give fewer --workers" if code == -signal.SIGKILL else ""
        self.connection.close()
        return LorascopeError(f"its process {self.process.pid} {why}{hint}")

    def end(self) -> None:
        """End the process, in a job or not."""
        self.connection.close()
        self.process.terminate()
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started in the block: they must be there before the first
    import.
    """
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, parent: int, logs: Path | None) -> None:
    """A worker's life: prepare, then do what is sent until nothing more comes."""
    # the parent alone answers Ctrl-C, and ends the workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / f"{os.getpid()}.log").open("a", encoding="utf-8") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
    while True:
        try:
            work, job = connection.recv()
        except EOFError:
            return
        connection.send(work(job))


def _follow(parent: int) -> None:
    """End with the parent, however it ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
