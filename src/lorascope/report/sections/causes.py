"""The tab "Causes"."""

from __future__ import annotations

from .. import readings
from ..section import Part, Section, of_table

PART = Part(
    "causal",
    "Causes",
    "What happens to the answer when the adapter is turned, cut, patched or left out.",
    (
        Section(
            "erasure",
            "Figure 4: erasure",
            "fig4",
            "Change in UAR, loss and confidence when a block, or all blocks up to it, is skipped.",
            ("erasure",),
            (readings.erasure_reading,),
        ),
        Section(
            "dial",
            "Figure 5: dials",
            "fig5",
            "UAR with the whole adapter times α, with one block off or alone on, and with the first or last k "
            "blocks on.",
            ("dial",),
            (readings.dial_reading,),
            tables=lambda folder: of_table(
                folder,
                "dial",
                "Every turn of the dials",
                [
                    "dial",
                    "at",
                    "module",
                    "alpha",
                    "uar",
                    "loss",
                    "kl",
                    "flipped",
                    "delta_uar",
                    "delta_uar_low",
                    "delta_uar_high",
                ],
            ),
            asked=True,
        ),
        Section(
            "rank_dial",
            "Figure 6: rank dial",
            "fig6",
            "UAR, loss and flipped answers over the share of directions kept: those with the largest σ, and as many at "
            "random.",
            ("rank_dial",),
            (readings.rank_dial_reading,),
            tables=lambda folder: of_table(
                folder,
                "rank_dial",
                "Every cut",
                [
                    "way",
                    "share",
                    "draw",
                    "directions",
                    "energy",
                    "uar",
                    "loss",
                    "kl",
                    "flipped",
                    "delta_uar",
                    "delta_uar_low",
                    "delta_uar_high",
                ],
            ),
            asked=True,
        ),
        Section(
            "patching",
            "Figure 7: patching",
            "fig7",
            "Share of the difference in margin that moves with the residual stream, attention or MLP of each layer.",
            ("patching",),
            (readings.patching_reading,),
            tables=lambda folder: of_table(
                folder,
                "patching",
                "Every patch",
                ["receiver", "part", "layer", "moved", "moved_low", "moved_high", "share", "share_low", "share_high"],
            ),
            asked=True,
        ),
        Section(
            "frontier",
            "Figure 15: gain against recognition",
            "fig15",
            "UAR over word error rate for every setting of the dials, those that nothing beats filled; both over α.",
            ("frontier",),
            (readings.frontier_reading,),
            tables=lambda folder: [
                *of_table(
                    folder,
                    "frontier",
                    "Every setting",
                    [
                        "dial",
                        "alpha",
                        "last_alpha",
                        "share",
                        "uar",
                        "uar_low",
                        "uar_high",
                        "wer",
                        "wer_low",
                        "wer_high",
                        "delta_uar",
                        "delta_wer",
                        "pareto",
                    ],
                ),
                *of_table(
                    folder,
                    "frontier_blocks",
                    "One α a block, as both halves chose",
                    ["layer", "alpha", "lowest", "highest"],
                ),
            ],
            asked=True,
        ),
    ),
)
