"""The rows of a table as curves over layers: what is a mean of several analyses, and where layers are missing."""

from __future__ import annotations

import pandas as pd


def means(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of `FinishedRun.curves` that are no single unit's."""
    return table[table["unit"] == ""] if "unit" in table else table


def gapped(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows in order of `layer`, with an empty one for each layer between them that has none."""
    rows = rows.sort_values("layer")
    if rows.empty:
        return rows
    between = range(int(rows["layer"].iloc[0]), int(rows["layer"].iloc[-1]) + 1)
    return rows if len(between) == len(rows) else rows.set_index("layer").reindex(between).reset_index()
