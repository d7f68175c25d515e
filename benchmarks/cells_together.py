"""Several trainings side by side on one device against the same ones after the other, clips a second.

    python benchmarks/cells_together.py [--backbone random-base] [--workers 6] [--clips 96]

A small encoder leaves a GPU waiting for the host, so several processes can share it
(`lorascope sweep --workers-per-gpu 6`). Each worker trains one epoch unmeasured (it starts, loads and warms up), then
each training is one epoch of LoRA as a run trains it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from measure import arguments, goal, settle

from lorascope.work.engines.local import LocalEngine


class Task(NamedTuple):
    """One training: on what, and its seed."""

    given: argparse.Namespace
    seed: int


def train(task: Any) -> tuple[float, float]:
    """One epoch in this process; the time of day at its steps' start and end."""
    from material import Material

    from lorascope.experiment.methods import LoraConfig
    from lorascope.models.adapters.building import adapt
    from lorascope.training.data import ClipDataset
    from lorascope.training.fit import fit
    from training import BATCH

    clips: Material = _material(str(task.given), task)
    names = list(clips.clips)
    parts = (ClipDataset(ids, clips.labels, clips.clips, task.given.context) for ids in (names, names[:2]))
    model: Any = adapt(clips.load().model, LoraConfig(), task.seed)
    settings = LoraConfig(epochs=1, batch_size=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        start = time.time()
        fit(
            model,
            *parts,
            len(clips.corpus.classes),
            settings,
            1e-4,
            task.seed,
            task.given.precision,
            root / "trainer",
            root / "log",
        )
        settle()
        return start, time.time()


@cache
def _kept(words: str) -> list[Any]:
    return []


def _material(words: str, task: Task) -> Any:
    from material import material

    kept = _kept(words)
    if not kept:
        kept.append(material(task.given))
    return kept[0]


def seconds(given: argparse.Namespace, workers: int) -> float:
    """From the first step of the first training to the last of the last."""
    engine = LocalEngine(workers=workers)
    tasks = [Task(given, seed) for seed in range(given.workers)]
    try:
        # as many as there are workers, so that each gets one
        for _, outcome in engine.outcomes(train, tasks[:workers]):  # pyright: ignore[reportArgumentType]
            _raised(outcome)
        times = [_raised(outcome) for _, outcome in engine.outcomes(train, tasks)]  # pyright: ignore[reportArgumentType]
    finally:
        engine.close()
    spent = [end - start for start, end in times]
    print(f"{workers} at a time: {len(times)} trainings of {min(spent):.2f} to {max(spent):.2f} s each")
    return max(end for _, end in times) - min(start for start, _ in times)


def _raised(outcome: Any) -> tuple[float, float]:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both ways."""
    given = arguments(__doc__ or "", argv, clips=96, workers=6, precision="fp32")
    if not given.backbone and not given.quick:
        given.backbone = "random-base"
    one, together = seconds(given, 1), seconds(given, given.workers)
    for name, spent in (("one after the other", one), ("side by side", together)):
        print(f"{name}: {given.workers * given.clips / spent:.4g} clips/s")
    goal(f"{given.workers} cells side by side over one after the other, clips/s", one / together, at_least=3)


if __name__ == "__main__":
    main()
