"""Who computes a cell: a lock is a small file that its holder keeps touching, so that one whose holder is gone is told from one that is held."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

#: Seconds between two touches of a lock, and after how many without one it is stale on another machine.
BEAT = 30.0
STALE = 600.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: `owner` is the job, the same when its engine tries it again; `since` is ISO 8601."""

    owner: str
    host: str
    pid: int
    since: str


def me(owner: str) -> Holder:
    """This process as a holder."""
    return Holder(owner, socket.gethostname(), os.getpid(), now())


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def holder(lock: Path) -> Holder | None:
    """Who holds a lock; None where nobody does: its process is gone from this machine, or it was not touched for ten minutes."""
    found = _read(lock)
    return found[1] if found is not None and not _is_stale(lock, found[1]) else None


@contextlib.contextmanager
def held(lock: Path, owner: str) -> Iterator[Holder | None]:
    """Hold a lock for the block: gives None, or where another holds it that holder, and then the lock isn't held.

    A stale lock is taken over, and so is one of the same owner: an engine that tries a job again knows the first try to be dead.
    """
    mine = me(owner)
    other = _take(lock, mine)
    if other is not None:
        yield other
        return
    stop = threading.Event()
    beat = threading.Thread(target=_touch, args=(lock, stop), daemon=True)
    beat.start()
    try:
        yield None
    finally:
        stop.set()
        beat.join()
        found = _read(lock)
        if found is not None and found[1] == mine:
            lock.unlink(missing_ok=True)


def _take(lock: Path, mine: Holder) -> Holder | None:
    lock.parent.mkdir(parents=True, exist_ok=True)
    own = lock.with_name(f".{lock.name}.{uuid.uuid4().hex}")
    own.write_text(json.dumps(asdict(mine)), encoding="utf-8")
    try:
        while True:
            try:
                # a link, unlike a new file, is whole from its first moment
                os.link(own, lock)
                return None
            except FileExistsError:
                pass
            found = _read(lock)
            if found is None:
                continue
            text, other = found
            if other.owner != mine.owner and not _is_stale(lock, other):
                return other
            _put_aside(lock, text)
    finally:
        own.unlink()


def _put_aside(lock: Path, stale: str) -> None:
    """Remove a stale lock, unless another took it over since it was read."""
    aside = lock.with_name(f".{lock.name}.{uuid.uuid4().hex}")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    if aside.read_text(encoding="utf-8") != stale:
        with contextlib.suppress(FileExistsError):
            os.link(aside, lock)
    aside.unlink()


def _read(lock: Path) -> tuple[str, Holder] | None:
    try:
        text = lock.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return text, Holder(**json.loads(text))


def _is_stale(lock: Path, other: Holder) -> bool:
    try:
        silent = time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return True
    return silent > STALE or (other.host == socket.gethostname() and not _is_alive(other.pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # a zombie, which in a container may never be reaped
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def _touch(lock: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with contextlib.suppress(FileNotFoundError):
            os.utime(lock)
