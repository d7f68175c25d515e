"""The tab "What it hears"."""

from __future__ import annotations

from .. import readings
from ..section import Part, Section, of_table

PART = Part(
    "hears",
    "What it hears",
    "What can be read off the streams, where in time, which cues matter, what is still heard.",
    (
        Section(
            "probes",
            "Figure 9: probes",
            "fig9",
            "How well a linear probe reads each target off the stream at every depth, frozen and trained, beside its "
            "control.",
            ("probes",),
            (readings.probes_reading,),
            tables=lambda folder: of_table(
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
            asked=True,
        ),
        Section(
            "heads",
            "Figure 11: attention heads",
            "fig11",
            "Direct contribution of every attention head to the gold class, by layer; dots where it lies outside "
            "its null.",
            ("heads",),
            (readings.heads_reading,),
            asked=True,
        ),
        Section(
            "counterfactual",
            "Figure 13: changed sound",
            "fig13",
            "Flipped answers, change of UAR and of the gold class' probability for each cue that is changed, "
            "frozen and "
            "trained.",
            ("counterfactual",),
            (readings.counterfactual_reading,),
            tables=lambda folder: of_table(
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
            tables=lambda folder: of_table(
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
    ),
)
