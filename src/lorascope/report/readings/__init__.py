"""Says in plain sentences what each figure's numbers show, and no more than they show.

A difference whose 95 % interval holds zero is called "no clear difference"; two values with an interval each are told
apart only where the intervals do not touch. Every sentence is computed from the tables that the figure is drawn from.
"""

from __future__ import annotations

from .adapter import cka_reading, ranks_reading, spectra_reading
from .causes import (
    dial_reading,
    frames_reading,
    heads_reading,
    learnt_again_reading,
    patching_reading,
    probes_reading,
    rank_dial_reading,
    weights_reading,
)
from .encoder import contribution_reading, erasure_reading, lens_reading
from .hearing import counterfactual_reading, frontier_reading, recognition_reading
from .training import trajectory_reading

__all__ = [
    "cka_reading",
    "contribution_reading",
    "counterfactual_reading",
    "dial_reading",
    "erasure_reading",
    "frames_reading",
    "frontier_reading",
    "heads_reading",
    "learnt_again_reading",
    "lens_reading",
    "patching_reading",
    "probes_reading",
    "rank_dial_reading",
    "ranks_reading",
    "recognition_reading",
    "spectra_reading",
    "trajectory_reading",
    "weights_reading",
]
