"""How many operators a pass of the analyses starts over the bare passes of the same models, by measure, and whether it
ever waits for the device.

    python benchmarks/launches.py [--backbone random-base] [--clips 8] [--context trim]

On a GPU passes of all but the largest encoders are bound by what the host starts, so the count tells what a clock on a
machine without one can't; it hardly depends on the clips' length. Operators are those that torch's dispatcher runs,
forward and backward; views, which start nothing on a device, are left out. The pass waits where an operator asks a
tensor for a number, or copies it to the host.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from analysed import FIVE, Analysed
from measure import arguments, goal
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
#: Operators that make the host wait for a GPU.
ASKING = (aten._local_scalar_dense, aten.equal, aten.nonzero, aten.is_nonzero, aten.masked_select)
#: Operators that start nothing on a device.
NOTHING = (aten.detach, aten._unsafe_view, aten.empty)


class Count(TorchDispatchMode):
    """Counts operators, and those that wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        operator = function.overloadpacket
        if not function.is_view and operator not in NOTHING:
            self.operators[str(operator)] += 1
        if operator in ASKING or _leaves_the_device(operator, args, result):
            self.waiting[str(operator)] += 1
        return result

    @property
    def total(self) -> int:
        """Operators in all."""
        return sum(self.operators.values())


def _leaves_the_device(operator: Any, args: Any, result: Any) -> bool:
    if operator not in (aten._to_copy, aten.copy_):
        return False
    source = args[1] if operator is aten.copy_ else args[0]
    return source.is_cuda and not result.is_cuda


def counted(function: Callable[[], Any]) -> Count:
    """What a call starts."""
    with Count() as count:
        function()
    return count


def main(argv: Sequence[str] | None = None) -> None:
    """Count for each measure alone, and for all five."""
    found = arguments(__doc__ or "", argv, clips=8, draws=50, memory_mib=512)
    if not found.backbone and not found.quick:
        found.backbone = "random-base"
    of = Analysed.of(found, found.context)
    bare = counted(of.bare).total
    batches = len(list(of.batches))
    print(f"bare: {bare} operators in {batches} batches")
    for names in (*((name,) for name in FIVE), FIVE):
        count = counted(lambda names=names: of.traced(names))
        most = ", ".join(f"{name.removeprefix('aten.')} {times}" for name, times in count.operators.most_common(6))
        print(f"{'all five' if names is FIVE else names[0]}: {count.total} ({count.total / bare:.2f}); {most}")
    note = f"{found.context}, {batches} batches"
    goal("operators of the pass over the bare passes'", count.total / bare, at_most=2.5, note=note)
    waits = ", ".join(f"{name} {times}" for name, times in count.waiting.items())
    goal("places where the pass waits for the device", sum(count.waiting.values()), at_most=0, unit="", note=waits)


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")
