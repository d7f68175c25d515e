"""A plot as plain data for the page, whose script draws it (templates/plots.js): numbers of five digits, and nothing
that is the same everywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from typing import Any

from .spec import Axis, Curve, Facet, Map, Panel, Plot

Data = dict[str, Any]


def on_page(plot: Plot) -> Data:
    """Facets with their options, and the panels of every choice there is, by the options joined with "|".

    Texts are escaped: plotly reads tags in names and hover texts, and these come from files.
    """
    views = plot.views()
    there = [dict.fromkeys(options) for options in zip(*views, strict=True)]
    return {
        "stem": plot.stem,
        "facets": [_facet(facet, options) for facet, options in zip(plot.facets, there, strict=True)] if there else [],
        "views": {
            "|".join(options): [[_panel(panel) for panel in row] for row in rows] for options, rows in views.items()
        },
    }


def _facet(facet: Facet, there: Mapping[str, None]) -> Data:
    options = [[key, words, facet.about.get(key, "")] for key, words in facet.options.items() if key in there]
    return {"name": facet.name, "words": facet.words, "options": options}


def _panel(panel: Panel) -> Data:
    found: Data = {"title": html.escape(panel.title), "x": _axis(panel.x), "y": _axis(panel.y)}
    values, ends = ("x" if any(curve.sideways for curve in panel.curves) else "y"), panel.ends()
    if found[values]["kind"] == "number" and ends is not None:
        found[values].setdefault("ends", list(map(_number, ends)))
    if panel.curves:
        found["curves"] = [_curve(curve) for curve in panel.curves]
    if panel.bands:
        found["bands"] = [
            {
                "name": html.escape(band.name),
                "colour": band.colour,
                "x": _numbers(band.x),
                "low": _numbers(band.low),
                "high": _numbers(band.high),
            }
            for band in panel.bands
        ]
    if panel.levels:
        found["levels"] = [[_number(level.at), html.escape(level.name), level.upright] for level in panel.levels]
    if panel.map is not None:
        found["map"] = _map(panel.map)
    return found


def _axis(axis: Axis) -> Data:
    found: Data = {"label": html.escape(axis.label), "kind": axis.kind}
    if axis.low is not None or axis.high is not None:
        # plotly takes None for an end that data decide
        found["ends"] = [_number(axis.low), _number(axis.high)]
    if axis.names:
        found["names"] = [html.escape(name) for name in axis.names]
    return found


def _curve(curve: Curve) -> Data:
    look = curve.look
    found: Data = {
        "name": html.escape(curve.name),
        "look": [look.colour, look.dash, look.symbol, look.width],
        "x": _numbers(curve.x),
        "y": _numbers(curve.y),
    }
    if len(curve.low):
        found |= {"low": _numbers(curve.low), "high": _numbers(curve.high)}
    if curve.behind:
        found["behind"] = [[html.escape(name), _numbers(x), _numbers(y)] for name, x, y in curve.behind]
    if any(curve.empty):
        found["empty"] = [int(empty) for empty in curve.empty]
    if curve.words:
        # "<br>" alone is ours
        found["words"] = [html.escape(words).replace("&lt;br&gt;", "<br>") for words in curve.words]
    if curve.clips:
        found["clips"] = list(curve.clips)
    return found | {name: True for name in ("marks", "sideways", "quiet") if getattr(curve, name)}


def _map(drawn: Map) -> Data:
    found: Data = {
        "x": _numbers(drawn.x),
        "y": _numbers(drawn.y),
        "z": [_numbers(row) for row in drawn.z],
        "label": html.escape(drawn.label),
        "signed": drawn.signed,
        "marks": [[int(x), int(y)] for x, y in drawn.marks],
    }
    if drawn.ends is not None:
        found["ends"] = list(drawn.ends)
    if drawn.text:
        found["text"] = [list(row) for row in drawn.text]
    return found


def _numbers(values: Iterable[float | str]) -> list[float | str | None]:
    return [html.escape(value) if isinstance(value, str) else _number(value) for value in values]


def _number(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() else short
