"""A search within a fold: all candidates are trained for some epochs, the better ones go on from where they are, and
one ends its training (`experiment.search`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..experiment.methods import candidates_of
from ..experiment.planning import Cell
from ..experiment.search import rungs, words_of
from ..machine.processes import on_first
from ..store.folder import read_json, write_json
from .candidates import Trained, finished, train_candidate
from .course import Course
from .fit import Fit, selection_score
from .inputs import Inputs


def trained_by_halving(
    cell: Cell, method: Any, inputs: Inputs, selection: Sequence[str], folder: Path, say: Callable[[str], None]
) -> Trained:
    """Train a method's candidates, and fewer of them after every rung, by the best epoch so far on the selection clips;
    the last one to its end.
    """
    candidates = candidates_of(method)
    alive, fits = list(range(len(candidates))), {}
    for count, until in rungs(len(candidates), method.epochs):
        # by the best epoch so far; the earlier one of equals
        alive = sorted(alive, key=lambda number: -best_so_far(fits[number]))[:count] if fits else alive
        for number in sorted(alive):
            one, place = candidates[number], folder / f"candidate-{number}"
            words = f", rank {one.rank} of {words_of(one.targets)}, to epoch {until}"
            course = Course(cell.fold.train, selection, until, words=words)
            rate = one.learning_rate[0]
            if count == 1:
                fits[number] = finished(cell, one, inputs, course, rate, place, say)
            else:
                fits[number] = _to_rung(cell, one, inputs, course, rate, place, say)
    about = [
        {"rank": one.rank, "targets": words_of(one.targets), "epochs_trained": len(fits[number].history)}
        for number, one in enumerate(candidates)
    ]
    return Trained([fits[number] for number in range(len(candidates))], alive[0], about)


def _to_rung(
    cell: Cell, method: Any, inputs: Inputs, course: Course, rate: float, folder: Path, say: Callable[[str], None]
) -> Fit:
    """The outcome of a candidate at a rung, whose checkpoint stays for the next one."""
    done = folder / f"rung-{course.until}.json"
    if not on_first(done.is_file):
        say(f"{cell.label}, {cell.where}, learning rate {rate:g}{course.words}")
        trained, _ = train_candidate(cell, method, inputs, course, rate, folder)
        on_first(lambda: write_json(done, asdict(trained)))
    return on_first(lambda: Fit(**read_json(done)))


def best_so_far(fit: Fit) -> float:
    """The best epoch's score up to now; that of a mean of epochs is another."""
    return max(selection_score(epoch["uar"], epoch["loss"]) for epoch in fit.history)
