"""Peak resident memory of all five analyses at 25, 100 and 400 clips: what grows with the number of clips.

    python benchmarks/memory.py [--backbone whisper-tiny.en] [--counts 25,100,400] [--context trim]

Each number of clips runs in a process of its own, after eight batches that all of them run: what the allocator keeps
settles over the first few. All clips have one context length, the corpus' commonest, so that all runs have the same
batches, only more of them; where the corpus has fewer of that length they are taken again under other names. Their
features are made ready batch by batch, as in a run. Frames that CKA and the rank space need of every clip stay in
memory up to `--memory-mib` and go to a file past that; here all of them do unless it is set.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from analysed import Analysed
from measure import arguments, goal, peak_memory, resident

from lorascope.analysis.measure import Batch

#: Clips that each process analyses first.
WARM = 64


class Ready:
    """Batches that are made when they are asked for, every time anew."""

    def __init__(self, of: Analysed, context: str) -> None:
        self.of, self.context = of, context

    def __iter__(self) -> Iterator[Batch]:
        return self.of.one_by_one(self.context)


def take(of: Analysed, count: int, context: str) -> None:
    """Let the analysis have so many clips of the commonest context length."""
    lengths = of.clips["clip"].map(of.contexts)
    common = of.clips[lengths == lengths.mode()[0]]
    several = pd.concat([common] * -(-count // len(common)), ignore_index=True).iloc[:count]
    names = [f"{clip}#{number}" for number, clip in enumerate(several["clip"])]
    for mapping in (of.features, of.contexts):
        known: Any = mapping
        known.update({new: known[old] for new, old in zip(names, several["clip"], strict=True)})
    of.clips = several.assign(clip=names)
    of.batches = Ready(of, context)


def main(argv: Sequence[str] | None = None) -> None:
    """Run each number of clips in turn."""
    found = arguments(__doc__ or "", argv, counts="25,100,400", draws=500, memory_mib=0, alone=0)
    if found.alone:
        of = Analysed.of(found, found.context)
        take(of, WARM, found.context)
        of.analysed()
        take(of, found.alone, found.context)
        taken = peak_memory(of.analysed)
        print(f"PEAK {resident() - taken} {resident()}")
        return
    given = list(sys.argv[1:] if argv is None else argv)
    peaks = []
    for count in found.counts.split(","):
        command = [sys.executable, __file__, *given, "--alone", count]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        _, before, peak = next(line for line in lines if line.startswith("PEAK")).split()
        peaks.append(float(peak))
        print(
            f"{count} clips: {float(peak) / 2**20:.0f} MiB, {float(before) / 2**20:.0f} of them before the analyses",
            flush=True,
        )
    goal("peak memory at the most clips over the fewest", peaks[-1] / peaks[0], at_most=1.05)


if __name__ == "__main__":
    main()
