"""Processes with mounts, pids and a host name of their own, as a container has them; all of it ends with the process.

Linux alone, for root or where users may make namespaces; `possible` says whether.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import socket
import subprocess
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

_NEW_MOUNTS, _NEW_HOST, _NEW_USERS, _NEW_PIDS = 0x00020000, 0x04000000, 0x10000000, 0x20000000


class Isolated:
    """A function in a forked process with mounts of its own; with `pids` what it starts first has pid 1 and counts from
    there, with `host` its host has that name.
    """

    def __init__(self, function: Callable[[], Any], pids: bool = False, host: str | None = None) -> None:
        self._read, write = os.pipe()
        self._child = os.fork()
        if self._child:
            os.close(write)
            return
        try:
            _leave(pids, host is not None)
            if host:
                socket.sethostname(host)
            told = pickle.dumps((True, function()))
        except BaseException:
            told = pickle.dumps((False, traceback.format_exc()))
        with os.fdopen(write, "wb") as pipe:
            pipe.write(told)
        os._exit(0)

    def result(self) -> Any:
        """What the function returned, once it did. Raises `RuntimeError` with the traceback of its error."""
        with os.fdopen(self._read, "rb") as pipe:
            told = pipe.read()
        os.waitpid(self._child, 0)
        went, result = pickle.loads(told) if told else (False, "it was killed")
        if not went:
            raise RuntimeError(result)
        return result


def mount(kind: str, place: Path, options: str = "", what: str = "none") -> None:
    """Mount something, in an `Isolated` function."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", *(["-t", kind] if kind else []), *(["-o", options] if options else []), what, str(place)]
    subprocess.run(command, check=True, capture_output=True)


@cache
def possible(loops: bool = False) -> bool:
    """Whether there are namespaces here; with `loops` also whether an image may be mounted."""
    if loops and os.geteuid():
        return False
    try:
        Isolated(lambda: mount("tmpfs", Path("/mnt"), "size=1m"), pids=True, host="probe").result()
    except (RuntimeError, AttributeError, OSError):
        return False
    return True


def _leave(pids: bool, host: bool) -> None:
    user, group = os.geteuid(), os.getegid()
    _unshare(_NEW_MOUNTS | (_NEW_USERS if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    # else mounts would be seen outside
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
    # last, since the first process after it is the one whose end ends all others
    _unshare((_NEW_PIDS if pids else 0) | (_NEW_HOST if host else 0))


def _unshare(namespaces: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(namespaces):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
