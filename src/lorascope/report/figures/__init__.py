"""The figures of a run, each drawn from the tables of its folder and written as PDF, SVG and PNG."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from ...store.finished import FinishedRun
from ..interval_words import interval_words
from . import (
    confusion,
    contribution,
    dial,
    erasure,
    frames,
    heads,
    lens,
    patching,
    probes,
    rank_dial,
    rank_space,
    spectra,
    style,
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
    confusion: (),
}


def draw(run: Path) -> list[Path]:
    """Write figures/<stem>.{pdf,svg,png} for all that the run folder holds; return the paths in the order of the figures.

    Stems: fig1, fig2a, fig2b, fig3 of the paper, fig4 (erasure), fig5 to fig11 (dials, ranks, patching, weights, probes, frames, heads), confusion;
    a second variant or adapted module adds its name (fig2b-released, fig3-q_proj). A figure whose table is missing is not drawn: `FinishedRun.missing` says which.
    """
    folder = FinishedRun(run)
    marks = folder.marks
    files = []
    with matplotlib.rc_context(style.RC):
        for module, tables in _MODULES.items():
            words = interval_words(folder.table(stem) for stem in tables)
            for stem, figure in module.figures(folder).items():
                files += style.save(figure, run / "figures", stem, marks, words)
    return files
