"""Epoch and learning rate chosen by inner folds: in each, some of the training speakers choose for a training on the
others; then one training on all of them, without anybody to choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..experiment.methods import OptimiserConfig, recipe_of
from ..experiment.planning import Cell
from .candidates import finished
from .course import Course
from .fit import Fit, selection_score
from .inputs import Inputs


def fits_by_inner_folds(
    cell: Cell, method: OptimiserConfig, inputs: Inputs, folder: Path, say: Callable[[str], None]
) -> list[Fit]:
    """The outcome of every learning rate over the inner folds; the best one is trained on all training clips, with the
    same schedule, until the epoch that was best.
    """
    count = len(cell.fold.inner)
    means = []
    for number, rate in enumerate(method.learning_rate):
        fits = []
        for inner, held in enumerate(cell.fold.inner):
            rest = [clip for clip in cell.fold.train if clip not in set(held)]
            course = Course(rest, held, words=f", inner fold {inner + 1} of {count}")
            place = folder / f"candidate-{number}" / f"inner-{inner}"
            fits.append(finished(cell, method, inputs, course, rate, place, say, keep=False))
        means.append(mean_fit(method, fits))
    chosen = max(range(len(means)), key=lambda number: means[number].score)
    best = means[chosen]
    course = Course(cell.fold.train, None, best.best_epoch, cell.fold.inner, f", all for {best.best_epoch} epochs")
    final = finished(cell, method, inputs, course, best.learning_rate, folder / f"candidate-{chosen}", say)
    return [replace(mean, trained_parameters=final.trained_parameters, moved=final.moved) for mean in means]


def mean_fit(method: OptimiserConfig, fits: Sequence[Fit]) -> Fit:
    """What inner folds say together of one learning rate: every epoch's UAR, WAR and loss is the mean over them, and
    the best epoch that of the mean.

    Only epochs that all of them reached are compared, of AdaLoRA only those with the final rank. With the recipe's
    `average` there is no epoch to choose: the mean's scores are means, and the last epoch is the mean of theirs.
    """
    if recipe_of(method).average > 1:
        epoch = round(np.mean([fit.best_epoch for fit in fits]))
        scores = {name: float(np.mean([getattr(fit, name) for fit in fits])) for name in ("uar", "war", "loss")}
        return replace(fits[0], best_epoch=epoch, history=[], **scores)
    history = [
        {name: float(np.mean([epoch[name] for epoch in same])) for name in ("epoch", "uar", "war", "loss")}
        for same in zip(*(fit.history for fit in fits), strict=False)
    ]
    first = method.epochs / 2 if getattr(method, "kind", "") == "adalora" else 1
    counting = [index for index in range(len(history)) if index + 1 >= first]
    best = max(counting, key=lambda index: selection_score(history[index]["uar"], history[index]["loss"]))
    scores = {name: history[best][name] for name in ("uar", "war", "loss")}
    return replace(fits[0], best_epoch=best + 1, history=history, **scores)
