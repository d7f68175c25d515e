"""What an experiment needs of encoder, memory and disk, by arithmetic alone."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..corpora import Corpus
from ..errors import LorascopeError
from ..experiment.analyses import AnalysisUnit
from ..experiment.config import Experiment
from ..experiment.methods import LORA_KINDS, FrozenConfig, OptimiserConfig, candidates_of
from ..experiment.planning import Cell
from ..sound.features import FRAMES_PER_SECOND
from ..store.cache import cache_folder
from .shapes import Shape, mean_frames, parameters

GIB = 2**30
#: What Python, torch and transformers take before there is a model (measured on Linux, torch for CPUs), bytes.
LIBRARIES = 0.6 * GIB
#: Numbers that a block keeps for its backward pass, for each frame and unit of width: Korthikanti et al. (2022) count
#: 34 bytes at 16 bits, attention aside, which never holds its matrix here.
KEPT = 17
#: Bytes of features that a second of sound takes in the cache: 100 log-mel frames of 80 bins, or 16 000 samples.
MELS, SAMPLES = 100 * 80 * 4, 16_000 * 4


def check_shape(experiment: Experiment, shape: Shape | None) -> None:
    """Raise `LorascopeError` where a method names a layer or a rank that an encoder of this shape can't have."""
    if shape is None:
        return
    smaller = min(shape.width, shape.inner)
    for name, method in experiment.conditions.items():
        for layer in getattr(method, "layers", None) or ():
            if layer >= shape.blocks:
                raise LorascopeError(
                    f"methods.{name}.layers: no layer {layer}; the encoder's are 0 to {shape.blocks - 1}"
                )
        search = getattr(method, "search", None)
        ranks = search.rank if search is not None and search.rank else ()
        rank = max((getattr(method, "initial_rank", None) or getattr(method, "rank", None) or 0, *ranks))
        if rank > smaller:
            raise LorascopeError(
                f"methods.{name}.rank: {rank} is above {smaller}, the smaller side of its matrices; give a lower one"
            )
    main = experiment.analysed
    if experiment.analysis is not None and main is not None and experiment.conditions[main].kind in LORA_KINDS:
        for rank in experiment.analysis.ranks:
            if rank > smaller:
                raise LorascopeError(
                    f"analysis.ranks: {rank} is above {smaller}, the smaller side of the matrices; take it out"
                )


def memory_needed(cells: Sequence[Cell], corpus: Corpus, shape: Shape | None) -> float | None:
    """Bytes that the largest training takes, about: libraries, weights, what training adds to those that it changes
    (gradients and two moments), and what a batch keeps for its backward pass. None where the shape is not known.
    """
    if shape is None:
        return None
    frames = mean_frames(corpus)
    most = 0.0
    for cell in cells:
        method = cell.method
        if not isinstance(method, OptimiserConfig) or isinstance(method, FrozenConfig):
            continue
        length = shape.window if cell.context == "full" else min(2 * frames, shape.window)
        batch = method.batch_size * length * shape.width * shape.blocks * KEPT * 4
        most = max(most, 12.0 * trained_parameters(cell, shape) + batch)
    return LIBRARIES + 2 * 4 * parameters(shape) + most


def disk_needed(
    cells: Sequence[Cell], units: Sequence[AnalysisUnit], corpus: Corpus, shape: Shape | None
) -> float | None:
    """Bytes that results and cache take, about: features, pooled streams, what each cell keeps, the checkpoints of the
    largest training, tables and pages. None where the shape is not known.
    """
    if shape is None:
        return None
    seconds = mean_frames(corpus) / FRAMES_PER_SECOND * len(corpus.clips)
    features = seconds * (SAMPLES if shape.waveform else MELS)
    pooled = len(corpus.clips) * (shape.blocks + 1) * shape.width * 4
    kept = [4.0 * trained_parameters(cell, shape) for cell in cells]
    # two checkpoints with weights and both moments while a training runs
    return features + pooled + sum(kept) + 6 * max(kept, default=0.0) + 1e6 * len(units) + 10e6


def trained_parameters(cell: Cell, shape: Shape) -> float:
    """How many parameters a cell trains, about."""
    head = shape.width * cell.projection
    method = cell.method
    if getattr(method, "search", None) is not None:
        candidates = candidates_of(method)  # pyright: ignore[reportArgumentType]
        return max(trained_parameters(replace(cell, method=one), shape) for one in candidates)  # pyright: ignore[reportArgumentType]
    if cell.kind == "full":
        return parameters(shape) + head
    rank = getattr(method, "initial_rank", None) or getattr(method, "rank", None)
    if rank is None:
        return head
    layers = getattr(method, "layers", None)
    sides = {"fc1": shape.width + shape.inner, "fc2": shape.width + shape.inner}
    of_layer = sum(sides.get(name, 2 * shape.width) for name in getattr(method, "targets", ()))
    return head + rank * of_layer * (shape.blocks if layers is None else len(layers))


def free_at(place: Path) -> int:
    """Bytes that are free where a folder lies or will lie."""
    place = place.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def short_of(needed: float | None, free: int, place: Path) -> list[str]:
    """A line where results and cache won't fit."""
    cache = free_at(cache_folder())
    if needed is None or needed <= min(free, cache):
        return []
    where, left = (place, free) if free <= cache else (cache_folder(), cache)
    return [f"{where}: {left / GIB:.2f} GiB are free, about {needed / GIB:.2f} GiB are needed; make room there"]
