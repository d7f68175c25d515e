"""What there is to compute on: every question for an accelerator is asked here.

torch names an accelerator wherever it was built for one. The build that a package index gives on Linux names CUDA, also
on a laptop or a login node without a GPU; so each function here asks whether one is there. torch is imported when it is
asked, so that a command which computes nothing starts without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def accelerator() -> str | None:
    """Type of the accelerator that is here (`cuda`, `xpu`, `mps`, ...); None where there is only a processor."""
    import torch

    # `current_accelerator` names what torch was built for, and raises in some versions where that is nothing
    if not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    return None if found is None else found.type


def has_gpus() -> bool:
    """Whether several processes could train on GPUs here: not without one, and not on Apple's."""
    return accelerator() not in (None, "mps")


def has_cuda() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


def device() -> str:
    """Where models run: a CUDA device where there is one, else the CPU."""
    return "cuda" if has_cuda() else "cpu"


def device_name() -> str:
    """The maker's name of the CUDA device, or `cpu`."""
    import torch

    return torch.cuda.get_device_name() if has_cuda() else "cpu"


@contextmanager
def whole_float32() -> Iterator[None]:
    """Until the block ends, convolutions in float32 keep all their digits on a GPU, as its matrix products do.

    By default torch lets them round their factors to 10 bits (TF32), which shows in an encoder's third digit or fourth.
    """
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def visible_gpus() -> tuple[str, ...]:
    """The CUDA devices of this process, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count] if named else map(str, range(count)))
