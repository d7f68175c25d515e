"""Tables as other programs write them: encodings, separators, decimal commas and times, each told when
it is not the usual one.
"""

from __future__ import annotations

import codecs
import re
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
#: `0 days 00:00:01.2`, as pandas (so audformat and nkululeko) writes a time.
_TIME = re.compile(r"(\d+) days?(?: (\d+):(\d\d):(\d\d(?:\.\d+)?))?")


def decode(data: bytes) -> tuple[str, str | None]:
    """Text and, where it is not UTF-8, the name of its encoding: UTF-16 (Excel's "Unicode text") or Windows-1252.

    Most certain first: UTF-16 tells itself by its mark, and hardly any text of another encoding is valid UTF-8. Raises
    `UnicodeDecodeError` where it is none of them.

    >>> decode("Jürgen".encode("utf-16"))
    ('Jürgen', 'UTF-16')
    >>> decode("Jürgen".encode("cp1252"))
    ('Jürgen', 'Windows-1252')
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16"), "UTF-16"
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError:
        return data.decode("cp1252"), "Windows-1252"


def separator(header: str, usual: str) -> str:
    """What stands between a header's cells: `usual`, unless there is more of another.

    >>> separator("path;speaker", ",")
    ';'
    """
    return max(SEPARATORS, key=lambda sign: (header.count(sign), sign == usual))


def seconds(column: pd.Series, commas: bool) -> tuple[pd.Series, str | None]:
    """A column of numbers or times as seconds, NaN where empty and infinite where it is neither, and what it was
    where not plain numbers.

    `commas`: whether a comma may be a decimal one, which it can't be where it parts the cells. A column with a point
    anywhere has none.

    >>> seconds(pd.Series(["0 days 00:00:01.2", "0 days", None]), False)[0].tolist()
    [1.2, 0.0, nan]
    >>> seconds(pd.Series(["1,25", "3"]), True)
    (0    1.25
    1    3.00
    dtype: float64, 'decimal commas')
    """
    cells = list(column)
    texts = [cell for cell in cells if isinstance(cell, str)]
    comma = commas and any(_DECIMAL_COMMA.fullmatch(text) for text in texts) and not any("." in text for text in texts)
    if comma:
        cells = [cell.replace(",", ".") if isinstance(cell, str) and cell.count(",") == 1 else cell for cell in cells]
    times = any(isinstance(cell, timedelta) or (isinstance(cell, str) and _TIME.fullmatch(cell)) for cell in cells)
    found = pd.Series([_seconds(cell) for cell in cells], index=column.index, dtype=float)
    return found, "times" if times else "decimal commas" if comma else None


def _seconds(cell: Any) -> float:
    if pd.isna(cell) or cell == "NaT":
        return np.nan
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if time := _TIME.fullmatch(str(cell)):
        days, hours, minutes, rest = time.groups(default="0")
        return float(days) * 86_400 + float(hours) * 3600 + float(minutes) * 60 + float(rest)
    return float(cell) if _NUMBER.fullmatch(str(cell)) else np.inf
