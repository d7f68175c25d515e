"""Table 1 of a whole sweep: the rows of its experiments, with a column for each axis."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from ..experiment.grid import Sweep
from ..store.folder import write_text
from ..work.journal import SweepFolder
from .folder import RunFolder
from .tables import HEADS, formatted, notes


def write_table(sweep: Sweep, folder: SweepFolder, finished: Collection[str]) -> Path | None:
    """Write table1.csv and table1.md of the experiments that are `finished`, and return the second's path; None where none has a Table 1.

    The others are named below the table.
    """
    tables, rows, under, lacking = [], [], {}, []
    for variant in sweep.variants:
        run = folder.experiment(variant.slug).root
        file = run / "table1.csv"
        if variant.slug not in finished or not file.is_file():
            lacking.append(variant.slug)
            continue
        table = pd.read_csv(file, dtype={"optimistic": str}).fillna({"optimistic": ""})
        values = [variant.values[axis] for axis in sweep.axes]
        for place, axis in enumerate(sweep.axes):
            # an axis may bear the name of a column
            table.insert(place, axis if axis not in table else f"axis {axis}", values[place])
        tables.append(table)
        under |= dict.fromkeys(notes(table, RunFolder(run).marks))
        rows += [[*values, *row] for row in formatted(table)]
    if not tables:
        return None
    heads = [*sweep.axes, *HEADS]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * (len(sweep.axes) + 2) + "---:|" * (len(HEADS) - 2)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    if lacking:
        under[f"Not finished: {', '.join(lacking)}."] = None
    write_text(
        folder.root / "table1.csv", pd.concat(tables, ignore_index=True).to_csv(index=False, lineterminator="\n")
    )
    write_text(folder.root / "table1.md", "\n".join([*lines, "", *(f"{note}\n" for note in under)]))
    return folder.root / "table1.md"
