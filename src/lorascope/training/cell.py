"""One cell: (backbone, method, corpus, fold, seed) → adapter or head, predictions of the test speaker, metrics.

A cell is named by the hash of everything that decides its result. It is trained with each candidate learning rate; the
one that is best on the selection clips is kept; only then are the test clips predicted, once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import confusion_matrix

from .. import __version__
from ..experiment.methods import ClassicConfig, FrozenConfig, OptimiserConfig, is_shallow, recipe_of
from ..experiment.planning import Cell
from ..experiment.recipe import Recipe
from ..machine.processes import first_before_others, on_first
from ..models.adapters.building import adapt, add_head_only, load_trained, save_trained
from ..models.adapters.folder import Record, load_adapter
from ..models.classifier import Head, initialise_head
from ..models.families.known import parts_of
from ..models.head_kinds import read_depths
from ..models.objective import Objective, balanced_weights
from ..models.weights.backbone import Backbone
from ..statistics.stats import unweighted_average_recall
from ..store import seals
from ..store.folder import read_json, write_json
from . import moments
from .allocation import RankAllocation
from .augmented import Drawing, DrawnClips
from .controls import labels_for
from .data import ClipDataset, PooledDataset
from .fit import Fit, cross_entropy, fit
from .head_start import start_at_logistic
from .head_steps import fit_head
from .heads import TENSORS, LayerSum, fit_at_once, head_record, load_head, save_head
from .inputs import Inputs
from .passes import predict_clips


def names(cell: Cell) -> dict[str, Any]:
    """What a cell is called in its experiment, and its role there; none of it changes a result, or stands in its
    folder.
    """
    return {
        "name": cell.name or cell.kind,
        "label": cell.label,
        "role": cell.role,
        "fold": cell.fold.name,
        "seed": cell.of_seed,
    }


def train_and_test(cell: Cell, inputs: Inputs, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train a cell in `folder` and predict its test clips; returns its metrics. Processes of one launcher call this
    together.
    """
    selection = cell.fold.validation if cell.fold.selection == "validation_speaker" else cell.fold.test
    if is_shallow(cell.method):
        return on_first(lambda: _test(cell, inputs, folder, lambda: fit_at_once(cell, inputs, selection, folder, say)))
    fits = _train(cell, inputs, selection, folder, say)
    return on_first(lambda: _test(cell, inputs, folder, lambda: _choose(cell, fits, folder)))


def _test(cell: Cell, inputs: Inputs, folder: Path, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Metrics and predictions of the test clips by the adapter that `decide` leaves in the cell's folder; it returns
    what of the metrics was decided there.
    """
    for place in ("adapter", moments.FOLDER):
        shutil.rmtree(folder / place, ignore_errors=True)
    decided = decide()
    logits = _test_logits(cell, inputs, folder / "adapter")
    metrics = _metrics(cell, inputs, logits, decided)
    _predictions(cell, inputs, logits).to_parquet(folder / "predictions.parquet", index=False)
    return metrics


def _train(cell: Cell, inputs: Inputs, selection: Sequence[str], folder: Path, say: Callable[[str], None]) -> list[Fit]:
    """Train every candidate that isn't done; returns the outcome of each."""
    method = cell.method
    assert isinstance(method, OptimiserConfig)
    fits: list[Fit] = []
    for number, rate in enumerate(method.learning_rate):
        candidate = folder / f"candidate-{number}"
        done = candidate / "fit.json"
        if not on_first(lambda done=done: done.is_file() and seals.fault(done.parent) is None):
            say(f"{cell.label}, {cell.where}, learning rate {rate:g}")
            trained, save = _train_candidate(cell, inputs, selection, rate, candidate)
            if not trained.moved:
                say(f"warning: {_still(cell, rate)}")

            def finish(done: Path = done, trained: Fit = trained, save: Callable[[], None] = save) -> None:
                save()
                write_json(done, asdict(trained))
                seals.seal(done.parent, ("trainer",))
                shutil.rmtree(done.parent / "trainer", ignore_errors=True)

            on_first(finish)
        fits.append(on_first(lambda done=done: Fit(**read_json(done))))
    return fits


def _choose(cell: Cell, fits: Sequence[Fit], folder: Path) -> dict[str, Any]:
    """Keep the candidate that is best on the selection clips; returns what of the metrics was decided there."""
    method = cell.method
    assert isinstance(method, OptimiserConfig)
    chosen = max(range(len(fits)), key=lambda number: fits[number].score)
    with (folder / "train.log").open("w", encoding="utf-8") as log:
        for number in range(len(fits)):
            log.write((folder / f"candidate-{number}" / "log.jsonl").read_text(encoding="utf-8"))
    kept = ("adapter", moments.FOLDER) if cell.moments else ("adapter",)
    for place in kept:
        shutil.copytree(folder / f"candidate-{chosen}" / place, folder / place)
    best = fits[chosen]
    candidates = [
        {
            "learning_rate": f.learning_rate,
            "best_epoch": f.best_epoch,
            "validation_uar": f.uar,
            "validation_loss": f.loss,
        }
        for f in fits
    ]
    still = [_still(cell, f.learning_rate) for f in fits if not f.moved]
    return {
        **({"warnings": still} if still else {}),
        "trainable_parameters": best.trained_parameters,
        "validation": {"uar": best.uar, "war": best.war, "loss": best.loss},
        "candidates": candidates,
        "chosen": candidates[chosen] | {"epochs": method.epochs, "batch_size": method.batch_size},
    }


def _still(cell: Cell, rate: float) -> str:
    return (
        f"{cell.label}, fold {cell.fold.name}, learning rate {rate:g}: nothing but the head was trained: after its "
        "best epoch every parameter of the adapter is what it began with"
    )


@torch.no_grad()
def _test_logits(cell: Cell, inputs: Inputs, adapter: Path) -> np.ndarray:
    method = cell.method
    if not isinstance(method, (FrozenConfig, ClassicConfig)):
        model: Any = load_trained(inputs.load(), adapter, cell.kind, recipe_of(method).head)
        model = model.to(inputs.device)
        return predict_clips(model, cell.fold.test, inputs.clips, cell.context, method.batch_size)
    fixed = inputs.fixed(cell)
    stacked = np.stack([fixed[clip] for clip in cell.fold.test])
    if (adapter / TENSORS).is_file():
        return load_head(adapter).logits(stacked)
    head = load_adapter(inputs.load(), adapter).to(inputs.device)
    return parts_of(head).apply_head(torch.as_tensor(stacked[:, -1], device=inputs.device)).cpu().numpy()


def _train_candidate(
    cell: Cell, inputs: Inputs, selection: Sequence[str], rate: float, folder: Path
) -> tuple[Fit, Callable[[], None]]:
    """Train one candidate; returns its outcome, and what saves its adapter."""
    backbone = inputs.load()
    method = cell.method
    assert isinstance(method, OptimiserConfig)
    log = folder / "log.jsonl"
    if isinstance(method, FrozenConfig):
        return _train_head(cell, method, inputs, selection, rate, folder, backbone)
    # the backbone was loaded with the head of the experiment's seed, which is the cell's where there is but one
    recipe, labels = recipe_of(method), labels_for(cell, inputs)
    read_depths(backbone.model, recipe.head)
    initialise_head(backbone.model, cell.seed)
    if recipe.head_start == "logistic":
        start_at_logistic(backbone.model, cell, inputs, selection)
    model = adapt(backbone.model, method, cell.seed)
    backbone.model.head_dropout = recipe.head_dropout
    backbone.model.objective = _objective(recipe, [labels[clip] for clip in cell.fold.train], len(cell.classes))

    def save(place: Path) -> None:
        save_trained(model, place, _record(cell, backbone), backbone.features, inputs.load)

    train = ClipDataset(cell.fold.train, labels, inputs.clips, cell.context)
    if recipe.augment or recipe.mixup:
        drawing = Drawing(recipe, cell.seed, len(cell.classes), backbone.features, inputs.samples)
        train = DrawnClips(cell.fold.train, labels, inputs.clips, cell.context, drawing)
    held_out = ClipDataset(selection, labels, inputs.clips, cell.context)
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
    selection: Sequence[str],
    rate: float,
    folder: Path,
    backbone: Backbone,
) -> tuple[Fit, Callable[[], None]]:
    """Train a head of the frozen encoder on its pooled stream; as `_train_candidate`."""
    pooled = first_before_others(lambda: inputs.fixed(cell))
    depths = slice(None) if method.head == "layer_sum" else -1
    head = Head(backbone.width, cell.projection, len(cell.classes))
    initialise_head(head, cell.seed)
    model = LayerSum(backbone.layers + 1, head) if method.head == "layer_sum" else head
    labels = labels_for(cell, inputs)
    train, held_out = (
        PooledDataset(np.stack([pooled[c][depths] for c in ids]), [labels[c] for c in ids])
        for ids in (cell.fold.train, selection)
    )
    settings = (model, train, held_out, len(cell.classes), method, rate, cell.seed, cell.precision)
    log = folder / "log.jsonl"
    if not cell.trainer.changing(blocks=False):
        # so little arithmetic that several processes would wait for each other longer than it takes
        result = on_first(lambda: fit_head(*settings, log))
    else:
        result = fit(*settings, folder / "trainer", log, None, cell.trainer)

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


def _metrics(cell: Cell, inputs: Inputs, logits: np.ndarray, decided: dict[str, Any]) -> dict[str, Any]:
    gold = np.array([inputs.labels[clip] for clip in cell.fold.test])
    predicted = logits.argmax(axis=1)
    return {
        "method": cell.kind,
        "backbone": cell.backbone,
        "context": cell.context,
        "rank": cell.rank,
        "fold": cell.fold.name,
        "test_speakers": list(cell.fold.test_speakers),
        "validation_speakers": list(cell.fold.validation_speakers),
        "clips": {part: len(getattr(cell.fold, part)) for part in ("train", "validation", "test")},
        "classes": list(cell.classes),
        "uar": unweighted_average_recall(gold, predicted, len(cell.classes)),
        "war": float((gold == predicted).mean()),
        "loss": cross_entropy(logits, gold),
        "confusion": confusion_matrix(gold, predicted, labels=range(len(cell.classes))).tolist(),
        **decided,
        "optimistic": list(cell.fold.optimistic),
    }


def _predictions(cell: Cell, inputs: Inputs, logits: np.ndarray) -> pd.DataFrame:
    ids = list(cell.fold.test)
    table = pd.DataFrame(
        {
            "clip": ids,
            "speaker": [inputs.speakers[clip] for clip in ids],
            "emotion": [cell.classes[inputs.labels[clip]] for clip in ids],
            "predicted": [cell.classes[index] for index in logits.argmax(axis=1)],
            "fold": cell.fold.name,
        }
    )
    return table.join(pd.DataFrame(logits, columns=[f"logit_{name}" for name in cell.classes]))
