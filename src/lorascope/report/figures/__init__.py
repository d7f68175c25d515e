"""The figures of a run, each drawn from the tables of its folder and written as PDF, SVG and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

from ...store.finished import FinishedRun
from ..interval_words import interval_words
from ..unit_words import units_words
from . import (
    confusion,
    contribution,
    counterfactual,
    dial,
    erasure,
    frames,
    frontier,
    heads,
    lens,
    patching,
    probes,
    rank_dial,
    rank_space,
    recognition,
    spectra,
    style,
    trajectory,
    weights,
)

#: The modules in the order of the figures, and the tables whose intervals each shows.
_MODULES = {
    contribution: ("contribution",),
    lens: ("lens",),
    rank_space: ("rank_scores",),
    spectra: ("cka",),
    erasure: ("erasure",),
    dial: ("dial",),
    rank_dial: ("rank_dial",),
    patching: ("patching",),
    weights: (),
    probes: ("probes",),
    frames: ("frame_profile",),
    heads: ("heads",),
    trajectory: (),
    counterfactual: ("counterfactual",),
    recognition: ("recognition",),
    frontier: ("frontier",),
    confusion: (),
}


def draw(
    folder: FinishedRun, into: Path, formats: Sequence[str] = tuple(style.FORMATS), first: bool = False
) -> list[Path]:
    """Write <stem>.{pdf,svg,png} for all that a run folder holds, or with `first` for the first figure alone; return
    the paths in the order of the figures.

    Stems: fig1, fig2a, fig2b, fig3 of the paper, fig4 (erasure), fig5 to fig15 (dials, ranks, patching, weights,
    probes, frames, heads, training, changed sound, recognition, frontier), confusion; a second variant or adapted
    module adds its name (fig2b-released, fig3-q_proj). A figure whose table is missing is not drawn:
    `FinishedRun.missing` says which.
    """
    marks = folder.marks
    files = []
    with matplotlib.rc_context(style.RC):
        for module, tables in _MODULES.items():
            if module is confusion and folder.only:
                continue  # of all cells, not of one analysis
            words = interval_words(folder.table(stem) for stem in tables)
            if tables and len(folder.shown) > 1:
                words = f"{units_words(folder).rstrip('.')} · {words}"
            for stem, figure in module.figures(folder).items():
                files += style.save(figure, into, stem, marks, words, formats)
            if first and files:
                break
    return files
