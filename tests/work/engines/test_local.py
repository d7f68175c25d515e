"""The engine for one machine, with real processes: a worker that dies takes its own job with it and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.work.engines import local
from lorascope.work.engines.local import THREAD_VARIABLES, LocalEngine, cores
from lorascope.work.unit import Job, Outcome

EXPERIMENT = experiment_from({"name": "x", "corpus": {"reader": "csv"}, "backbone": {"name": "x"}, "analysis": None})


def job(key):
    return Job("cell", EXPERIMENT, key, key, "", "", "")


def act(job):
    """What a worker is sent here: say who and how it is, or die."""
    if job.key == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.key == "waits":
        time.sleep(600)
    threads = {os.environ.get(name) for name in THREAD_VARIABLES}
    return Outcome("whole", pid=os.getpid(), error=",".join(sorted(map(str, threads))))


def test_a_dead_worker_loses_its_job_alone():
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    engine = LocalEngine(workers=1)
    engine.threads = 3
    try:
        found = [
            (job.key, outcome) for job, outcome in engine.outcomes(act, [job("a"), job("dies"), job("b"), job("c")])
        ]
        assert [key for key, _ in found] == ["a", "dies", "b", "c"]
        a, died, b, c = (outcome for _, outcome in found)
        assert isinstance(died, LorascopeError) and f"process {a.pid} was killed by signal 9" in str(died)
        assert a.pid != b.pid == c.pid and os.getpid() not in (a.pid, b.pid)
        assert {a.error, b.error, c.error} == {"3"}
        assert {name: os.environ.get(name) for name in THREAD_VARIABLES} == before
        # the worker is kept for the next jobs
        assert [outcome.pid for _, outcome in engine.outcomes(act, [job("d")])] == [c.pid]
        # one that works when the loop is left is ended, an idle one is kept
        engine.workers = 2
        outcomes = engine.outcomes(act, [job("e"), job("waits")])
        next(outcomes)
        working = psutil.Process(engine._workers[1].process.pid)
        with pytest.raises(KeyboardInterrupt):
            outcomes.throw(KeyboardInterrupt)
        assert not working.is_running() and psutil.pid_exists(c.pid)
        engine.close()
        assert not psutil.pid_exists(c.pid)
    finally:
        engine.close()


def test_workers_times_threads_fit_the_cores(monkeypatch):
    monkeypatch.setattr(local, "cores", lambda: 12)
    monkeypatch.setattr(local, "visible_gpus", lambda: ())
    monkeypatch.delenv("OMP_NUM_THREADS")
    for given, expected in {
        (None, None): (3, 4),
        (5, None): (5, 2),
        (None, 6): (2, 6),
        (20, None): (20, 1),
        (3, 4): (3, 4),
    }.items():
        engine = LocalEngine(*given)
        assert (engine.workers, engine.threads) == expected, given
    with pytest.raises(LorascopeError, match=r"--workers 4 with --threads 4: more than this machine's 12 cores"):
        LocalEngine(4, 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert (LocalEngine().workers, LocalEngine().threads) == (6, 2)
    assert cores() >= 1


def test_with_gpus_there_is_a_worker_for_each(monkeypatch):
    started = []
    monkeypatch.setattr(local, "cores", lambda: 12)
    monkeypatch.setattr(local, "visible_gpus", lambda: ("2", "5"))
    monkeypatch.setattr(local, "_Worker", lambda threads, gpu, logs: started.append(gpu))
    engine = LocalEngine()
    assert engine.workers == 2 and engine.words.endswith("on 2 GPUs")
    for slot in range(3):
        engine._worker(slot)
    assert started == ["2", "5", "2"]


def test_a_worker_ends_with_its_parent():
    """Else a sweep that was killed would go on behind the back of the one that continues it."""
    code = (
        "from tests.work.engines.test_local import LocalEngine, act, job, local\n"
        "local.visible_gpus = lambda: ()\n"
        "if __name__ == '__main__':\n"
        "    engine = LocalEngine(workers=1)\n"
        "    for _, outcome in engine.outcomes(act, [job('a'), job('waits')]):\n"
        "        print(outcome.pid, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    try:
        worker.wait(timeout=60)
    except psutil.TimeoutExpired:
        worker.kill()
        raise


def test_several_workers_share_a_gpu(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with pytest.raises(LorascopeError, match="no GPU here"):
        LocalEngine(per_gpu=3)
    monkeypatch.setattr(local, "visible_gpus", lambda: ("0", "5"))
    monkeypatch.setattr(local, "cores", lambda: 12)
    given = []
    monkeypatch.setattr(local, "_Worker", lambda threads, gpu, logs: given.append((threads, gpu)))
    engine = LocalEngine(per_gpu=3)
    assert (engine.workers, engine.threads) == (6, 2)
    for slot in range(engine.workers):
        engine._worker(slot)
    assert given == [(2, "0"), (2, "5")] * 3
    with pytest.raises(LorascopeError, match="give one of them"):
        LocalEngine(workers=2, per_gpu=3)


@pytest.mark.parametrize(
    ("workers", "asked", "threads"), [(1, "1", 1), (2, "1", 1), (1, "2", 2), (1, "9", 4), (1, None, 4)]
)
def test_a_number_of_workers_leaves_the_threads_that_were_asked_for(monkeypatch, workers, asked, threads):
    monkeypatch.setattr("lorascope.work.engines.local.cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    engine = LocalEngine(workers)
    assert (engine.workers, engine.threads) == (workers, threads)
    assert engine.words.startswith("1 process of " if workers == 1 else "2 processes of ")
