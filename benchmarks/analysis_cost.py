"""What all five analyses cost over the bare forwards and backwards of the same models on the same clips and batches.

    python benchmarks/analysis_cost.py [--backbone whisper-base] [--clips 100] [--contexts trim,full]

Models: trained, one random baseline, frozen; gradients for the two with an adapter. The clips are as many as an analysis takes by default (25 a class). `tracing` is the pass over the clips; what comes after it
(t-SNEs, probes, nulls, spectra) costs the same however long the clips are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from analysed import FIVE, Analysed
from measure import arguments, goal, in_turn, timed


def main(argv: Sequence[str] | None = None) -> None:
    """Measure in each context."""
    found = arguments(
        __doc__ or "", argv, clips=100, contexts="trim,full", full_clips=16, draws=500, memory_mib=512, rounds=3
    )
    if not found.backbone and not found.quick:
        found.backbone = "whisper-base"
    for context in found.contexts.split(","):
        number = found.clips
        if context == "full":
            # 30 s a clip: few are enough for the pass, and what comes after it weighs more with few than with many
            found.clips = min(found.full_clips, number)
        of = Analysed.of(found, context)
        found.clips = number
        times = in_turn({"bare": of.bare, "tracing": of.traced, "all": of.analysed}, found.rounds, warm=False)
        for name, timing in times.items():
            print(f"{context}, {name}: {timing}")
        measures = of.traced()
        after = {name: timed(measures[name].compute)[1] for name in FIVE}
        print(f"{context}, after the pass, CPU s: " + ", ".join(f"{name} {cpu:.2f}" for name, cpu in after.items()))
        for name, label in (("tracing", "the pass alone"), ("all", "all five analyses")):
            wall, cpu = times[name].best / times["bare"].best, times[name].over(times["bare"])[1]
            goal(f"{context}: {label} over bare", wall, at_most=1.25, note=f"CPU {cpu:.2f}, {len(of.clips)} clips")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")
