"""Statements on what can be read off the stream (probes at every depth)."""

from __future__ import annotations

from ..setting import BOTH, SHUFFLED, TEST, TRAINED, Setting, Unit
from ..statement import ONE_WAY, Lacking, Part, Statement

#: What is irrelevant to an emotion, and the clips that each is asked of: speakers must be several.
IRRELEVANT = {"speaker": BOTH, "sentence": TEST, "gender": TEST}


def change(setting: Setting, unit: Unit, target: str, adapter: str = TRAINED, clips: str = TEST) -> float:
    """Adapted less frozen: selectivity of the probe for a target, mean over the outputs of the top third's blocks."""
    table = setting.table(unit, "probes", adapter, clips)
    depths = setting.layers + 1
    found = setting.curve(unit, table, "selectivity", depths, by="depth", target=target, model="difference")
    return setting.top(found)


def asked(setting: Setting) -> tuple[str, ...]:
    """The irrelevant targets that could be asked in every unit, of adapter and control. Raises `Lacking` where speaker
    is not among them, for which there is always a way.
    """

    def could(target: str, clips: str) -> bool:
        for unit in setting.units:
            for adapter in (TRAINED, SHUFFLED):
                table = setting.table(unit, "probes", adapter, clips)
                if not (table["target"] == target).any():
                    return False
        return True

    if not could("speaker", IRRELEVANT["speaker"]):
        raise Lacking(
            "the speaker could not be probed: each needs clips of several sentences",
            ("analysis:", f"  clips_from: {BOTH}", "  clips_per_class: 100"),
        )
    return tuple(target for target, clips in IRRELEVANT.items() if could(target, clips))


def suppressed(setting: Setting, unit: Unit, variant: str) -> float:
    """Mean over targets of the change in selectivity, less the same of the control."""
    targets = setting.once("asked", lambda: asked(setting))
    changes = [
        change(setting, unit, target, TRAINED, IRRELEVANT[target])
        - change(setting, unit, target, SHUFFLED, IRRELEVANT[target])
        for target in targets
    ]
    return sum(changes) / len(changes)


def kept(setting: Setting, unit: Unit, variant: str) -> float:
    """Change in selectivity of the emotion probe."""
    table = setting.table(unit, "probes")
    if not (table["target"] == "emotion").any():
        raise Lacking(
            f"{unit.words}: emotion could not be probed: speakers are held out, and one alone is tested",
            ("folds:", "  protocol: speaker_groups", "  groups: 5"),
        )
    return change(setting, unit, "emotion")


STATEMENTS = (
    Statement(
        "k",
        "readability",
        "What is irrelevant to emotion is suppressed",
        (
            Part(
                "top third: change in selectivity for speaker, sentence and gender, − shuffled's",
                -1,
                "frozen, shuffled",
                suppressed,
            ),
        ),
        ("probes",),
        ONE_WAY,
    ),
    Statement(
        "k'",
        "readability",
        "Emotion is kept or strengthened meanwhile",
        (Part("top third: change in selectivity for emotion", 1, "frozen", kept),),
        ("probes",),
        ONE_WAY,
    ),
)
