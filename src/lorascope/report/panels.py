"""The interactive panels of the page: the figures' tables as plotly traces, with one drop-down of views a panel.

A panel is plain data (JSON): the page's script draws a view when a reader comes to it. Nothing here is needed to read
the report, since each panel stands below the static figure that shows the same numbers.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from itertools import product
from typing import Any

import pandas as pd

from ..store.finished import FinishedRun
from .figures import contribution, lens, rank_space, spectra
from .figures.style import CYCLE, MODELS, VARIANTS, gapped, means

Panel = dict[str, Any]

_DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
_LENS_QUANTITIES = {
    "kl": "KL (nats)",
    "overlap": "overlap with the final answer",
    "uar": "UAR",
    "accuracy": "accuracy",
    "jsd": "Jensen-Shannon divergence (nats)",
    "entropy": "entropy (nats)",
    "top_class_share": "share of the commonest class",
}


def panels(folder: FinishedRun) -> dict[str, Panel]:
    """The panels by the figure that they belong to (fig1, fig2a, fig2b, fig3, cka), for the tables that are there."""
    made = {
        "fig1": _contribution(folder),
        "fig2a": _lens(folder),
        "fig2b": _rank_space(folder),
        "fig3": _k90(folder),
        "cka": _cka(folder),
    }
    return {name: panel for name, panel in made.items() if panel["views"]}


def _contribution(folder: FinishedRun) -> Panel:
    views = []
    table = folder.curves("contribution")
    if table is not None:
        model, table = contribution.shown(table)
        change = "trained − frozen" if model == "difference" else "trained"
        for (component, name), quantity in product(contribution.COMPONENTS.items(), ("ratio", "cosine")):
            rows = table[table["component"] == component]
            traces = [
                trace
                for variant in contribution.FRAMES
                for trace in _line(rows[rows["variant"] == variant], quantity, variant, VARIANTS[variant])
            ]
            views.append({"label": f"{name}: {quantity}", "traces": traces, "y": f"{quantity}, {change}", "x": "layer"})
    return {"title": "Explore: layer contribution", "views": views}


def _lens(folder: FinishedRun) -> Panel:
    views = []
    table = folder.curves("lens")
    if table is not None:
        models = [model for model in lens.NAMES if model in set(table["model"])]
        for model, (quantity, words) in product(models, _LENS_QUANTITIES.items()):
            rows = table[table["model"] == model]
            traces = [
                trace
                for variant in lens.LABELS
                for trace in _line(rows[rows["variant"] == variant], quantity, variant, VARIANTS[variant])
            ]
            views.append({"label": f"{model}: {words}", "traces": traces, "y": words, "x": "layer (0 = embedding)"})
    return {"title": "Explore: logit lens", "views": views}


def _rank_space(folder: FinishedRun) -> Panel:
    views = []
    table, scores = folder.table("ranks"), folder.table("rank_scores")
    if table is not None:
        table = table[(table["variant"] == "corrected") & table["x"].notna()]
        modules = rank_space.main_module_first(table)
        table = table.assign(order=table["module"].map(modules.index), random=table["model"] != "trained")
        keys = ["order", "random", "module", "model", "rank", "layer"]
        for (_, _, module, model, rank, layer), points in table.groupby(keys):
            key = {"model": model, "rank": rank, "layer": layer, "module": module, "variant": "corrected"}
            score = rank_space.score_of(scores, key)
            title = (
                ""
                if score is None
                else f"probe UAR {score['probe_uar']:.2f}, silhouette {score['silhouette']:+.2f}".replace("-", "−")
            )
            label = f"{model}, r = {rank}, layer {layer}, {module}"
            views.append({"label": label, "traces": _cloud(points), "x": title, "y": "", "bare": True})
    return {"title": "Explore: point at a clip", "views": views}


def _k90(folder: FinishedRun) -> Panel:
    views = []
    table = folder.curves("spectra_summary")
    if table is not None:
        modules = rank_space.main_module_first(table)
        variants = [
            variant
            for variant in ("corrected", "corrected-balanced", "paper", "released")
            if variant in set(table["variant"])
        ]
        for module, variant, (factor, quantity) in product(modules, variants, spectra.PANELS):
            rows = table[(table["module"] == module) & (table["variant"] == variant)]
            rows = rows[(rows["factor"] == factor) & (rows["quantity"] == quantity) & rows["k90"].notna()]
            traces = [
                trace
                for model, look in MODELS.items()
                for trace in _line(rows[rows["model"] == model], "k90", model, look)
            ]
            label = f"{factor} {quantity}s, {variant}, {module}"
            if not traces:
                continue  # gradients of an adapter without a head
            views.append({"label": label, "traces": traces, "y": "k90 (directions)", "x": "layer"})
    return {"title": "Explore: k90 by layer", "views": views}


def _cka(folder: FinishedRun) -> Panel:
    views = []
    table = folder.curves("cka")
    if table is not None:
        table = table.rename(columns={"ci_low": "value_low", "ci_high": "value_high"})
        modules = rank_space.main_module_first(table)
        # The alphabet has the variants in their own order: corrected, paper, released.
        table = table[table["value"].notna()].assign(order=table["module"].map(modules.index))
        keys = ["order", "variant", "kernel", "quantity", "module"]
        for (_, variant, kernel, quantity, module), rows in table.groupby(keys):
            traces = []
            for index, (pair, part) in enumerate(rows.groupby("pair", sort=False)):
                look = {"color": CYCLE[index % len(CYCLE)], "linestyle": "-" if index < len(CYCLE) else "--"}
                # Ten bands on top of each other hide everything: the first pair's is drawn, the others' are told on
                # hover.
                traces += _line(part, "value", str(pair), look, band=index == 0)
            label = f"{variant}, {kernel}, {quantity}s, {module}"
            views.append({"label": label, "traces": traces, "y": "CKA", "x": "layer"})
    return {"title": "Explore: CKA of every pair", "views": views}


def _line(rows: pd.DataFrame, value: str, name: str, look: dict[str, Any], band: bool = True) -> list[dict[str, Any]]:
    units, there = rows[rows["unit"] != ""], means(rows)
    if there.empty:
        return []
    rows = gapped(there)
    # plotly fills across gaps: of layers that are not adapted the interval is told on hover
    band = band and len(rows) == len(there)
    layers, colour = rows["layer"].tolist(), look["color"]
    dash = _DASHES.get(look["linestyle"], "longdashdot")
    if len(units):
        # many bands on top of each other hide the lines: the interval is told on hover
        return [*_faint(units, value, html.escape(name), colour), *_line(there, value, name, look, band=False)]
    name = html.escape(name)
    line = {
        "x": layers,
        "y": _numbers(rows[value]),
        "name": name,
        "legendgroup": name,
        "mode": "lines+markers",
        "line": {"color": colour, "dash": dash},
        "hovertemplate": "%{y:.4g}",
    }
    low, high = f"{value}_low", f"{value}_high"
    if low not in rows or rows[low].isna().all():
        return [line]
    line |= {
        "customdata": list(zip(_numbers(rows[low]), _numbers(rows[high]), strict=True)),
        "hovertemplate": "%{y:.4g} [%{customdata[0]:.4g}, %{customdata[1]:.4g}]",
    }
    if not band:
        return [line]
    hidden = {
        "x": layers,
        "mode": "lines",
        "line": {"width": 0},
        "showlegend": False,
        "hoverinfo": "skip",
        "legendgroup": name,
    }
    return [
        hidden | {"y": _numbers(rows[low])},
        hidden | {"y": _numbers(rows[high]), "fill": "tonexty", "fillcolor": _translucent(colour)},
        line,
    ]


def _faint(units: pd.DataFrame, value: str, name: str, colour: str) -> list[dict[str, Any]]:
    """A line each for the analyses that a line is the mean of."""
    traces = []
    for unit, rows in units.groupby("unit"):
        rows = gapped(rows)
        traces.append(
            {
                "x": rows["layer"].tolist(),
                "y": _numbers(rows[value]),
                "name": html.escape(str(unit)),
                "mode": "lines",
                "line": {"color": colour, "width": 0.8},
                "opacity": 0.4,
                "showlegend": False,
                "legendgroup": name,
                "hovertemplate": "%{y:.4g}",
            }
        )
    return traces


def _cloud(points: pd.DataFrame) -> list[dict[str, Any]]:
    traces = []
    for index, emotion in enumerate(sorted(points["emotion"].unique())):
        part = points[points["emotion"] == emotion]
        traces.append(
            {
                "x": _numbers(part["x"]),
                "y": _numbers(part["y"]),
                "name": html.escape(emotion),
                "mode": "markers",
                "marker": {"color": CYCLE[index % len(CYCLE)], "symbol": _SYMBOLS[index % len(_SYMBOLS)], "size": 8},
                # Plotly reads tags in hover text; the names come from files.
                "text": [
                    html.escape(f"{clip} (speaker {who})")
                    for clip, who in zip(part["clip"], part["speaker"], strict=True)
                ],
                "hovertemplate": "%{text}",
            }
        )
    return traces


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [None if pd.isna(value) else float(f"{value:.5g}") for value in values]


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"
