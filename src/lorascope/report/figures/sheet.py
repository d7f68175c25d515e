"""What a figure is drawn for: the report's page, a column of a paper, a slide, or axes that somebody gives."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from ...errors import LorascopeError

#: Widths of the report's figures, inches.
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.1


@dataclass
class Onto:
    """Axes that somebody gave: for all panels of one figure, or one for its panel of number `panel`; `which` says which
    of the figures that a module draws it is. The others' panels are drawn where nobody sees them.
    """

    axes: tuple[Axes, ...]
    panel: int | None
    which: int = 0
    begun: int = 0
    handed: int = 0

    def panels(self, rows: int, columns: int, count: int) -> np.ndarray:
        """The next panels of the figure that is being drawn, [rows, columns], of which the first `count` are seen."""
        found = list(Figure().subplots(1, rows * columns, squeeze=False)[0])
        if self.begun == self.which + 1:
            for number in range(count or rows * columns):
                place = self.handed if self.panel is None else self.handed - self.panel
                if 0 <= place < len(self.axes):
                    found[number] = self.axes[place]
                self.handed += 1
        return np.array(found, dtype=object).reshape(rows, columns)

    def check(self) -> None:
        """Raises `LorascopeError` where the figure has no such panel, or another number of them than there are axes."""
        if self.panel is not None and not 0 <= self.panel < self.handed:
            raise LorascopeError(f"panel {self.panel}: the figure has {self.handed}, from 0")
        if self.panel is None and len(self.axes) != self.handed:
            raise LorascopeError(f"{len(self.axes)} axes: the figure has {self.handed} panels; give as many, or one")


@dataclass(frozen=True)
class Sheet:
    """What a figure is drawn for.

    `width` is the whole figure's, inches; `across` the most panels beside each other; `text` the size of its letters
    and `small` that of ticks and legends, points; `strokes` a factor of its lines. A `print` sheet has exactly its
    width, a legend that fits, and no note below it: that stands in the caption.
    """

    width: float = TWO_COLUMNS
    across: int = 99
    family: str = "sans-serif"
    text: float = 8.0
    small: float = 7.0
    strokes: float = 1.0
    print: bool = False
    onto: Onto | None = None

    @property
    def rc(self) -> dict[Any, Any]:
        """What of the style is this sheet's own."""
        if not self.print:
            return {}
        sizes = dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), self.text)
        sizes |= dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), self.small)
        fonts = {"font.family": _font(self.family), "svg.fonttype": "path", "savefig.dpi": 300}
        return {**sizes, **fonts, "lines.markersize": 3.0 * self.strokes, "axes.titlelocation": "left"}

    def most(self, alone: bool = False) -> int:
        """How many panels may stand beside each other, of those that want to stand `alone` in a narrow figure."""
        return 1 if alone and self.across == 2 else self.across

    def broken(self, text: str, points: float, size: float) -> str:
        """Text whose lines are at most `points` wide in letters of `size`."""
        letters = max(int(points / (size * _letter(_font(self.family)[0]))), 12)
        lines = [textwrap.fill(line, letters, break_on_hyphens=False) for line in text.split("\n")]
        return "\n".join(lines)


#: Widths of one and of two columns, inches, and letters, by venue: IEEE's 3.5 in and 43 picas (IEEEtran); 7.7 and 16 cm
#: of acl.sty; Nature's 89 and 183 mm, sans-serif of up to 7 points; half a slide of 16:9 and the whole of it.
VENUES: Mapping[str, tuple[tuple[float, float], dict[str, Any]]] = {
    "ieee": ((3.5, 7.16), {"family": "serif", "text": 8.0, "small": 7.5}),
    "acl": ((3.03, 6.3), {"family": "serif", "text": 8.5, "small": 8.0}),
    "nature": ((3.5, 7.2), {"text": 7.0, "small": 7.0}),
    "slides": ((6.0, 12.2), {"text": 14.0, "small": 12.5, "strokes": 1.8}),
}


def sheet_of(venue: str, columns: int) -> Sheet:
    """The sheet of a venue, one or two columns wide. Raises `LorascopeError` for one that isn't known."""
    if venue not in VENUES:
        raise LorascopeError(f"--style {venue}: expected one of {', '.join(VENUES)}")
    if columns not in (1, 2):
        raise LorascopeError(f"--columns {columns}: expected 1 or 2")
    widths, letters = VENUES[venue]
    return Sheet(width=widths[columns - 1], across=2 if columns == 1 else 4, print=True, **letters)


_NOW: ContextVar[Sheet] = ContextVar("sheet", default=Sheet())  # noqa: B039


def now() -> Sheet:
    """The sheet that is drawn for."""
    return _NOW.get()


@contextlib.contextmanager
def drawing_for(sheet: Sheet) -> Iterator[None]:
    """Figures of the block are drawn for `sheet`."""
    token = _NOW.set(sheet)
    try:
        yield
    finally:
        _NOW.reset(token)


@cache
def _letter(font: str) -> float:
    """The width of a letter of a font, as a part of its size: the mean, and a tenth for words of wide ones."""
    words = "trained less frozen, each layer of the encoder 0.123"
    path = TextPath((0, 0), words, prop=FontProperties(family=font, size=100))
    return 1.1 * float(path.get_extents().width) / len(words) / 100


@cache
def _font(family: str) -> list[str]:
    """The installed fonts of a family, best first; the last of them comes with matplotlib."""
    wanted = {
        "serif": ("Times New Roman", "Nimbus Roman", "STIXGeneral"),
        "sans-serif": ("Arial", "Helvetica", "Nimbus Sans", "Liberation Sans", "DejaVu Sans"),
    }[family]
    there = set(font_manager.get_font_names())
    # what one lacks (Greek, arrows) the next has
    return [next(name for name in wanted if name in there), "DejaVu Sans"]
