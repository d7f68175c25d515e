"""What all five analyses cost over the bare forwards and backwards of the same models on the same clips and batches.

    python benchmarks/analysis_cost.py [--backbone whisper-base] [--clips 100] [--contexts trim,full] [--precision bf16]

Models: trained, one random baseline, frozen; gradients for the two with an adapter. The clips are as many as
an analysis takes by default (25 a class). `tracing` is the pass over the clips; what comes after it (t-SNEs,
probes, nulls, spectra) costs the same however long the clips are. On a GPU what is run first also warms it
up, which is not counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from analysed import FIVE, Analysed
from measure import arguments, goal, in_turn, timed


def wanted(context: str, clips: int) -> tuple[float, float]:
    """At most how many times the bare passes the pass and all five analyses may take: on a GPU, which takes the
    bare passes in no time, more.
    """
    if not torch.cuda.is_available():
        return 1.25, 1.25
    return 2.0, 6.0 if context == "trim" else 4.0 if clips < 50 else 2.5


def main(argv: Sequence[str] | None = None) -> None:
    """Measure in each context."""
    found = arguments(
        __doc__ or "",
        argv,
        clips=100,
        contexts="trim,full",
        full_clips=16,
        draws=500,
        memory_mib=512,
        rounds=3,
        precision="fp32",
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
        ways = {"bare": of.bare, "tracing": of.traced, "all": of.analysed}
        times = in_turn(ways, found.rounds, warm=torch.cuda.is_available())
        for name, timing in times.items():
            print(f"{context}, {name}: {timing}")
        measures = of.traced()
        after = {name: timed(measures[name].compute) for name in FIVE}
        print(f"{context}, after the pass: " + ", ".join(f"{n} {w:.2f} s (CPU {c:.2f})" for n, (w, c) in after.items()))
        sizes = [len(batch.rows) for batch in of.batches]
        where = f"{found.backbone or 'quick'}, {context}, {found.precision}"
        for name, label, most in zip(
            ("tracing", "all"), ("the pass alone", "all five analyses"), wanted(context, len(of.clips)), strict=True
        ):
            wall, cpu = times[name].best / times["bare"].best, times[name].over(times["bare"])[1]
            note = f"CPU {cpu:.2f}, {len(of.clips)} clips in {len(sizes)} batches of at most {max(sizes)}"
            goal(f"{where}: {label} over bare", wall, at_most=most, note=note)


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")
