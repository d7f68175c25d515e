"""The figures of the page, each said once as axes, curves and choices (`spec`), a file a figure or a family of them.

To add one: a function from a folder to a `Plot`, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...store.finished import FinishedRun
from . import (
    causes,
    cka,
    confusion,
    contribution,
    frames,
    heads,
    hearing,
    lens,
    probes,
    rank_space,
    spectra,
    trajectory,
    weights,
)
from .spec import Plot

_PLOTS: tuple[Callable[[FinishedRun], Plot | None], ...] = (
    contribution.plot,
    lens.plot,
    rank_space.plot,
    spectra.plot,
    cka.plot,
    causes.erasure,
    causes.dial,
    causes.rank_dial,
    causes.patching,
    weights.plot,
    weights.again,
    probes.plot,
    frames.plot,
    heads.plot,
    trajectory.plot,
    hearing.counterfactual,
    hearing.recognition,
    hearing.frontier,
    confusion.plot,
)


def plots(folder: FinishedRun) -> Mapping[str, Plot]:
    """The figures that a folder holds, by their stems."""
    made = (plot(folder) for plot in _PLOTS)
    return {plot.stem: plot for plot in made if plot is not None}
