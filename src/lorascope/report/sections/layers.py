"""The tab "Layers"."""

from __future__ import annotations

from ...store.finished import FinishedRun
from .. import readings
from ..section import Part, Section, Table, of_table, table


def _k90_table(folder: FinishedRun) -> list[Table]:
    summary = folder.table("spectra_summary")
    if summary is None:
        return []
    keys = ["module", "factor", "quantity", "variant", "model"]
    means = (
        summary.groupby(keys, sort=False)[["k90", "participation", "entropy_rank", "trained_ratio"]]
        .mean()
        .reset_index()
    )
    means = means.rename(columns={"trained_ratio": "k90 trained / this"})
    return [table(means, "Effective dimensions, mean over layers", digits=2)]


def _cka_table(folder: FinishedRun) -> list[Table]:
    similarity = folder.table("cka")
    if similarity is None:
        return []
    keys = ["module", "quantity", "pair", "variant", "kernel", "estimator"]
    means = (
        similarity.groupby(keys, sort=False)[["value", "ci_low", "ci_high", "null_low", "null_high"]]
        .mean()
        .reset_index()
    )
    return [table(means, "CKA, mean over layers (of the values and of the ends of their intervals)", digits=2)]


PART = Part(
    "layers",
    "Layers",
    "What changed in each layer, and through which directions.",
    (
        Section(
            "contribution",
            "Figure 1: layer contribution",
            "fig1",
            "Relative norm and cosine of attention, MLP and both, by layer, trained less frozen, in three variants.",
            ("contribution",),
            (readings.contribution_reading,),
        ),
        Section(
            "lens",
            "Figure 2a: logit lens",
            "fig2a",
            "KL from the final answer and overlap with it, by layer, for the released, paper and corrected lens.",
            ("lens",),
            (readings.lens_reading,),
        ),
        Section(
            "spectra",
            "Figure 3: spectra and CKA",
            "fig3",
            "Energy held by the first k directions, trained against random adapters, and CKA of A and B by layer.",
            ("spectra", "spectra_summary", "cka"),
            (readings.spectra_reading, readings.cka_reading),
            ("fig3", "cka"),
            tables=lambda folder: [*_k90_table(folder), *_cka_table(folder)],
        ),
        Section(
            "weights",
            "Figure 8: weights of the update",
            "fig8",
            "Spectrum of ΔW by layer, its share within W's leading subspaces, and intruder dimensions against random "
            "updates.",
            ("weights",),
            (readings.weights_reading, readings.learnt_again_reading),
            ("fig8", "fig8-again"),
            tables=lambda folder: [
                *of_table(
                    folder,
                    "weights",
                    "Every adapted matrix",
                    [
                        "layer",
                        "module",
                        "rank",
                        "norm",
                        "relative_norm",
                        "relative_spectral",
                        "stable_rank",
                        "entropy_rank",
                        "left_share",
                        "left_null_high",
                        "right_share",
                        "right_null_high",
                        "intruders",
                        "intruders_null",
                    ],
                ),
                *of_table(
                    folder,
                    "weight_angles",
                    "Input directions of two layers",
                    ["module", "layer", "other", "mean_cos2", "null", "null_high", "largest_cos", "largest_null"],
                ),
                *of_table(
                    folder,
                    "recurrence",
                    "Input directions of two adapters",
                    [
                        "other",
                        "differ",
                        "start",
                        "module",
                        "layer",
                        "directions",
                        "mean_cos2",
                        "lowest",
                        "highest",
                        "null",
                        "null_high",
                        "above",
                        "largest_cos",
                        "largest_null",
                        "pairs",
                    ],
                ),
            ],
            asked=True,
        ),
    ),
)
