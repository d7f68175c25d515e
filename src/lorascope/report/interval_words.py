"""What the intervals of a figure speak of, in words for its caption and its page."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ..statistics.intervals import CLIPS, FOLDS, SPEAKERS

#: What it means that an interval speaks of something.
MEANING = {
    SPEAKERS: "others of the same kind",
    FOLDS: "adapters that are trained and tested on other speakers of the same kind",
    "sentences": "others of the same kind, spoken by the same speakers",
    CLIPS: "others of the same speakers, of whom there are too few to tell of further ones",
}


def interval_words(tables: Iterable[pd.DataFrame | None]) -> str:
    """What the intervals of some tables speak of, "" where none says so (a folder made before they did)."""
    columns = [table["interval_of"] for table in tables if table is not None and "interval_of" in table]
    found = {of for column in columns for of in column.dropna().unique() if of}
    return " and ".join(
        f"95 % intervals speak of {of}: {MEANING[of]}" for of in sorted(found, reverse=True) if of in MEANING
    )
