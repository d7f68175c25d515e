"""What a part of the page is that shows a figure, and how a frame becomes a table of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..store.finished import FinishedRun

Table = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One figure's part of the page. `how` names the macro that explains it; `needs` the tables without which there is
    nothing to show; `asked` says that a config must name its measure. `plots` are the stems of what may
    be explored there: by default that of the figure.
    """

    id: str
    title: str
    stem: str
    alt: str
    needs: tuple[str, ...]
    read: tuple[Callable[[FinishedRun], list[str]], ...]
    plots: tuple[str, ...] = ()
    tables: Callable[[FinishedRun], list[Table]] = field(default=lambda _: [])
    asked: bool = False

    def shown(self, folder: FinishedRun) -> bool:
        """Whether the page has this section: only where its measure was asked for."""
        if any(folder.table(stem) is not None or stem in folder.left_out for stem in self.needs):
            return True
        return not self.asked and any(folder.asked_for(stem) for stem in self.needs)


@dataclass(frozen=True)
class Part:
    """A tab of the page: its `title`, what its sections are about in `words`, and these."""

    id: str
    title: str
    words: str
    sections: tuple[Section, ...]


def of_table(folder: FinishedRun, stem: str, caption: str, columns: list[str]) -> list[Table]:
    """A run's table as one of the page, none where it was not measured."""
    frame = folder.table(stem)
    return [] if frame is None else [table(frame[columns], caption)]


def table(frame: pd.DataFrame, caption: str, digits: int = 3) -> Table:
    """A frame as the template's table: heads, and rows of (text, value to sort by, whether it is a number)."""
    rows = [[_cell(value, digits) for value in row] for row in frame.itertuples(index=False, name=None)]
    return {"caption": caption, "heads": [str(column) for column in frame.columns], "rows": rows}


def _cell(value: Any, digits: int) -> tuple[str, str, bool]:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–", "", True
    if isinstance(value, bool):
        return ("yes" if value else "no"), str(value), False
    if isinstance(value, float):
        shown = f"{value:.{digits}f}" if abs(value) >= 10**-digits or value == 0 else f"{value:.2g}"
        return shown.replace("-", "−") if "e" not in shown else shown, repr(value), True
    if hasattr(value, "__index__"):
        return f"{value:,}", str(value), True
    return str(value), str(value), False
