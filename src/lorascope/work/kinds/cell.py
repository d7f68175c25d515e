"""A trained cell as a unit of work: built beside its place, sealed, moved there when it is whole, and never written to
again; read where it is whole already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ...experiment.planning import Cell
from ...machine.processes import on_first
from ...store.folder import RunFolder
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
    whole = on_first(lambda: run.cells.take_up(name, say))
    return read_cell(cell, run, name) if whole else compute_cell(cell, inputs, run, name, say)


def compute_cell(
    cell: Cell, inputs: Inputs, run: RunFolder, name: str, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Train and evaluate a cell whose address is `name`; returns as `run_cell` does.

    Interrupted, it continues with the candidates that are done and the last whole checkpoint of the one that isn't.
    """
    start = time.perf_counter()
    folder = on_first(lambda: run.cells.begin(name))
    metrics = training.train_and_test(cell, inputs, folder, say)
    on_first(lambda: run.cells.finish(name, metrics | {"seconds": time.perf_counter() - start}))
    return read_cell(cell, run, name)


def read_cell(cell: Cell, run: RunFolder, name: str) -> dict[str, Any]:
    """Metrics of a cell that is whole in its place, under the names of today: it may have had others when it was
    trained, or have others in another experiment.
    """

    def read() -> dict[str, Any]:
        run.cells.tidy(name)
        return run.cells.read(name) | training.names(cell)

    return on_first(read)
