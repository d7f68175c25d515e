"""What a plot shows, said once and apart from who draws it: axes, curves, levels, maps, and what a reader may choose.

A plot is a grid of panels for every choice of its facets (a variant, a module, ...). `on_page` makes plotly's traces of
it; nothing here knows a library that draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import pandas as pd

from ..rows import gapped, means

#: Colours by name: the page has one of each for light and one for dark.
Colour = Literal["blue", "orange", "green", "vermillion", "purple", "sky", "yellow", "ink", "muted"]
Dash = Literal["solid", "dash", "dot", "dashdot", "longdashdot"]
Symbol = Literal["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x"]

COLOURS: tuple[Colour, ...] = ("blue", "orange", "green", "purple", "vermillion", "sky", "yellow")
SYMBOLS: tuple[Symbol, ...] = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot", "longdashdot")


@dataclass(frozen=True)
class Look:
    """How a curve is drawn; symbol and dash repeat what the colour says."""

    colour: Colour
    dash: Dash = "solid"
    symbol: Symbol = "circle"
    width: float = 2.0


def look_of(number: int) -> Look:
    """The look of the `number`-th of many things: colours first, then the same again with other dashes."""
    turns = number // len(COLOURS)
    return Look(COLOURS[number % len(COLOURS)], DASHES[turns % len(DASHES)], SYMBOLS[number % len(SYMBOLS)])


#: One look for each model, the same in every plot.
MODELS: Mapping[str, Look] = {
    "trained": Look("blue", "solid", "circle", 2.5),
    "difference": Look("blue", "solid", "circle", 2.5),
    "frozen": Look("ink", "dash", "square", 1.8),
    "shuffled labels": Look("muted", "longdashdot", "x", 1.6),
    "gaussian": Look("vermillion", "dash", "triangle-up", 1.6),
    "peft-init": Look("green", "dot", "diamond", 1.6),
    "norm-matched": Look("orange", "dashdot", "triangle-down", 1.6),
    "permuted": Look("purple", "longdashdot", "cross", 1.6),
}


@dataclass(frozen=True)
class Axis:
    """An axis: of "layer" the page marks the one that is chosen, of "share" it is logarithmic and in per cent, of
    "names" it holds `names` in their order. `low` and `high` are ends that data don't decide.
    """

    label: str = ""
    kind: Literal["layer", "number", "log", "share", "names", "none"] = "number"
    low: float | None = None
    high: float | None = None
    names: tuple[str, ...] = ()


LAYER = Axis("layer", "layer")
DEPTH = Axis("depth (0: embedding)", "layer")


@dataclass(frozen=True)
class Curve:
    """Values y at x, with ends of their intervals, and behind them a faint line (name, x, y) for each unit that they
    are the mean of. `empty` are points that are drawn but say nothing. `words` are told of each point on hover, `clips`
    is
    what a click on it plays; `marks` draws points alone.
    """

    name: str
    look: Look
    x: Sequence[float | str]
    y: Sequence[float | str]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    behind: tuple[tuple[str, Sequence[float], Sequence[float]], ...] = ()
    empty: Sequence[bool] = ()
    words: Sequence[str] = ()
    clips: Sequence[str] = ()
    marks: bool = False
    # the interval lies along x, as of a value beside its name
    sideways: bool = False
    # the interval is told, but not drawn: many on top of each other hide the lines
    quiet: bool = False


@dataclass(frozen=True)
class Band:
    """From `low` to `high` over x: a null, most often."""

    name: str
    colour: Colour
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Level:
    """A number to compare with, as a line across the panel: at a height, or upright at an x."""

    at: float
    name: str = ""
    upright: bool = False


@dataclass(frozen=True)
class Map:
    """Values z [rows y, columns x] in colours 0 where they are `signed`; `marks` (x, y) stand out of their null.
    `ends` (low, high) fix the scale; `words` [y, x] are told on hover.
    """

    x: Sequence[float | str]
    y: Sequence[float | str]
    z: Sequence[Sequence[float]]
    label: str
    signed: bool = False
    marks: Sequence[tuple[float, float]] = ()
    ends: tuple[float, float] | None = None
    text: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...] = ()
    bands: tuple[Band, ...] = ()
    levels: tuple[Level, ...] = ()
    map: Map | None = None

    @property
    def holds(self) -> bool:
        """Whether there is anything to see."""
        return bool(self.curves or self.map)

    def ends(self, room: float = 0.08) -> tuple[float, float] | None:
        """The ends of the axis of values (x where they lie sideways) that show all of them, but of intervals no more
        than half their reach on either side: over few folds they are so wide that nothing else would be seen. None
        where there is no number.
        """
        sideways = any(each.sideways for each in self.curves)
        values = [value for each in self.curves for value in (each.x if sideways else each.y)]
        values += [value for each in self.curves for _, _, unit in each.behind for value in unit]
        values += [level.at for level in self.levels if level.upright == sideways]
        known = [value for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
        if not known:
            return None
        low, high = min(known), max(known)
        reach = (high - low or abs(high) or 1.0) / 2
        drawn = [each for each in self.curves if not each.quiet]
        ends = [end for each in (*drawn, *self.bands) for part in (each.low, each.high) for end in part]
        ends = [min(max(end, low - reach), high + reach) for end in ends if math.isfinite(end)]
        low, high = min([low, *ends]), max([high, *ends])
        return low - room * (high - low or 1.0), high + room * (high - low or 1.0)


#: Rows of panels.
View = Sequence[Sequence[Panel]]


@dataclass(frozen=True)
class Facet:
    """One thing that a reader may choose: by the same `name` it is chosen in all plots. `options` are what may be
    chosen and what each is called, the first being what is shown; `about` says of an option in a sentence what it is.
    """

    name: str
    words: str
    options: Mapping[str, str]
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plot:
    """A figure of the page: what it shows for each choice; None where there is nothing for one."""

    stem: str
    view: Callable[[Mapping[str, str]], View | None]
    facets: tuple[Facet, ...] = ()

    def views(self) -> dict[tuple[str, ...], View]:
        """What there is to see by the options of all facets, in their order."""
        found = {}
        for options in product(*(facet.options for facet in self.facets)):
            view = self.view(dict(zip((facet.name for facet in self.facets), options, strict=True)))
            rows = [[panel for panel in row if panel.holds] for row in view or []]
            rows = [row for row in rows if row]
            if rows:
                found[options] = rows
        return found


def only(name: str, words: str, options: Mapping[str, str], there: Sequence[str], **more: Mapping[str, str]) -> Facet:
    """A facet of those options that are `there`."""
    return Facet(name, words, {key: text for key, text in options.items() if key in set(there)}, **more)


def curve(
    rows: pd.DataFrame,
    value: str,
    name: str,
    look: Look,
    over: str = "layer",
    ends: str | None = None,
    empty: Callable[[pd.DataFrame], pd.Series] | None = None,
    quiet: bool = False,
) -> tuple[Curve, ...]:
    """The curve of a table's column over another, none where it holds no number: with the interval `<ends>_low` to
    `<ends>_high` (by default called after the value) where there is one, and of a table of several units (a column
    `unit`, "" for their mean) each of them behind it. Of layers that are missing there is a gap.
    """
    mean = _ordered(means(rows), over)
    if mean.empty or mean[value].isna().all():
        return ()
    low, high = f"{ends or value}_low", f"{ends or value}_high"
    known = low in mean and mean[low].notna().any()
    units = rows[rows["unit"] != ""].groupby("unit") if "unit" in rows else ()
    behind = [(str(unit), _ordered(part, over)) for unit, part in units]
    return (
        Curve(
            name,
            look,
            mean[over].tolist(),
            mean[value].tolist(),
            mean[low].tolist() if known else (),
            mean[high].tolist() if known else (),
            tuple((unit, part[over].tolist(), part[value].tolist()) for unit, part in behind),
            () if empty is None else empty(mean).fillna(False).tolist(),
            quiet=quiet,
        ),
    )


def band(rows: pd.DataFrame, low: str, high: str, name: str, colour: Colour, over: str = "layer") -> tuple[Band, ...]:
    """The band between two columns of a table of means; none where they hold no number."""
    mean = _ordered(means(rows), over)
    if mean.empty or low not in mean or mean[low].isna().all():
        return ()
    return (Band(name, colour, mean[over].tolist(), mean[low].tolist(), mean[high].tolist()),)


def where(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows of a table whose columns have these values."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def _ordered(rows: pd.DataFrame, over: str) -> pd.DataFrame:
    """Rows in order of a column; of layers with an empty row for each that is missing between two."""
    return gapped(rows) if over == "layer" else rows.sort_values(over)
