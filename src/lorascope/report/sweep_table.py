"""Table 1 of a whole sweep: the rows of its experiments, with a column for each axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..store.finished import FinishedRun
from ..store.folder import write_text
from .tables import HEADS, formatted, latex_table, markdown_table, notes


def write_table(
    axes: Sequence[str], experiments: Mapping[str, Mapping[str, Any]], runs: Mapping[str, Path], folder: Path
) -> Path | None:
    """Write table1.{csv,md,tex} of a sweep into `folder`, and return the second's path; None where there is no Table 1.

    `experiments` are the values of the `axes` by an experiment's name, `runs` the folders of those that are finished.
    The others are named below the table.
    """
    tables, rows, under, lacking = [], [], {}, []
    for name, of_axes in experiments.items():
        run = runs.get(name)
        if run is None or not (run / "table1.csv").is_file():
            lacking.append(name)
            continue
        file = run / "table1.csv"
        table = pd.read_csv(file, dtype={"optimistic": str}).fillna({"optimistic": ""})
        values = [of_axes[axis] for axis in axes]
        for place, axis in enumerate(axes):
            # an axis may bear the name of a column
            table.insert(place, axis if axis not in table else f"axis {axis}", values[place])
        tables.append(table)
        under |= dict.fromkeys(notes(table, FinishedRun(run).marks))
        rows += [[*values, *row] for row in formatted(table)]
    if not tables:
        return None
    heads = [*axes, *HEADS]
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [place >= len(axes) + 2 for place in range(len(heads))]
    if lacking:
        under[f"Not finished: {', '.join(lacking)}."] = None
    write_text(folder / "table1.csv", pd.concat(tables, ignore_index=True).to_csv(index=False, lineterminator="\n"))
    write_text(folder / "table1.md", markdown_table(heads, cells, numeric, list(under)))
    caption = "The experiments of the sweep on unseen speakers (mean ± standard deviation over folds)."
    write_text(folder / "table1.tex", latex_table(heads, cells, numeric, caption, list(under)))
    return folder / "table1.md"
