"""A trained cell as a unit of work: built beside its place, sealed, moved there when it is whole, and never written to
again; read where it is whole already.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from ...experiment.planning import Cell
from ...machine.processes import on_first
from ...store.folder import METRICS, RunFolder, read_json
from ...training import cell as training
from ...training.inputs import Inputs


def run_cell(
    cell: Cell, inputs: Inputs, run: RunFolder, fingerprint: str, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """A cell's metrics, and what it is called in its experiment: read where it is whole already, else computed.

    A cell whose seal is broken is computed again. `say` is told what is being done. Several processes (see `processes`)
    call this together.
    """
    name = cell.address(fingerprint, inputs.clips, inputs.labels)
    whole = on_first(lambda: take_up(run, name, say))
    return read_cell(cell, run, name) if whole else compute_cell(cell, inputs, run, name, say)


def compute_cell(
    cell: Cell, inputs: Inputs, run: RunFolder, name: str, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Train and evaluate a cell whose address is `name`; returns as `run_cell` does.

    Interrupted, it continues with the candidates that are done and the last whole checkpoint of the one that isn't.
    """
    start = time.perf_counter()
    folder = on_first(lambda: run.begin(name))
    metrics = training.train_and_test(cell, inputs, folder, say)
    on_first(lambda: run.finish(name, metrics | {"seconds": time.perf_counter() - start}))
    return read_cell(cell, run, name)


def read_cell(cell: Cell, run: RunFolder, name: str) -> dict[str, Any]:
    """Metrics of a cell that is whole in its place, under the names of today: it may have had others when it was
    trained, or have others in another experiment.
    """

    def read() -> dict[str, Any]:
        # only now, since a run that is killed before the move starts again from the candidates
        for leftover in run.cell(name).glob("candidate-*"):
            shutil.rmtree(leftover)
        return read_json(run.cell(name) / METRICS) | training.names(cell)

    return on_first(read)


def take_up(run: RunFolder, name: str, say: Callable[[str], None], building: bool = False) -> bool:
    """Whether a cell is whole in its place, every byte of it; one that was built and not moved is moved now, unless
    another is `building` it. What is wrong with it is told.
    """
    sealed = run.is_sealed(name)
    fault = run.fault_of(name)
    if fault is not None:
        say(f"cells/{name}: {fault}; the cell is computed again")
    elif not sealed and run.is_sealed(name):
        say(f"cells/{name}: had no seal (made by an earlier version); sealed as it was found")
    if fault is None and run.is_whole(name):
        return True
    if not building and run.is_built(name):
        run.put_in_place(name)
        return True
    return False
