"""What can be told of an experiment before anything is read or trained: whether its encoder can be had and has what the
methods ask for, how long it may take, and how much memory and disk.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..experiment.analyses import plan_analyses
from ..experiment.config import Experiment
from ..experiment.grid import Sweep, Variant
from ..experiment.planning import corpus_of, plan
from ..machine import devices
from .estimate import GFLOPS, estimates
from .journal import State, SweepFolder
from .needs import check_shape, disk_needed, free_at, memory_needed, short_of
from .shapes import encoder_shape
from .sweep import plan_sweep


@dataclass(frozen=True)
class Foresight:
    """`backbone` says where the encoder comes from. `seconds` are on one worker, None where the encoder's shape is not
    known; `memory` and `disk` are bytes, about, `free` those that are free at the results' place. `warnings` are what
    would keep it from running here.
    """

    backbone: str
    seconds: float | None
    memory: float | None
    disk: float | None
    free: int
    warnings: tuple[str, ...]

    def described(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def foresee(experiment: Experiment, out: Path | None = None, gflops: float = GFLOPS) -> Foresight:
    """Look ahead. Raises `LorascopeError` for what can't be run anywhere: a layer that the encoder has not, a rank
    above the smaller side of a matrix, a folder that is no encoder's.
    """
    from ..models.weights.backbone import whereabouts

    shape = encoder_shape(experiment.backbone.name)
    check_shape(experiment, shape)
    corpus = corpus_of(experiment)
    cells = plan(experiment, corpus)
    units = plan_analyses(experiment, corpus, cells)
    place, reachable = whereabouts(experiment.backbone.name)
    needed = disk_needed(cells, units, corpus, shape)
    free = free_at(out or Path.cwd())
    warnings = [] if reachable else [f"backbone {experiment.backbone.name}: {place}"]
    if experiment.precision == "fp16" and not devices.has_gpus():
        warnings.append("precision: fp16 needs a GPU, and there is none here; use fp32 or bf16")
    warnings += short_of(needed, free, out or Path.cwd())
    memory = memory_needed(cells, corpus, shape)
    return Foresight(place, _seconds(experiment, gflops), memory, needed, free, tuple(warnings))


def _seconds(experiment: Experiment, gflops: float) -> float | None:
    variant = Variant("", {}, experiment)
    planned = plan_sweep(Sweep(experiment.name, (), (variant,), ""))
    states = {one.key: State("missing") for one in planned}
    found = estimates(planned, states, SweepFolder(Path()), gflops)
    known = [estimate.seconds for estimate in found.values() if estimate.seconds is not None]
    return sum(known) if known else None
