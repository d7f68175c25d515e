"""One cell: (backbone, method, corpus, fold, seed) → adapter or head, predictions of the test speaker, metrics.

A cell is named by the hash of everything that decides its result. It is trained with each candidate learning rate; the
one that is best on the selection clips is kept; only then are the test clips predicted, once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import confusion_matrix

from ..experiment.methods import ClassicConfig, FrozenConfig, Method, OptimiserConfig, is_shallow, recipe_of
from ..experiment.planning import Cell
from ..machine.processes import on_first
from ..models.adapters.building import load_trained
from ..models.adapters.folder import load_adapter
from ..models.families.known import parts_of
from ..statistics.stats import unweighted_average_recall
from . import moments
from .candidates import Trained, finished, still
from .course import Course
from .fit import cross_entropy
from .halving import trained_by_halving
from .heads import TENSORS, fit_at_once, load_head
from .inner_folds import fits_by_inner_folds
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
    trained = _train(cell, inputs, selection, folder, say)
    return on_first(lambda: _test(cell, inputs, folder, lambda: _choose(cell, trained, folder)))


def _test(cell: Cell, inputs: Inputs, folder: Path, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Metrics and predictions of the test clips by the adapter that `decide` leaves in the cell's folder; it returns
    what of the metrics was decided there.
    """
    for place in ("adapter", moments.FOLDER):
        shutil.rmtree(folder / place, ignore_errors=True)
    decided = decide()
    logits = logits_of(cell.method, cell.context, inputs, folder / "adapter", cell.fold.test)
    metrics = _metrics(cell, inputs, logits, decided)
    _predictions(cell, inputs, logits).to_parquet(folder / "predictions.parquet", index=False)
    return metrics


def _train(cell: Cell, inputs: Inputs, selection: Sequence[str], folder: Path, say: Callable[[str], None]) -> Trained:
    """Train every candidate that isn't done; returns the outcome of each, and which is kept."""
    method = cell.method
    assert isinstance(method, OptimiserConfig)
    if getattr(method, "search", None) is not None:
        return trained_by_halving(cell, method, inputs, selection, folder, say)
    if cell.fold.inner:
        fits = fits_by_inner_folds(cell, method, inputs, folder, say)
    else:
        course = Course(cell.fold.train, selection)
        fits = [
            finished(cell, method, inputs, course, rate, folder / f"candidate-{number}", say)
            for number, rate in enumerate(method.learning_rate)
        ]
    return Trained(fits, max(range(len(fits)), key=lambda number: fits[number].score), [{} for _ in fits])


def _choose(cell: Cell, trained: Trained, folder: Path) -> dict[str, Any]:
    """Keep the candidate that is best on the selection clips; returns what of the metrics was decided there."""
    method, fits, chosen = cell.method, trained.fits, trained.chosen
    assert isinstance(method, OptimiserConfig)
    with (folder / "train.log").open("w", encoding="utf-8") as log:
        for number in range(len(fits)):
            for file in sorted((folder / f"candidate-{number}").rglob("log.jsonl")):
                log.write(file.read_text(encoding="utf-8"))
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
        | about
        for f, about in zip(fits, trained.about, strict=True)
    ]
    motionless = [still(cell, f.learning_rate) for f in fits if not f.moved]
    rank = trained.about[chosen].get("rank")
    return {
        **({"warnings": motionless} if motionless else {}),
        **({} if rank is None else {"rank": rank}),
        "trainable_parameters": best.trained_parameters,
        "validation": {"uar": best.uar, "war": best.war, "loss": best.loss},
        "candidates": candidates,
        "chosen": candidates[chosen] | {"epochs": method.epochs, "batch_size": method.batch_size},
    }


@torch.no_grad()
def logits_of(method: Method, context: str, inputs: Inputs, adapter: Path, ids: Sequence[str]) -> np.ndarray:
    """What a trained method answers to clips of the `inputs`, [clips, classes], by the `adapter` folder of its cell."""
    if not isinstance(method, (FrozenConfig, ClassicConfig)):
        model: Any = load_trained(inputs.load(), adapter, method.kind, recipe_of(method).head)
        model = model.to(inputs.device)
        return predict_clips(model, ids, inputs.clips, context, method.batch_size)
    fixed = inputs.fixed(method, context)
    stacked = np.stack([fixed[clip] for clip in ids])
    if (adapter / TENSORS).is_file():
        return load_head(adapter).logits(stacked)
    head = load_adapter(inputs.load(), adapter).to(inputs.device)
    return parts_of(head).apply_head(torch.as_tensor(stacked[:, -1], device=inputs.device)).cpu().numpy()


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
