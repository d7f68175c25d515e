"""Runs a function in a process of its own that is killed at a chosen point, as by `kill -9` or a lost machine."""

from __future__ import annotations

import functools
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_until_killed(
    function: Callable[[], Any],
    prepare: Callable[[pytest.MonkeyPatch], Any],
    seen: Path | None = None,
    pattern: str = "",
) -> None:
    """Fork, let `prepare` patch a point to `die` at, run, and assert that SIGKILL ended it; with `seen` it is
    killed from outside when a file of that pattern is there.
    """
    child = os.fork()
    if child == 0:
        try:
            # a child that does not die where it should must not wait for ever
            signal.alarm(120)
            prepare(pytest.MonkeyPatch())
            function()
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    status = 0
    if seen is not None:
        ended = 0
        while not ended and not list(seen.glob(pattern)):
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        assert not ended, "the run ended before there was anything to kill it at"
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, f"not killed, status {status}"


def dying(function: Any, when: Callable[..., bool]) -> Any:
    """The function, which kills its process at the first call whose arguments are such."""

    @functools.wraps(function)
    def instead(*args: Any, **settings: Any) -> Any:
        if when(*args, **settings):
            die()
        return function(*args, **settings)

    return instead
