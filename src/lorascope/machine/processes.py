"""Several processes of one run, as `accelerate launch` or `torchrun` starts them: the first one acts, the
others wait for what it tells.

All of them train a cell together; everything else is done once, by the first. Without a launcher each
function here is a plain call.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from ..errors import LorascopeError
from .devices import has_gpus

Result = TypeVar("Result")

#: How long processes wait for each other: an analysis by the first one may take hours.
PATIENCE = timedelta(days=14)

# the processes talk over a group of their own, on CPUs: a GPU that waits for hours in NCCL computes all the while
_group: Any = None


def join() -> None:
    """Meet the other processes of the launcher, if one started this process; to be called by all of them, and
    before anything else here.
    """
    global _group
    if _group is None and _launched():
        from accelerate import PartialState

        if not has_gpus():
            # else accelerate, and Trainer after it, would take each of these processes to be alone
            os.environ["ACCELERATE_USE_CPU"] = "true"
        PartialState(timeout=PATIENCE)
        _group = dist.new_group(backend="gloo", timeout=PATIENCE)
        atexit.register(_leave)


def _leave() -> None:
    # threads that still wait for the other processes when Python is torn down abort a process that did all its work
    global _group
    _group = None
    if dist.is_initialized():
        dist.destroy_process_group()


def refuse_several(verb: str) -> None:
    """Raises `LorascopeError` where a launcher started several processes of something that only one can do."""
    if _launched():
        raise LorascopeError(f"{verb} is for one process; start it without a launcher")


def _launched() -> bool:
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def count() -> int:
    """How many processes share the run."""
    return 1 if _group is None else dist.get_world_size()


def number() -> int:
    """This process's number, from 0."""
    return 0 if _group is None else dist.get_rank()


def on_first(function: Callable[[], Result]) -> Result:
    """Call a function in the first process alone, once all have come here, and give its result to all.

    Where it raises, every process stops: the first one with that error, the others with a
    `LorascopeError` that repeats it.
    """
    if _group is None:
        return function()
    dist.barrier(group=_group)
    told: list[Any] = [None, None]
    if number() == 0:
        try:
            told[0] = function()
        except BaseException as error:
            dist.broadcast_object_list([None, f"{error or type(error).__name__}"], src=0, group=_group)
            raise
    dist.broadcast_object_list(told, src=0, group=_group)
    if told[1] is not None:
        raise LorascopeError(told[1])
    return told[0]


def first_before_others(function: Callable[[], Result]) -> Result:
    """Call a function in every process, in the first one before the others, which then find
    what it left in the cache.
    """
    kept: list[Result] = []
    on_first(lambda: kept.append(function()))
    return kept[0] if kept else function()
