"""The common frame of the benchmarks: alternatives timed in turn, peak memory, goals that are printed and kept.

A program builds its arguments with `arguments`, prints `machine()` first, and tells each goal with `goal`. Nothing here
is asserted: a missed goal is printed, not raised.

    python benchmarks/measure.py FILE

prints the table of all goals that programs appended to FILE (`--json FILE`, or LORASCOPE_BENCH_JSON for all of them).
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import gc
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lorascope.machine.environment import hardware

KEEP = "LORASCOPE_BENCH_JSON"


@dataclass(frozen=True)
class Timing:
    """Seconds of every round, wall clock and CPU (all threads of this process)."""

    walls: tuple[float, ...]
    cpus: tuple[float, ...]

    @property
    def wall(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.walls)

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.cpus)

    @property
    def best(self) -> float:
        """Seconds of the fastest round: CPU seconds where one thread of a CPU does all, since no other load touches
        them, else wall seconds.
        """
        alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
        return min(self.cpus if alone else self.walls)

    @property
    def spread(self) -> float:
        """Slowest round less fastest, as a part of the median, of the wall clock."""
        return (max(self.walls) - min(self.walls)) / self.wall

    def over(self, other: Timing) -> tuple[float, float]:
        """How many times the other's seconds this takes: wall, CPU (medians)."""
        return self.wall / other.wall, self.cpu / other.cpu

    def __str__(self) -> str:
        return f"{self.wall:.4g} s wall (spread {self.spread:.0%}), {self.cpu:.4g} s CPU"


def settle() -> None:
    """Wait for the accelerator, if there is one, so that the clock sees its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    settle()
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    settle()
    return time.perf_counter() - wall, time.process_time() - cpu


def in_turn(alternatives: Mapping[str, Callable[[], Any]], rounds: int = 3, warm: bool = True) -> dict[str, Timing]:
    """Run the alternatives alternately, `rounds` times each (once before, unmeasured, if `warm`), so that a slow
    minute of the machine meets all of them.
    """
    for function in alternatives.values() if warm else ():
        function()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in alternatives}
    for number in range(rounds):
        # the other way round every second time, so that none always runs after the same
        for name in list(alternatives)[:: 1 if number % 2 == 0 else -1]:
            gc.collect()
            found[name].append(timed(alternatives[name]))
    return {name: Timing(*zip(*pairs, strict=True)) for name, pairs in found.items()}


def peak_memory(function: Callable[[], Any]) -> float:
    """Bytes that a call takes at its peak beyond what is held before it: the accelerator's if there is one, else
    resident memory (NaN where the system doesn't tell, Linux does).
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return float(torch.cuda.max_memory_allocated() - before)
    try:
        # freed memory that the allocator still holds would hide what the call takes
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        function()
        return math.nan
    before = resident("VmRSS")
    function()
    return resident("VmHWM") - before


def resident(field: str = "VmHWM") -> float:
    """Resident memory of this process in bytes: `VmRSS` now, `VmHWM` at its peak since the start
    or the last `peak_memory`.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def arguments(description: str, argv: Sequence[str] | None = None, **defaults: Any) -> argparse.Namespace:
    """The arguments that all programs share; `defaults` change them or, for names that are not
    shared, add to them (`--name`).
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--corpus", help="reader of the corpus; by default emodb where it is found, else synthetic")
    parser.add_argument("--backbone", help="any that lorascope loads, or random-SHAPE (see material.py)")
    parser.add_argument("--clips", type=int, help="use so many clips (all of the corpus by default)")
    parser.add_argument("--context", choices=("trim", "full"), default="trim")
    parser.add_argument("--threads", type=int, help="CPU threads (as torch finds them by default)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each alternative is run, in turn")
    parser.add_argument("--quick", action="store_true", help="noise and a miniature random model: shows that it runs")
    parser.add_argument("--json", type=Path, help="append each goal to this file")
    known = {action.dest for action in parser._actions}
    for name, default in defaults.items():
        if name not in known:
            flag = f"--{name.replace('_', '-')}"
            if isinstance(default, bool):
                parser.add_argument(flag, action="store_true")
            else:
                parser.add_argument(flag, type=str if default is None else type(default))
    parser.set_defaults(**defaults)
    parsed = parser.parse_args(argv)
    if parsed.json:
        os.environ[KEEP] = str(parsed.json.absolute())
    if parsed.threads:
        torch.set_num_threads(parsed.threads)
    print(machine(), flush=True)
    return parsed


def has_bf16() -> bool:
    """Whether the device has bf16 arithmetic, rather than converting."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    told = torch.cpu.get_capabilities()
    return any(told.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def machine() -> str:
    """Processor and its vector instructions, cores, memory, accelerator, threads, torch, date: one line."""
    found = hardware()
    where = "no GPU" if found["device"] == "cpu" else found["device"]
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    vectors = torch.backends.cpu.get_cpu_capability() + ", bf16" * (found["device"] == "cpu" and has_bf16())
    return (
        f"{found['cpu']} ({vectors}), {found['cores']} cores, {found['memory_gib']} GiB, {where}; {threads}, torch "
        f"{torch.__version__}, {datetime.date.today()}"
    )


def goal(
    name: str,
    reached: float,
    at_least: float | None = None,
    at_most: float | None = None,
    unit: str = "x",
    note: str = "",
) -> bool:
    """Print one goal, what was reached and whether it is met, and append it to the file; returns whether it is met."""
    met = (at_least is None or reached >= at_least) and (at_most is None or reached <= at_most)
    wanted = f">= {at_least:g}{unit}" if at_least is not None else f"<= {at_most:g}{unit}"
    line = {"goal": name, "wanted": wanted, "reached": f"{reached:.3g}{unit}", "met": bool(met), "note": note}
    print(f"goal {name}: {wanted}, reached {line['reached']}: {'met' if met else 'MISSED'}{note and f' ({note})'}")
    if file := os.environ.get(KEEP):
        line |= {"program": Path(sys.argv[0]).stem, "machine": machine(), "value": reached}
        with Path(file).open("a", encoding="utf-8") as kept:
            kept.write(json.dumps(line) + "\n")
    return met


def table(file: Path) -> str:
    """All goals of a file as a table."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    rows = [("program", "goal", "wanted", "reached", "")]
    rows += [
        (line["program"], line["goal"], line["wanted"], line["reached"], "met" if line["met"] else "MISSED")
        for line in lines
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
