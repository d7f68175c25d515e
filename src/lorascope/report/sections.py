"""The parts of the page that show a figure each: their words, what they need, and the tables that stand below."""

from __future__ import annotations

from ..store.finished import FinishedRun
from . import readings
from .section import Section, Table, table


def _score_table(folder: FinishedRun) -> list[Table]:
    scores = folder.table("rank_scores")
    if scores is None:
        return []
    columns = ["model", "rank", "layer", "module", "variant", "silhouette", "silhouette_null", "knn", "knn_null"]
    columns += ["probe_uar", "probe_low", "probe_high"]
    return [table(scores[columns], "Separation of the classes in rank space, beside what shuffled labels give (null)")]


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


def _of_table(folder: FinishedRun, stem: str, caption: str, columns: list[str]) -> list[Table]:
    frame = folder.table(stem)
    return [] if frame is None else [table(frame[columns], caption)]


#: The tabs that hold sections, in their order, and what each is about.
PARTS = {
    "layers": ("Layers", "What changed in each layer, and through which directions."),
    "rank-space": ("Rank space", "Where the clips lie in the adapter's own directions."),
    "causal": ("Causes", "What happens to the answer when the adapter is turned, cut, patched or left out."),
    "hears": (
        "What it hears",
        "What can be read off the streams, where in time, which cues matter, what is still heard.",
    ),
    "training": ("Training", "The adapter along its training."),
}

SECTIONS = (
    Section(
        "contribution",
        "Figure 1: layer contribution",
        "fig1",
        "Relative norm and cosine of attention, MLP and both, by layer, trained less frozen, in three variants.",
        ("contribution",),
        (readings.contribution_reading,),
        "layers",
    ),
    Section(
        "lens",
        "Figure 2a: logit lens",
        "fig2a",
        "KL from the final answer and overlap with it, by layer, for the released, paper and corrected lens.",
        ("lens",),
        (readings.lens_reading,),
        "layers",
    ),
    Section(
        "ranks",
        "Figure 2b: rank space",
        "fig2b",
        "Each clip as a point in the adapter's rank space, a row a rank, a column a depth, coloured by class.",
        ("ranks", "rank_scores"),
        (readings.ranks_reading,),
        "rank-space",
        tables=_score_table,
    ),
    Section(
        "spectra",
        "Figure 3: spectra and CKA",
        "fig3",
        "Energy held by the first k directions, trained against random adapters, and CKA of A and B by layer.",
        ("spectra", "spectra_summary", "cka"),
        (readings.spectra_reading, readings.cka_reading),
        "layers",
        ("fig3", "cka"),
        tables=lambda folder: [*_k90_table(folder), *_cka_table(folder)],
    ),
    Section(
        "erasure",
        "Figure 4: erasure",
        "fig4",
        "Change in UAR, loss and confidence when a block, or all blocks up to it, is skipped.",
        ("erasure",),
        (readings.erasure_reading,),
        "causal",
    ),
    Section(
        "dial",
        "Figure 5: dials",
        "fig5",
        "UAR with the whole adapter times α, with one block off or alone on, and with the first or last k blocks on.",
        ("dial",),
        (readings.dial_reading,),
        "causal",
        tables=lambda folder: _of_table(
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
        "causal",
        tables=lambda folder: _of_table(
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
        "causal",
        tables=lambda folder: _of_table(
            folder,
            "patching",
            "Every patch",
            ["receiver", "part", "layer", "moved", "moved_low", "moved_high", "share", "share_low", "share_high"],
        ),
        asked=True,
    ),
    Section(
        "weights",
        "Figure 8: weights of the update",
        "fig8",
        "Spectrum of ΔW by layer, its share within W's leading subspaces, and intruder dimensions against random "
        "updates.",
        ("weights",),
        (readings.weights_reading, readings.learnt_again_reading),
        "layers",
        ("fig8", "fig8-again"),
        tables=lambda folder: [
            *_of_table(
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
            *_of_table(
                folder,
                "weight_angles",
                "Input directions of two layers",
                ["module", "layer", "other", "mean_cos2", "null", "null_high", "largest_cos", "largest_null"],
            ),
            *_of_table(
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
    Section(
        "probes",
        "Figure 9: probes",
        "fig9",
        "How well a linear probe reads each target off the stream at every depth, frozen and trained, beside its "
        "control.",
        ("probes",),
        (readings.probes_reading,),
        "hears",
        tables=lambda folder: _of_table(
            folder,
            "probes",
            "Every probe",
            [
                "target",
                "model",
                "depth",
                "metric",
                "score",
                "score_low",
                "score_high",
                "control_task",
                "control_task_high",
                "clips",
            ],
        ),
        asked=True,
    ),
    Section(
        "frames",
        "Figure 10: frame lens",
        "fig10",
        "What each tenth of a clip gives to the gold class at the top, and the share of frames that make half, by "
        "depth.",
        ("frame_profile", "frame_focus"),
        (readings.frames_reading,),
        "hears",
        asked=True,
    ),
    Section(
        "heads",
        "Figure 11: attention heads",
        "fig11",
        "Direct contribution of every attention head to the gold class, by layer; dots where it lies outside its null.",
        ("heads",),
        (readings.heads_reading,),
        "hears",
        asked=True,
    ),
    Section(
        "trajectory",
        "Figure 12: along the training",
        "fig12",
        "Size and direction of the update, what each layer's adapter adds and the lens, over epochs, a line a layer.",
        ("trajectory_half",),
        (readings.trajectory_reading,),
        "training",
        tables=lambda folder: _of_table(
            folder,
            "trajectory_half",
            "The epoch at which each number was half way to its last value",
            ["quantity", "layer", "module", "half", "half_low", "half_high", "folds", "seeds"],
        ),
        asked=True,
    ),
    Section(
        "counterfactual",
        "Figure 13: changed sound",
        "fig13",
        "Flipped answers, change of UAR and of the gold class' probability for each cue that is changed, frozen and "
        "trained.",
        ("counterfactual",),
        (readings.counterfactual_reading,),
        "hears",
        tables=lambda folder: _of_table(
            folder,
            "counterfactual",
            "Every change",
            [
                "change",
                "model",
                "uar",
                "gold",
                "flipped",
                "flipped_low",
                "flipped_high",
                "delta_uar",
                "delta_uar_low",
                "delta_uar_high",
                "delta_gold",
                "delta_gold_low",
                "delta_gold_high",
                "clips",
                "unvoiced",
            ],
        ),
        asked=True,
    ),
    Section(
        "recognition",
        "Figure 14: speech recognition kept",
        "fig14",
        "Word and character error rates of Whisper's decoder with the bare and the adapted encoder, by class.",
        ("recognition",),
        (readings.recognition_reading,),
        "hears",
        tables=lambda folder: _of_table(
            folder,
            "recognition",
            "Every error rate",
            [
                "quantity",
                "against",
                "model",
                "emotion",
                "rate",
                "rate_low",
                "rate_high",
                "errors",
                "units",
                "exact",
                "clips",
                "note",
            ],
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
        "causal",
        tables=lambda folder: [
            *_of_table(
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
            *_of_table(
                folder,
                "frontier_blocks",
                "One α a block, as both halves chose",
                ["layer", "alpha", "lowest", "highest"],
            ),
        ],
        asked=True,
    ),
)
