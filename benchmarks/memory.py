"""Peak resident memory of all five analyses at 25, 100 and 400 clips: what grows with the number of clips.

    python benchmarks/memory.py [--backbone whisper-tiny.en] [--counts 25,100,400] [--context trim]

Each number of clips runs in a process of its own, after a first pass over a few clips that fills what libraries keep for themselves. Frames that CKA and the rank space need of every clip stay in memory up to `--memory-mib` and go to
a file past that; here all of them do unless it is set. A corpus with fewer clips gives all that it has.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from analysed import Analysed
from measure import arguments, goal, resident


def main(argv: Sequence[str] | None = None) -> None:
    """Run each number of clips in turn."""
    found = arguments(__doc__ or "", argv, counts="25,100,400", draws=500, memory_mib=0, alone=False)
    if found.alone:
        of = Analysed(found, found.context)
        of.analysed()
        print(f"PEAK {resident('VmHWM')} {len(of.clips)}")
        return
    given = list(sys.argv[1:] if argv is None else argv)
    peaks = []
    for count in found.counts.split(","):
        command = [sys.executable, __file__, *given, "--alone", "--clips", count]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        _, peak, clips = next(line for line in lines if line.startswith("PEAK")).split()
        peaks.append(float(peak))
        print(f"{clips} clips: {float(peak) / 2**20:.0f} MiB", flush=True)
    goal("peak memory at the most clips over the fewest", peaks[-1] / peaks[0], at_most=1.05)


if __name__ == "__main__":
    main()
