"""The figures of a run, each drawn from the tables of its folder and written as PDF, SVG and PNG."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

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
    sheet,
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


#: What stands instead of a figure's number where somebody names one: every stem begins with one of these.
STEMS: Mapping[str, str] = {
    "fig1": "contribution",
    "fig2a": "lens",
    "fig2b": "rank_space",
    "fig3": "spectra",
    "fig4": "erasure",
    "fig5": "dial",
    "fig6": "rank_dial",
    "fig7": "patching",
    "fig8": "weights",
    "fig9": "probes",
    "fig10": "frames",
    "fig11": "heads",
    "fig12": "trajectory",
    "fig13": "counterfactual",
    "fig14": "recognition",
    "fig15": "frontier",
    "confusion": "confusion",
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
    files = []
    for stem, figure, words in drawn(folder):
        files += style.save(figure, into, stem, folder.marks, words, formats)
        if first:
            break
    return files


def drawn(folder: FinishedRun, only: Collection[str] = ()) -> Iterator[tuple[str, Figure, str]]:
    """Every figure that a run folder holds, or those of the modules `only`, for the sheet that is drawn for: its stem,
    itself, and what its intervals speak of.
    """
    for module, tables in _MODULES.items():
        if module is confusion and folder.only:
            continue  # of all cells, not of one analysis
        if only and module.__name__.rpartition(".")[2] not in only:
            continue
        words = interval_words(folder.table(stem) for stem in tables)
        if tables and len(folder.shown) > 1:
            words = f"{units_words(folder).rstrip('.')} · {words}"
        # a figure takes the sizes of its letters as it is made; whoever takes them is not to find them changed
        with matplotlib.rc_context(style.RC | sheet.now().rc):
            made = module.figures(folder)
        for stem, figure in made.items():
            yield stem, figure, words
