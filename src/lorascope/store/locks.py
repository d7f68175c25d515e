"""Who computes something: a lock is a small file that names its holder, who keeps touching it.

A holder on this machine is asked for as a process: boot, pid namespace, pid and the process' start are those in the
lock, or it is gone. Of one elsewhere (another host, another container) only the touches are seen: it is gone when this
process has watched the file for a while without a change. Clocks of two machines are never compared.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

from .files import make_folder

#: Seconds between two touches of a lock, and for how many it must be watched unchanged until a holder elsewhere is
#: gone: more than the minute for which NFS shows old attributes.
BEAT = 10.0
STALE = 120.0
#: Seconds between two looks at a lock that is waited for.
POLL = 1.0

# what file systems answer that have no hard links
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

# locks of holders elsewhere that this process has looked at: as they were then, when it looked last, and for how long
# they have been so
_watched: dict[Path, tuple[str, float, float]] = {}


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: `owner` is the job, the same when its engine tries it again; `since` is ISO 8601. `machine`
    names what pids are counted in (a boot and a pid namespace), `started` tells the process from an earlier one of its
    pid; both are empty where they cannot be known.
    """

    owner: str
    host: str
    pid: int
    since: str
    machine: str = ""
    started: str = ""


class _Found(NamedTuple):
    """A lock as it was read: its text, its text with the time of its last touch, and its holder, None of a torn one."""

    text: str
    sign: str
    holder: Holder | None


def me(owner: str) -> Holder:
    """This process as a holder."""
    machine = _machine()
    return Holder(owner, socket.gethostname(), os.getpid(), now(), machine, _stat(os.getpid())[1] if machine else "")


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def holder(lock: Path) -> Holder | None:
    """Who holds a lock, as far as this process can tell; None where nobody does: it is not there or torn, its process
    is gone from this machine, or it was watched from here and did not change (`holder` must then be asked again and
    again).
    """
    found = _read(lock)
    return None if found is None or _is_gone(lock, found) else found.holder


def abandoned(lock: Path) -> str:
    """What `held` in another process is told to take over as `gone`: the lock as this process watched it for long
    enough without a change; empty where it did not.
    """
    found = _read(lock)
    return found.sign if found is not None and found.holder is not None and _is_gone(lock, found) else ""


def remove_torn(lock: Path) -> bool:
    """Remove a lock that names nobody, as one may be after a crash of the machine: empty or cut off; False for
    others.
    """
    found = _read(lock)
    if found is None or found.holder is not None:
        return False
    _put_aside(lock, found.text)
    return True


@contextlib.contextmanager
def held(lock: Path, owner: str, gone: str = "") -> Iterator[Holder | None]:
    """Hold a lock for the block: gives None, or where another holds it that holder, and then the lock isn't held.

    A lock whose holder is gone is taken over (`gone`: one that another process has watched, see `abandoned`), and so is
    one of the same owner: an engine that tries a job again knows the first try to be dead.
    """
    mine = me(owner)
    text = json.dumps(asdict(mine))
    other = _take(lock, mine, text, gone)
    if other is not None:
        yield other
        return
    stop = threading.Event()
    beat = threading.Thread(target=_touch, args=(lock, text, stop), daemon=True)
    beat.start()
    try:
        yield None
    finally:
        stop.set()
        beat.join()
        found = _read(lock)
        if found is not None and found.text == text:
            lock.unlink(missing_ok=True)


@contextlib.contextmanager
def awaited(lock: Path, owner: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock for the block, and wait until that can be; whom for is told once."""
    told = False
    while True:
        with held(lock, owner) as other:
            if other is None:
                yield
                return
        if not told:
            say(f"{lock.parent}: {in_words(other)} works here; waiting for it")
            told = True
        time.sleep(POLL)


def in_words(other: Holder) -> str:
    """A holder, for people."""
    return f"{other.host} (process {other.pid}, since {other.since})"


def _take(lock: Path, mine: Holder, text: str, gone: str) -> Holder | None:
    make_folder(lock.parent)
    own = lock.with_name(f".{lock.name}.own-{uuid.uuid4().hex}")
    try:
        while True:
            own.write_text(text, encoding="utf-8")
            try:
                _put(own, lock)
            except FileExistsError:
                pass
            except FileNotFoundError:
                continue
            else:
                for left in lock.parent.glob(f".{lock.name}.own-*"):
                    left.unlink(missing_ok=True)
                return None
            found = _read(lock)
            if found is None:
                continue
            other = found.holder
            if other is not None and other.owner != mine.owner and found.sign != gone and not _is_gone(lock, found):
                return other
            _put_aside(lock, found.text)
    finally:
        own.unlink(missing_ok=True)


def _put(own: Path, lock: Path) -> None:
    """Let a file of one's own be the lock. Raises `FileExistsError` where there is one."""
    try:
        # a link, unlike a new file, is whole from its first moment
        os.link(own, lock)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with lock.open("x", encoding="utf-8") as file:
            file.write(own.read_text(encoding="utf-8"))


def _put_aside(lock: Path, stale: str) -> None:
    """Remove a stale lock, unless another took it over since it was read."""
    aside = lock.with_name(f".{lock.name}.aside-{uuid.uuid4().hex}")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    if aside.read_bytes().decode("utf-8", "replace") != stale:
        with contextlib.suppress(FileExistsError):
            os.link(aside, lock)
    aside.unlink()


def _read(lock: Path) -> _Found | None:
    try:
        with lock.open("rb") as file:
            text = file.read().decode("utf-8", "replace")
            # of the open file: opening it makes NFS ask for its times anew
            touched = os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        told = json.loads(text)
        named = Holder(**{field.name: told[field.name] for field in fields(Holder) if field.name in told})
    except (ValueError, TypeError):
        named = None
    return _Found(text, f"{touched} {text}", named)


def _is_gone(lock: Path, found: _Found) -> bool:
    other = found.holder
    if other is None:
        return True
    if other.machine and other.machine == _machine():
        return not _is_alive(other)
    return _silence(lock, found.sign) > STALE


def _silence(lock: Path, sign: str) -> float:
    """For how many seconds this process has watched a lock without a change.

    A pause between two looks counts as one beat at most: where both machines slept, the holder gets its time to wake
    up.
    """
    before, last, silent = _watched.get(lock, ("", 0.0, 0.0))
    here = time.monotonic()
    silent = silent + min(here - last, BEAT) if before == sign else 0.0
    _watched[lock] = (sign, here, silent)
    return silent


def _machine() -> str:
    """What pids are counted in: on Linux a boot and a pid namespace, elsewhere the host; empty where /proc is another
    namespace's, or there is no asking for a pid.
    """
    if not sys.platform.startswith("linux"):
        return socket.gethostname() if os.name == "posix" else ""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):  # noqa: PTH115
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return ""


def _is_alive(other: Holder) -> bool:
    try:
        os.kill(other.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    state, started = _stat(other.pid)
    # a zombie may in a container never be reaped; a pid may be another process' by now
    return state != "Z" and (not started or not other.started or started == other.started)


def _stat(pid: int) -> tuple[str, str]:
    """A process' state and start (clock ticks since the boot) as /proc tells them; empty where it doesn't."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return told[0], told[19]
    except (OSError, IndexError):
        return "", ""


def _touch(lock: Path, text: str, stop: threading.Event) -> None:
    """Touch a lock as long as it is one's own: who slept for too long may have lost it."""
    while not stop.wait(BEAT):
        found = _read(lock)
        if found is not None and found.text == text:
            with contextlib.suppress(OSError):
                os.utime(lock)
