"""Figures for whoever works in Python: drawn whole, or on axes that are given; and a run's results as Jupyter shows
them.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import LorascopeError
from ..findings.scores import summarise
from ..store.finished import FinishedRun
from .cautions import cautions
from .figures import STEMS, drawn, style
from .figures.sheet import Onto, Sheet, drawing_for
from .first_screen import findings
from .paper import folder_of, module_of
from .tables import HEADS, formatted, notes


def plot(
    run: Path, name: str, variant: str | None = None, ax: Axes | Sequence[Axes] | None = None, panel: int | None = None
) -> Figure:
    """As `lorascope.Results.plot`."""
    module, folder = module_of(name), folder_of(run, variant)
    folder.check()
    stem = name if name not in STEMS.values() else None
    if ax is None:
        if panel is not None:
            raise LorascopeError("panel: says which panel is drawn on a given ax; give one")
        found = {made: (figure, words) for made, figure, words in drawn(folder, {module})}
        figure, words = found[_chosen(run, name, stem, list(found))]
        style.footer(figure, folder.marks, words)
        return figure
    axes = (ax,) if isinstance(ax, Axes) else tuple(getattr(ax, "flat", ax))
    which = 0
    if stem is not None:
        there = [made for made, _, _ in drawn(folder, {module})]
        which = there.index(_chosen(run, name, stem, there))
    onto = Onto(axes, (panel or 0) if len(axes) == 1 else panel, which)
    with drawing_for(Sheet(onto=onto)):
        _chosen(run, name, None, [made for made, _, _ in drawn(folder, {module})])
    onto.check()
    if len(axes) == 1 and axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(fontsize="small")
    if folder.marks:
        look: dict[str, Any] = {
            "color": style.VERMILLION,
            "style": "italic",
            "fontsize": "small",
            "ha": "right",
            "va": "bottom",
        }
        axes[-1].text(0.99, 0.01, " · ".join(folder.marks), transform=axes[-1].transAxes, wrap=True, **look)
    figure = axes[0].get_figure()
    assert isinstance(figure, Figure)
    return figure


def _chosen(run: Path, name: str, stem: str | None, there: list[str]) -> str:
    """The stem that is meant: the first of a module's figures where none is named."""
    if not there:
        raise LorascopeError(f"{run}: {name} was not measured here")
    if stem is not None and stem not in there:
        raise LorascopeError(f"{run}: no figure {stem!r}; there are {', '.join(there)}")
    return stem or there[0]


def shown(run: Path, names: Sequence[str]) -> str:
    """A run as HTML, every text of it escaped: the marks, Table 1, what was found, and the names of tables."""
    folder = FinishedRun(run)
    parts = [f"<p><b>lorascope</b> {_text(run)}</p>"]
    parts += [f"<p><i>{_text(mark)}</i></p>" for mark in folder.marks]
    table = summarise(run)
    if not table.empty:
        heads = "".join(f"<th>{_text(head)}</th>" for head in HEADS)
        rows = ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in formatted(table)]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        parts.append(f"<table><caption>Table 1</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>")
        parts += [f"<p><small>{_text(note)}</small></p>" for note in notes(table, [])]
    found = "".join(
        f"<li><b>{_text(each.question)}</b> {_text(each.answer)}</li>" for each in findings(folder, cautions(folder))
    )
    parts.append(f"<ul>{found}</ul>" if found else "")
    reads = ", ".join(f"<code>{_text(name)}</code>" for name in names) or "none"
    parts.append(f"<p>Tables: {reads}. Report: <code>{_text(run / 'report.html')}</code></p>")
    return "\n".join(part for part in parts if part)


def _text(value: object) -> str:
    return html.escape(str(value))
