"""What of speech recognition is left: from the transcripts of Whisper's own decoder."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...store.finished import records
from .answer import Answer, change, interval
from .asked import Asked

RECOGNITION = "What of speech recognition is left?"
TEXT, BARE = "text", "bare transcript"


def recognition(asked: Asked) -> Answer:
    """How many more words Whisper's decoder mistakes with the adapted encoder than with the bare one."""
    table = asked.table("recognition")
    if table is None:
        why = asked.why_left_out("recognition")
        if why is not None:
            return Answer(RECOGNITION, None, (f"transcripts cannot be had: {why}",))
        return Answer(RECOGNITION, None, ("no transcripts were taken",), asked.measuring("recognition"))
    rows = _rows(table)
    between = rows.get((BARE, "trained"))
    evidence = []
    told, moved = rows.get((TEXT, "trained")), rows.get((TEXT, "difference"))
    if told is None or moved is None or told["rate"] != told["rate"]:
        note = "there is no text to compare with" if told is None else told["note"]
        evidence.append(f"Against the text there is no rate: {note}")
        moved = None
    else:
        bare = rows[TEXT, "frozen"]
        evidence.append(
            f"Word error rate against the text: bare encoder {interval(bare, 'rate')}, adapted "
            f"{interval(told, 'rate')}; change {change(moved, 'rate')}" + _of_control(asked)
        )
    if between is None or between["rate"] != between["rate"]:
        note = "there are no transcripts to compare" if between is None else between["note"]
        return Answer(
            RECOGNITION, None, (*evidence, f"Against the bare encoder's transcripts there is no rate: {note}")
        )
    evidence.append(
        f"Against the bare encoder's transcripts: {interval(between, 'rate')}; {between['exact']:.0%} of the clips are "
        "written down alike"
    )
    evidence.append("Turning the adapter down keeps more of it: the measure frontier shows what that costs in UAR")
    return Answer(RECOGNITION, _verdict(moved, between), tuple(evidence))


def _verdict(moved: dict[str, Any] | None, between: dict[str, Any]) -> str | None:
    if moved is None:
        return f"{between['rate']:.1%} of the words are written down otherwise than with the bare encoder"
    if moved["rate_low"] != moved["rate_low"]:
        return None
    if moved["rate_low"] > 0:
        return f"less: {moved['rate']:.1%} more of the words are mistaken"
    if moved["rate_high"] < 0:
        return f"more than before: {-moved['rate']:.1%} fewer of the words are mistaken"
    return f"as much as before, as far as can be told (at most {moved['rate_high']:.1%} more of the words are mistaken)"


def _of_control(asked: Asked) -> str:
    moved = _rows(asked.run.control("recognition")).get((TEXT, "difference"))
    return "" if moved is None or moved["rate"] != moved["rate"] else f"; with shuffled labels {change(moved, 'rate')}"


def _rows(table: pd.DataFrame | None) -> dict[tuple[str, str], dict[str, Any]]:
    """Word error rates of all clips, by what they are held against and model."""
    if table is None:
        return {}
    rows = table[(table["quantity"] == "wer") & (table["emotion"] == "")]
    return {(row["against"], row["model"]): row for row in records(rows)}
