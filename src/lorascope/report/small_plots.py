"""Small drawings for the page's first screen: a value with its interval a row, or a value a layer, as positions in per
cent of the drawing, which the template turns into SVG.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: With more rows the drawing would be larger than what it illustrates.
MOST_ROWS = 6


@dataclass(frozen=True)
class Value:
    """A number to be drawn: its name, its ends where it has any, and whether the sentence is about it."""

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    main: bool = False


@dataclass(frozen=True)
class Mark:
    """Where a value lies, in per cent of the axis; `low` and `high` are None without an interval. `number` is the value
    as text.
    """

    name: str
    at: float
    low: float | None
    high: float | None
    main: bool
    number: str


@dataclass(frozen=True)
class Drawing:
    """Marks on one axis. `kind` is "rows" (one below the other) or "layers" (side by side, standing on `line`);
    `line` is where a number to compare with lies (chance, no change), called `line_name`. `words` tell a screen reader
    everything that is drawn.
    """

    kind: str
    marks: tuple[Mark, ...]
    line: float | None
    line_name: str
    words: str


def drawing(
    kind: str, values: Sequence[Value], line: float | None = None, line_name: str = "", signed: bool = False
) -> Drawing | None:
    """The drawing of the values that are known, None where none is; rows beyond `MOST_ROWS` are left out but for the
    main ones.
    """
    known = [value for value in values if math.isfinite(value.value)]
    if kind == "rows" and len(known) > MOST_ROWS:
        room = MOST_ROWS - sum(value.main for value in known)
        others = {id(value) for value in [value for value in known if not value.main][:room]}
        known = [value for value in known if value.main or id(value) in others]
    if not known:
        return None
    ends = [end for value in known for end in (value.value, value.low, value.high) if math.isfinite(end)]
    ends += [] if line is None else [line]
    lowest, highest = min(ends), max(ends)
    room = (highest - lowest or 1.0) * 0.06
    lowest, highest = lowest - room, highest + room

    def place(number: float) -> float:
        return round(100 * (number - lowest) / (highest - lowest), 2)

    def number(value: Value) -> str:
        return f"{value.value:{'+' if signed else ''}.3f}".replace("-", "−")

    marks = tuple(
        Mark(
            value.name,
            place(value.value),
            place(value.low) if math.isfinite(value.low) else None,
            place(value.high) if math.isfinite(value.high) else None,
            value.main,
            number(value),
        )
        for value in known
    )
    words = "; ".join(f"{mark.name}: {mark.number}" for mark in marks)
    words += f"; {line_name}: {line:.3f}" if line is not None and line_name else ""
    return Drawing(kind, marks, None if line is None else place(line), line_name, words)
