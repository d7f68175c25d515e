"""Panels and legends of a figure, laid out for the sheet that is drawn for.

A figure's module says how many panels it has, row by row, and how high it is on the report's page. Where a sheet is too
narrow for a row, its panels flow into more rows, and each says for itself what its place in the row said before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from .sheet import TWO_COLUMNS, Sheet, now

Shared = bool | Literal["row"]

#: Inches of a report's figure that are no panels: its legend, and the words under its axes.
_AROUND = 0.8


@dataclass
class Grid:
    """Panels in the rows and columns that the figure's module thinks of, and where they came to stand."""

    panels: Any
    places: np.ndarray
    sharex: Shared
    sharey: Shared
    flown: bool


@dataclass(eq=False)
class _Part:
    """A piece of a figure with a legend of its own, and its row among several pieces."""

    body: SubFigure
    height: float
    rows: GridSpec | None = None
    row: int = 0


class Drawing(Figure):
    """A figure that knows its grids, and the inches that its legends need."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.grids: list[Grid] = []
        self.parts: list[_Part] = []


def new_figure(width: float, height: float) -> tuple[Drawing, SubFigure]:
    """An empty figure of that many inches on the report's page, and its body, whose panels make room for each other's
    labels and the legend.

    Legends go to the body: one that hangs on the figure itself slides down when the footer enlarges the page.
    """
    sheet = now()
    if sheet.onto is not None:
        sheet.onto.begun += 1
    wide = sheet.width if sheet.print else width
    figure = Drawing(figsize=(wide, height), layout="constrained")
    body = figure.subfigures(1, 1, squeeze=False)[0, 0]
    figure.parts.append(_Part(body, height))
    return figure, body


def height_of(rows: int, columns: int, height: float, count: int = 0, alone: bool = False) -> float:
    """How high a figure of `rows` by `columns` panels is here that is `height` inches high on the report's page, but
    for its legend where that is measured.
    """
    sheet = now()
    if not sheet.print:
        return height
    down = _shape(_flow(rows, columns, sheet.most(alone), count), count)[0]
    # a narrow panel needs no more height than it has width
    beside = min(columns, sheet.most(alone))
    each = (height - _AROUND) / rows * sheet.text / 8
    return float(down * (min(each, sheet.width / beside) + 0.4 * sheet.text / 8))


def grid(
    rows: int,
    columns: int,
    height: float,
    width: float = TWO_COLUMNS,
    count: int = 0,
    alone: bool = False,
    sharex: Shared = False,
    sharey: Shared = False,
) -> tuple[Drawing, SubFigure, Any]:
    """A new figure of `rows` by `columns` panels, its body, and its panels, [rows, columns]. With `count`
    they are a list of that many, which may break anywhere; those after it are not seen. In one
    column of a paper a panel that needs the width stands `alone`.
    """
    figure, body = new_figure(width, height_of(rows, columns, height, count, alone))
    return figure, body, panels_in(body, rows, columns, count, alone, sharex, sharey)


def panels_in(
    body: SubFigure,
    rows: int,
    columns: int,
    count: int = 0,
    alone: bool = False,
    sharex: Shared = False,
    sharey: Shared = False,
) -> Any:
    """Panels of a figure's body or of a part of it, [rows, columns]; those that somebody gave, where they were."""
    sheet = now()
    if sheet.onto is not None:
        return sheet.onto.panels(rows, columns, count)
    places = _flow(rows, columns, sheet.most(alone), count)
    down, beside = _shape(places, count)
    flown = (down, beside) != (rows, columns)
    if not flown:
        panels: Any = body.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    else:
        cells = body.add_gridspec(down, beside)
        panels = np.empty((rows, columns), dtype=object)
        unseen = Figure()
        for place in np.ndindex(rows, columns):
            row, column = places[place]
            panels[place] = body.add_subplot(cells[row, column]) if row < down else unseen.add_subplot()
        _share(panels, sharex, "x")
        _share(panels, sharey, "y")
    for axes in panels.flat[count or rows * columns :]:
        axes.set_visible(False)
    figure = body.figure
    if isinstance(figure, Drawing):
        figure.grids.append(Grid(panels, places, sharex, sharey, flown))
    return panels


def parts_of(figure: Drawing, body: SubFigure, heights: Sequence[float]) -> list[SubFigure]:
    """Pieces of the body below each other, of these heights, each for panels and a legend of its own."""
    rows = body.add_gridspec(len(heights), 1, height_ratios=list(heights))
    pieces = [body.add_subfigure(rows[number]) for number in range(len(heights))]
    figure.parts = [_Part(piece, heights[row], rows, row) for row, piece in enumerate(pieces)]
    return pieces


def _flow(rows: int, columns: int, across: int, count: int) -> np.ndarray:
    """Where each panel stands, [rows, columns, (row, column)]."""
    places = np.moveaxis(np.indices((rows, columns)), 0, -1)
    if columns <= across:
        return places
    if 1 < rows <= across and not count:
        return places[..., ::-1].copy()
    number = places[..., 1] + places[..., 0] * (columns if count else -(-columns // across) * across)
    return np.stack([number // across, number % across], axis=-1)


def _shape(places: np.ndarray, count: int) -> tuple[int, int]:
    """How many rows and columns the panels stand in that are seen."""
    seen = places.reshape(-1, 2)[: count or None]
    return int(seen[:, 0].max()) + 1, int(places[..., 1].max()) + 1


def _share(panels: Any, how: Shared, axis: str) -> None:
    if not how:
        return
    for row in panels if how == "row" else [panels.ravel()]:
        for axes in row[1:]:
            (axes.sharex if axis == "x" else axes.sharey)(row[0])


def legend_below(body: SubFigure, panels: Sequence[Axes], columns: int, title: str | None = None) -> None:
    """One legend under the figure for all panels, each label once, in as many `columns` (in print: as fit)."""
    entries: dict[str, Any] = {}
    for axes in panels:
        for artist, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, artist)
    look: dict[str, Any] = {"loc": "outside lower center", "handlelength": 2.4, "title": title}
    sheet = now()
    if not sheet.print or not entries:
        body.legend(list(entries.values()), list(entries), ncols=columns, **look)
        return
    labels = [sheet.broken(label, sheet.width * 72 - 6 * sheet.small, sheet.small) for label in entries]
    figure = body.figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    for count in range(min(len(labels), 8), 0, -1):
        legend = body.legend(list(entries.values()), labels, ncols=count, columnspacing=1.2, **look)
        extent = legend.get_window_extent(renderer).transformed(figure.dpi_scale_trans.inverted())
        if extent.width <= sheet.width or count == 1:
            break
        legend.remove()
    if isinstance(figure, Drawing):
        for part in figure.parts:
            if part.body is body:
                part.height += extent.height + 0.08


def settle(figure: Figure) -> None:
    """In print: let every panel that stands elsewhere than its module thought say what it shows, break words that are
    wider than their panel, and give the figure the height that its legends need.
    """
    sheet = now()
    if not sheet.print or not isinstance(figure, Drawing):
        return
    # a title that is set anew takes the size of the moment
    with matplotlib.rc_context(sheet.rc):
        _settle(figure, sheet)


def _settle(figure: Drawing, sheet: Sheet) -> None:
    for panels in figure.grids:
        if panels.flown:
            _say_for_themselves(panels)
    _as_high_as_its_parts(figure, sheet)
    # where each panel comes to stand says how long its words may be
    figure.draw_without_rendering()
    for panels in figure.grids:
        _break_words(panels, sheet, figure.dpi)
        part = next((part for part in figure.parts if panels.panels.flat[0] in part.body.axes), figure.parts[0])
        part.height += _extra_lines(panels) * 1.3 * sheet.text / 72
    _as_high_as_its_parts(figure, sheet)
    if sheet.strokes != 1:
        for line in figure.findobj(Line2D):
            assert isinstance(line, Line2D)
            line.set_linewidth(line.get_linewidth() * sheet.strokes)


def _as_high_as_its_parts(figure: Drawing, sheet: Sheet) -> None:
    for part in figure.parts:
        if part.rows is not None:
            part.rows.set_height_ratios([each.height for each in figure.parts])
    figure.set_size_inches(sheet.width, sum(part.height for part in figure.parts))


def _say_for_themselves(grid: Grid) -> None:
    rows, columns = grid.panels.shape
    visible = [axes for axes in grid.panels.flat if axes.get_visible()]
    last = {}
    for place in np.ndindex(rows, columns):
        axes = grid.panels[place]
        if axes.get_visible():
            row, column = grid.places[place]
            last[column] = max(last.get(column, -1), row)
    for place in np.ndindex(rows, columns):
        axes, top, left = grid.panels[place], grid.panels[0, place[1]], grid.panels[place[0], 0]
        if axes not in visible:
            continue
        location = next((at for at in ("left", "center") if top.get_title(loc=at)), None)
        if location and not axes.get_title(loc="left") and not axes.get_title():
            axes.set_title(top.get_title(loc=location), loc=location)
        bottom = grid.panels[rows - 1, place[1]]
        row, column = grid.places[place]
        if grid.sharey is True and column:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        elif not axes.get_ylabel():
            axes.set_ylabel(left.get_ylabel())
        if grid.sharex and row < last[column]:
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
        elif not axes.get_xlabel():
            axes.set_xlabel(bottom.get_xlabel() or grid.panels[0, 0].get_xlabel())


def _break_words(grid: Grid, sheet: Sheet, dpi: float) -> None:
    """Break titles and labels that reach beyond their panel's share of the width, or its height."""
    beside = _shape(grid.places, 0)[1]
    share = sheet.width * 72 / beside
    for axes, (_, column) in zip(grid.panels.flat, grid.places.reshape(-1, 2), strict=True):
        if axes.figure is None or not axes.get_visible():
            continue
        left, right = (edge * 72 / dpi - column * share for edge in (axes.bbox.x0, axes.bbox.x1))
        beyond = {
            "left": share - left,
            "center": _about(left, right, share + (0.0 if column == beside - 1 else sheet.text)),
            "right": right,
        }
        for location, points in beyond.items():
            title = axes.get_title(loc=location)
            if title:
                axes.set_title(sheet.broken(title, points, sheet.text), loc=location)
        axes.set_ylabel(sheet.broken(axes.get_ylabel(), 1.15 * axes.bbox.height * 72 / dpi, sheet.text))
        label = axes.xaxis.label
        axes.set_xlabel(
            sheet.broken(
                label.get_text(),
                _about(left, right, share + (0.0 if column == beside - 1 else sheet.text)),
                label.get_fontsize(),
            )
        )


def _about(left: float, right: float, share: float) -> float:
    """How wide what is centred below or above a panel may be, where its share of the width begins at 0."""
    middle = (left + right) / 2
    return 2 * min(middle, share - middle)


def _extra_lines(grid: Grid) -> int:
    """How many lines of words the rows of panels have beyond one above and one below each."""
    rows: dict[int, list[int]] = {}
    for axes, (row, _) in zip(grid.panels.flat, grid.places.reshape(-1, 2), strict=True):
        words = [*(axes.get_title(loc=at) for at in ("left", "center")), axes.get_xlabel()]
        rows.setdefault(int(row), []).append(sum(text.count("\n") for text in words))
    return sum(max(counts) for counts in rows.values())
