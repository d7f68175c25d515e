"""Locks: one holder at a time, and a holder that is gone is known to be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

from lorascope.store import locks
from lorascope.store.locks import held, holder, me


def write(lock, other, age=0.0):
    lock.write_text(json.dumps(asdict(other)))
    os.utime(lock, (time.time() - age,) * 2)


def gone():
    """The id of a process that was."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_lock_is_held_for_the_block_and_by_one(tmp_path):
    lock = tmp_path / "a.lock"
    with held(lock, "one") as other:
        assert other is None and holder(lock).owner == "one"
        with held(lock, "two") as second:
            assert second == holder(lock) and second.pid == os.getpid()
        assert holder(lock).owner == "one"
    assert holder(lock) is None and not list(tmp_path.iterdir())


def test_of_many_at_once_one_holds_it(tmp_path):
    holds, start = [], threading.Barrier(8)

    def take(number):
        start.wait()
        with held(tmp_path / "a.lock", f"owner {number}") as other:
            holds.append(other is None)
            time.sleep(0.05)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert holds.count(True) == 1


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path):
    lock = tmp_path / "a.lock"
    write(lock, replace(me("other"), pid=gone()))
    assert holder(lock) is None
    with held(lock, "mine") as other:
        assert other is None and holder(lock).owner == "mine"


def test_another_machine_is_believed_while_it_touches_the_lock(tmp_path):
    lock, far = tmp_path / "a.lock", replace(me("other"), host=f"not-{socket.gethostname()}", pid=gone())
    write(lock, far, age=locks.STALE / 2)
    assert holder(lock) == far
    with held(lock, "mine") as other:
        assert other == far
    assert holder(lock) == far
    write(lock, far, age=locks.STALE * 2)
    assert holder(lock) is None
    with held(lock, "mine") as other:
        assert other is None


def test_a_second_try_of_the_same_job_takes_over(tmp_path):
    """An engine that lost a node tries again long before the lock of that node is stale."""
    lock, far = tmp_path / "a.lock", replace(me("job"), host=f"not-{socket.gethostname()}")
    write(lock, far)
    with held(lock, "job") as other:
        assert other is None and holder(lock).host == socket.gethostname()


def test_a_lock_that_is_held_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    lock = tmp_path / "a.lock"
    with held(lock, "mine"):
        os.utime(lock, (0, 0))
        deadline = time.monotonic() + 10
        while lock.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock.stat().st_mtime > 0


def test_a_lock_that_was_taken_over_meanwhile_is_not_put_aside(tmp_path):
    lock = tmp_path / "a.lock"
    write(lock, me("fresh"))
    locks._put_aside(lock, "what was read before")
    assert holder(lock).owner == "fresh" and len(list(tmp_path.iterdir())) == 1
