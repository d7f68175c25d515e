"""Does it carry speaker or sentence: from the probes."""

from __future__ import annotations

import pandas as pd

from ...store.finished import records
from .answer import Answer, change, interval
from .asked import Asked

CONTENTS = "Does it carry speaker or sentence?"
TARGETS = ("speaker", "sentence")


def contents(asked: Asked) -> Answer:
    """What the adapter made easier or harder to read off the encoder's last stream."""
    table, reasons = asked.table("probes"), asked.table("probe_reasons")
    if table is None and reasons is None:
        return Answer(CONTENTS, None, ("the probes were not taken",), asked.measuring("probes"))
    words, evidence, lacking = [], [], []
    for target in TARGETS:
        rows = _top(table, target)
        if "difference" not in rows:
            evidence.append(f"{target}: {_reason(reasons, target)}")
            lacking.append(_needed(target))
            continue
        words.append(f"{target}: {_verdict(rows)}")
        evidence.append(_told(target, rows) + _of_control(asked, target))
    evidence.append("A probe says what can be read off linearly, not what the model uses")
    return Answer(CONTENTS, "; ".join(words) or None, tuple(evidence), tuple(lacking))


def _top(table: pd.DataFrame | None, target: str) -> dict[str, dict]:
    """The rows of a target at the top depth, by model."""
    if table is None:
        return {}
    rows = table[(table["target"] == target) & (table["depth"] == table["depth"].max())]
    return {row["model"]: row for row in records(rows)}


def _verdict(rows: dict[str, dict]) -> str:
    moved, trained = rows["difference"], rows["trained"]
    less = moved["score_high"] < 0
    more = moved["score_low"] > 0
    change_words = "less than the frozen encoder" if less else "more than the frozen encoder" if more else None
    unclear = "as much as the frozen encoder, as far as can be told"
    carried = "yes" if trained["selectivity_low"] > 0 else "not clearly more than its control task"
    return f"{carried}, {change_words or unclear}"


def _told(target: str, rows: dict[str, dict]) -> str:
    trained, frozen = rows["trained"], rows.get("frozen")
    metric = "UAR" if trained["metric"] == "uar" else "R²"
    before = "" if frozen is None else f" (frozen {frozen['score']:.3f})"
    return (
        f"{target} at depth {int(trained['depth'])}: {metric} {interval(trained, 'score')}{before}, control task "
        f"{trained['control_task']:.3f}; change {change(rows['difference'], 'score')}"
    )


def _of_control(asked: Asked, target: str) -> str:
    rows = _top(asked.run.control("probes"), target)
    found = rows.get("difference")
    return "" if found is None else f"; with shuffled labels {change(found, 'score')}"


def _reason(reasons: pd.DataFrame | None, target: str) -> str:
    rows = [] if reasons is None else records(reasons[reasons["target"] == target])
    return str(rows[0]["reason"]) if rows else "was not probed"


def _needed(target: str) -> str:
    if target == "sentence":
        return "# sentence: a corpus whose clips have a `text`, several speakers saying the same"
    return "# speaker: a corpus whose speakers say the same sentences, by the clips' `text`"
