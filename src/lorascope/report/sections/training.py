"""The tab "Training"."""

from __future__ import annotations

from .. import readings
from ..section import Part, Section, of_table

PART = Part(
    "training",
    "Training",
    "The adapter along its training.",
    (
        Section(
            "trajectory",
            "Figure 12: along the training",
            "fig12",
            "Size and direction of the update, what each layer's adapter adds and the lens, over epochs, a line "
            "a layer.",
            ("trajectory_half",),
            (readings.trajectory_reading,),
            tables=lambda folder: of_table(
                folder,
                "trajectory_half",
                "The epoch at which each number was half way to its last value",
                ["quantity", "layer", "module", "half", "half_low", "half_high", "folds", "seeds"],
            ),
            asked=True,
        ),
    ),
)
