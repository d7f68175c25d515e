"""A trained cell as a unit of work: built beside its place, moved there when it is whole, read where it is whole already."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from ...experiment.planning import Cell
from ...machine.processes import on_first
from ...store.folder import RunFolder, read_json, write_json
from ...training import cell as training
from ...training.inputs import Inputs


def run_cell(
    cell: Cell, inputs: Inputs, run: RunFolder, fingerprint: str, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Train and evaluate a cell, or read it where it is whole already; returns the content of its metrics.json.

    Interrupted, it continues with the candidates that are done and the last whole checkpoint of the one that isn't. `say` is told what is being done. Several processes (see `processes`) call this
    together.
    """
    name = cell.address(fingerprint, inputs.clips, inputs.labels)
    if not on_first(lambda: run.is_whole(name)):
        start = time.perf_counter()
        folder = on_first(lambda: run.begin(name))
        metrics = training.train_and_test(cell, inputs, folder, say)

        def finish() -> None:
            write_json(folder / "metrics.json", metrics | {"hash": name, "seconds": time.perf_counter() - start})
            run.put_in_place(name)

        on_first(finish)
    return on_first(lambda: _whole(cell, run, name))


def _whole(cell: Cell, run: RunFolder, name: str) -> dict[str, Any]:
    """Metrics of a cell that is in place, under the method's name of today."""
    # only now, since a run that is killed before the move starts again from the candidates
    for leftover in run.cell(name).glob("candidate-*"):
        shutil.rmtree(leftover)
    file = run.cell(name) / "metrics.json"
    metrics = read_json(file)
    # a method may have another name than when its cell was trained
    named = metrics | training.names(cell)
    if named != metrics:
        write_json(file, named)
    return named
