"""Locks: one holder at a time, and a holder that is gone is known to be."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace

import pytest

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


def elsewhere(**changes):
    """A holder in another container, on a host of the same name, whose pid is that of a process here."""
    return replace(me("other"), machine="another boot pid:[1]", **changes)


def test_a_process_that_got_the_pid_of_a_dead_one_holds_nothing(tmp_path):
    lock = tmp_path / "a.lock"
    write(lock, me("other"))
    assert holder(lock).pid == os.getpid()
    write(lock, replace(me("other"), started="1"))
    assert holder(lock) is None


def test_another_host_name_is_no_other_machine(tmp_path):
    """A restarted job may find its host renamed: the boot and the pid namespace tell where its processes were."""
    lock = tmp_path / "a.lock"
    write(lock, replace(me("other"), host="renamed", pid=gone()))
    assert holder(lock) is None
    write(lock, replace(me("other"), host="renamed"))
    assert holder(lock).host == "renamed"


@pytest.mark.parametrize("age", [-1e6, 0, 1e6])
def test_a_holder_elsewhere_is_believed_until_it_was_watched_in_silence(tmp_path, monkeypatch, age):
    """Whatever its clock says."""
    clock = [1000.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(locks, "_watched", {})
    lock, far = tmp_path / "a.lock", elsewhere(pid=gone())
    write(lock, far, age)
    for number in range(40):
        assert holder(lock) == far and not locks.abandoned(lock)
        clock[0] += locks.BEAT / 2
        if number % 20 == 19:
            # a touch, by a clock of its own
            os.utime(lock, (number, number))
    # a long sleep of this machine is no silence of the other
    clock[0] += 10 * locks.STALE
    assert holder(lock) == far
    for _ in range(int(2 * locks.STALE / locks.BEAT) + 1):
        clock[0] += locks.BEAT / 2
        holder(lock)
    assert holder(lock) is None
    sign = locks.abandoned(lock)
    monkeypatch.setattr(locks, "_watched", {})
    with held(lock, "mine") as other:
        assert other == far
    with held(lock, "mine", gone=sign) as other:
        assert other is None and holder(lock).owner == "mine"


def test_a_lock_that_was_touched_since_is_not_taken_over(tmp_path):
    lock, far = tmp_path / "a.lock", elsewhere()
    write(lock, far)
    sign = locks._read(lock).sign
    os.utime(lock, (7, 7))
    with held(lock, "mine", gone=sign) as other:
        assert other == far


def test_a_lock_of_an_earlier_version_is_watched_like_one_elsewhere(tmp_path):
    lock, told = tmp_path / "a.lock", asdict(me("other"))
    lock.write_text(json.dumps({key: told[key] for key in ("owner", "host", "pid", "since")}))
    assert holder(lock).host == socket.gethostname()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": "x"}', "\0" * 80, '{"owner": "\xff'])
def test_a_torn_lock_is_nobody_s(tmp_path, text):
    lock = tmp_path / "a.lock"
    lock.write_text(text, encoding="latin-1")
    assert holder(lock) is None
    with held(lock, "mine") as other:
        assert other is None and holder(lock).owner == "mine"
        assert not locks.remove_torn(lock)
    lock.write_text(text, encoding="latin-1")
    assert locks.remove_torn(lock) and not locks.remove_torn(lock) and not list(tmp_path.iterdir())


def test_a_lock_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "POLL", 0.01)
    lock, order, said = tmp_path / "a.lock", [], []

    def wait():
        with locks.awaited(lock, "two", said.append):
            order.append("two")

    with held(lock, "one"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        until = time.monotonic() + 10
        while not said and time.monotonic() < until:
            time.sleep(0.01)
        order.append("one")
    waiting.join()
    assert order == ["one", "two"] and len(said) == 1 and f"process {os.getpid()}" in said[0]


def test_a_file_system_without_hard_links_has_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    lock = tmp_path / "a.lock"
    with held(lock, "one") as other, held(lock, "two") as second:
        assert other is None and second.owner == "one"
    assert not list(tmp_path.iterdir())


def test_what_killed_processes_left_beside_a_lock_is_removed(tmp_path):
    (tmp_path / ".a.lock.own-1").write_text("{}")
    with held(tmp_path / "a.lock", "one"):
        assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


def test_who_lost_a_lock_does_not_touch_it(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.01)
    lock = tmp_path / "a.lock"
    with held(lock, "mine"):
        write(lock, elsewhere())
        os.utime(lock, (0, 0))
        time.sleep(0.1)
        assert lock.stat().st_mtime == 0
    assert holder(lock).owner == "other"


@pytest.mark.skipif(not hasattr(os, "fork") or shutil.which("unshare") is None, reason="no namespaces")
def test_pids_of_another_namespace_are_not_taken_for_those_of_here(tmp_path):
    """A restarted container begins with pid 1 again, and its /proc may be another's."""
    code = (
        "import sys; from pathlib import Path; from lorascope.store.locks import held, holder, me\n"
        "with held(Path(sys.argv[1]), 'inside') as other: print(other.owner, me('x').machine, me('x').started)"
    )
    lock = tmp_path / "a.lock"
    write(lock, me("outside"))
    for more in ([], ["--mount-proc"]):
        command = ["unshare", "--pid", "--fork", *more, sys.executable, "-c", code, str(lock)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode and "unshare" in done.stderr:
            pytest.skip("namespaces are not allowed here")
        told = done.stdout.split(" ")
        assert told[0] == "outside" and locks._machine() not in done.stdout, done.stderr
        assert (len(told) == 4) == bool(more)


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
