"""One candidate: a method with one learning rate, trained on some clips of a fold and judged on others, once and for
all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from .. import __version__
from ..experiment.methods import FrozenConfig, Method, OptimiserConfig, recipe_of
from ..experiment.planning import Cell
from ..experiment.recipe import Recipe
from ..machine.processes import first_before_others, on_first
from ..models.adapters.building import adapt, add_head_only, save_trained
from ..models.adapters.folder import Record
from ..models.classifier import Head, initialise_head
from ..models.head_kinds import read_depths
from ..models.objective import Objective, balanced_weights
from ..models.weights.backbone import Backbone
from ..store import seals
from ..store.folder import read_json, write_json
from . import moments
from .allocation import RankAllocation
from .augmented import Drawing, DrawnClips
from .controls import labels_for
from .course import Course
from .data import ClipDataset, PooledDataset
from .fit import Fit, fit
from .head_start import start_at_logistic
from .head_steps import fit_head
from .heads import LayerSum, head_record, save_head
from .inputs import Inputs


@dataclass(frozen=True)
class Trained:
    """The outcome of every candidate, which of them was chosen, and what tells them apart beside the learning rate."""

    fits: list[Fit]
    chosen: int
    about: list[dict[str, Any]]


def finished(
    cell: Cell,
    method: OptimiserConfig,
    inputs: Inputs,
    course: Course,
    rate: float,
    folder: Path,
    say: Callable[[str], None],
    keep: bool = True,
) -> Fit:
    """The outcome of a candidate, trained if it isn't done; its adapter lies in the folder where it is to `keep`."""
    done = folder / "fit.json"
    if not on_first(lambda: done.is_file() and seals.fault(folder) is None):
        say(f"{cell.label}, {cell.where}, learning rate {rate:g}{course.words}")
        trained, save = train_candidate(cell, method, inputs, course, rate, folder)
        if not trained.moved:
            say(f"warning: {still(cell, rate)}")

        def finish() -> None:
            if keep:
                save()
            write_json(done, asdict(trained))
            seals.seal(folder, ("trainer",))
            shutil.rmtree(folder / "trainer", ignore_errors=True)

        on_first(finish)
    return on_first(lambda: Fit(**read_json(done)))


def still(cell: Cell, rate: float) -> str:
    """What to tell of a training that moved nothing but the head."""
    return (
        f"{cell.label}, fold {cell.fold.name}, learning rate {rate:g}: nothing but the head was trained: after its "
        "best epoch every parameter of the adapter is what it began with"
    )


def train_candidate(
    cell: Cell, method: OptimiserConfig, inputs: Inputs, course: Course, rate: float, folder: Path
) -> tuple[Fit, Callable[[], None]]:
    """Train one candidate by a method; returns its outcome, and what saves its adapter."""
    backbone = inputs.load()
    log = folder / "log.jsonl"
    if isinstance(method, FrozenConfig):
        return _train_head(cell, method, inputs, course, rate, folder, backbone)
    # the backbone was loaded with the head of the experiment's seed, which is the cell's where there is but one
    recipe, labels = recipe_of(method), labels_for(cell, inputs)
    read_depths(backbone.model, recipe.head)
    initialise_head(backbone.model, cell.seed)
    if recipe.head_start == "logistic":
        start_at_logistic(backbone.model, cell, inputs, course)
    model = adapt(backbone.model, cast("Method", method), cell.seed)
    backbone.model.head_dropout = recipe.head_dropout
    backbone.model.objective = _objective(recipe, [labels[clip] for clip in course.train], len(cell.classes))

    def save(place: Path) -> None:
        save_trained(model, place, _record(cell, backbone), backbone.features, inputs.load)

    train = ClipDataset(course.train, labels, inputs.clips, cell.context)
    if recipe.augment or recipe.mixup:
        drawing = Drawing(recipe, cell.seed, len(cell.classes), backbone.features, inputs.samples)
        train = DrawnClips(course.train, labels, inputs.clips, cell.context, drawing)
    chosen_on = course.selection
    held_out = None if chosen_on is None else ClipDataset(chosen_on, labels, inputs.clips, cell.context)
    result = fit(
        model,
        train,
        held_out,
        len(cell.classes),
        method,
        rate,
        cell.seed,
        cell.precision,
        folder / "trainer",
        log,
        RankAllocation(model) if cell.kind == "adalora" else None,
        cell.trainer,
        moments.Moments(cell.moments, folder / moments.FOLDER, save) if cell.moments else None,
        course.until,
    )
    return result, lambda: save(folder / "adapter")


def _objective(recipe: Recipe, labels: Sequence[int], classes: int) -> Objective | None:
    """What a recipe minimises; None where it is the mean cross-entropy."""
    weights = balanced_weights(labels, classes) if recipe.class_weight else None
    return Objective(recipe.label_smoothing, weights) if recipe.label_smoothing or weights else None


def _train_head(
    cell: Cell,
    method: FrozenConfig,
    inputs: Inputs,
    course: Course,
    rate: float,
    folder: Path,
    backbone: Backbone,
) -> tuple[Fit, Callable[[], None]]:
    """Train a head of the frozen encoder on its pooled stream; as `train_candidate`."""
    pooled = first_before_others(lambda: inputs.fixed(cell.method, cell.context))
    depths = slice(None) if method.head == "layer_sum" else -1
    head = Head(backbone.width, cell.projection, len(cell.classes))
    initialise_head(head, cell.seed)
    model = LayerSum(backbone.layers + 1, head) if method.head == "layer_sum" else head
    labels = labels_for(cell, inputs)
    train, held_out = (
        None if ids is None else PooledDataset(np.stack([pooled[c][depths] for c in ids]), [labels[c] for c in ids])
        for ids in (course.train, course.selection)
    )
    assert train is not None
    settings = (model, train, held_out, len(cell.classes), method, rate, cell.seed, cell.precision)
    log = folder / "log.jsonl"
    if not cell.trainer.changing(blocks=False):
        # so little arithmetic that several processes would wait for each other longer than it takes
        result = on_first(lambda: fit_head(*settings, log, course.until))
    else:
        result = fit(*settings, folder / "trainer", log, None, cell.trainer, until=course.until)

    def save() -> None:
        if isinstance(model, LayerSum):
            tensors = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
            save_head(folder / "adapter", head_record(cell, backbone.name, backbone.fingerprint), tensors)
            return
        with_head = add_head_only(backbone.model, head)
        save_trained(with_head, folder / "adapter", _record(cell, backbone), backbone.features, inputs.load)

    return result, save


def _record(cell: Cell, backbone: Backbone) -> Record:
    head = recipe_of(cell.method).head
    return Record(cell.kind, cell.classes, cell.context, backbone.name, backbone.fingerprint, __version__, head)
