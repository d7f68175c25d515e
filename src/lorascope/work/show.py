"""A sweep as people and programs read it: its experiments with their cells and analyses, what they may cost, where they
stand.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..experiment.grid import Sweep
from ..machine.terminal import console
from .estimate import GFLOPS, Estimate, estimates
from .journal import SweepFolder
from .sweep import Planned, Summary, status

#: States in the order in which they are told.
KINDS = ("whole", "running", "failed", "missing")


def show(sweep: Sweep, out: Path, dry_run: bool, gflops: float | None = None, as_json: bool = False) -> None:
    """Print where every unit stands, and for a `dry_run` what the rest may cost; nothing is written."""
    summary, rate = status(sweep, out), gflops or GFLOPS
    costs = estimates(summary.planned, summary.states, SweepFolder(out), rate) if dry_run else None
    if as_json:
        print(json.dumps(described(sweep, summary, costs), indent=2, ensure_ascii=False))
    else:
        print_summary(sweep, summary, costs, rate)


def described(sweep: Sweep, summary: Summary, costs: dict[str, Estimate] | None = None) -> dict[str, Any]:
    """A sweep and the state of its cells as plain data; with `costs` also the seconds that each may take on
    one worker.
    """
    units: dict[str, list[dict[str, Any]]] = {"cell": [], "analysis": []}
    for one in summary.planned:
        state = summary.states[one.key]
        # the traceback is in the folder, and no program wants it
        about = {key: value for key, value in state.about.items() if key not in ("trace", "words")}
        told = {"key": one.key, "experiments": list(one.slugs), "label": one.cell.label, "fold": one.cell.fold.name}
        told |= {"seed": one.cell.of_seed, "backbone": one.cell.backbone, "role": one.cell.role, "state": state.kind}
        if one.analysis is not None:
            told |= {"clips": len(one.analysis.clips), "clips_from": one.analysis.clips_from, "needs": list(one.needs)}
        told |= about
        if costs and one.key in costs:
            told |= {"seconds": costs[one.key].seconds, "estimate": costs[one.key].source}
        units[one.kind].append(told)
    return {
        "name": sweep.name,
        "axes": list(sweep.axes),
        "experiments": [
            {
                "name": variant.slug,
                "values": dict(variant.values),
                "cells": _counts(summary, variant.slug, "cell"),
                "analyses": _counts(summary, variant.slug, "analysis"),
            }
            for variant in sweep.variants
        ],
        "cells": units["cell"],
        "analyses": units["analysis"],
    }


def print_summary(sweep: Sweep, summary: Summary, costs: dict[str, Estimate] | None = None, gflops: float = 0) -> None:
    """Print a line an experiment: how many of its cells and analyses are whole, running, failed, missing, and with
    `costs` the estimate for the rest; before them a line a unit with its own.
    """
    from rich.table import Table

    terminal = console()
    if costs is not None:
        _print_cells(terminal, summary, costs)
    table = Table(box=None, pad_edge=False)
    with_analyses = any(unit.kind == "analysis" for unit in summary.planned)
    for head in (
        "experiment",
        "cells",
        *(["analyses"] if with_analyses else []),
        *KINDS,
        *(["estimate"] if costs is not None else []),
    ):
        table.add_column(head, justify="left" if head == "experiment" else "right", no_wrap=head != "experiment")
    told: set[str] = set()
    for variant in sweep.variants:
        of_cells, of_analyses = (_counts(summary, variant.slug, kind) for kind in ("cell", "analysis"))
        row = [variant.slug, str(sum(of_cells.values()))]
        row += [str(sum(of_analyses.values()))] if with_analyses else []
        row += [str(of_cells[kind] + of_analyses[kind]) for kind in KINDS]
        if costs is not None:
            # a shared cell is counted where it comes first
            own = [cell for cell in summary.planned if variant.slug in cell.slugs and cell.key not in told]
            told |= {cell.key for cell in own}
            row.append(_span(own, costs))
        table.add_row(*row)
    terminal.print(table)
    total = Counter(state.kind for state in summary.states.values())
    counted = ", ".join(f"{total[kind]} {kind}" for kind in KINDS)
    terminal.print(f"{_named(summary.planned)}, each once: {counted}")
    if costs is not None:
        _print_costs(terminal, summary.planned, costs, gflops)
    for cell in summary.planned:
        about = summary.states[cell.key].about
        if summary.states[cell.key].kind == "running":
            words = f"{cell.words}, on {about['host']} (process {about['pid']}) since {about['since']}"
            terminal.print(f"running: {words}", soft_wrap=True)
    for line in summary.errors:
        terminal.print(f"failed: {line}", soft_wrap=True)


def print_end(summary: Summary, out: Path) -> None:
    """Print the combined table's place and what failed."""
    terminal = console()
    for line in summary.errors:
        terminal.print(f"failed: {line}", soft_wrap=True)
    if summary.lacking:
        terminal.print(f"{_named(summary.lacking)} are not whole; the same command computes them")
    if summary.errors:
        terminal.print(f"{len(summary.errors)} failed; the same command tries them again")
    if summary.table is not None:
        terminal.print(f"table: {summary.table}", soft_wrap=True)
    else:
        terminal.print(f"cells: {out / 'cells'}", soft_wrap=True)


def _print_cells(terminal: Any, summary: Summary, costs: dict[str, Estimate]) -> None:
    """A line a unit. Plain text, as wide as it is: rich's table would cut it to the terminal's width."""
    rows = [("experiment", "cell", "fold", "state", "estimate")]
    for one in summary.planned:
        more = f" (+{len(one.slugs) - 1})" if len(one.slugs) > 1 else ""
        rows.append(
            (
                one.variant.slug + more,
                one.label,
                one.cell.where.removeprefix("fold "),
                summary.states[one.key].kind,
                _span([one], costs) if one.key in costs else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *words, estimate in rows:
        line = "  ".join(word.ljust(width) for word, width in zip(words, widths, strict=False))
        terminal.print(f"{line}  {estimate.rjust(widths[-1])}", soft_wrap=True)
    if any(len(one.slugs) > 1 for one in summary.planned):
        terminal.print("(+n): n other experiments share it")
    terminal.print()


def _print_costs(terminal: Any, planned: Sequence[Planned], costs: dict[str, Estimate], gflops: float) -> None:
    sources = Counter(estimate.source for estimate in costs.values())
    told = {
        "finished": "from the seconds of finished ones of their encoder and method, in proportion to the work",
        "arithmetic": f"the encoder's operations at {gflops:g} GFLOP/s (--gflops)",
        "unknown": "not estimated until one like it is whole: the encoder's shape is not known, or there is no encoder",
    }
    terminal.print(f"on one worker: {_span(planned, costs)}")
    for source, words in told.items():
        if sources[source]:
            which = [one for one in planned if one.key in costs and costs[one.key].source == source]
            terminal.print(f"  {_named(which)}: {words}")


def _named(planned: Sequence[Planned]) -> str:
    """Cells and analyses, counted."""
    analyses = sum(unit.kind == "analysis" for unit in planned)
    told = "" if not analyses else " and 1 analysis" if analyses == 1 else f" and {analyses} analyses"
    return f"{len(planned) - analyses} cells{told}"


def _counts(summary: Summary, slug: str, what: str) -> dict[str, int]:
    own = [unit for unit in summary.planned if slug in unit.slugs and unit.kind == what]
    counts = Counter(summary.states[unit.key].kind for unit in own)
    return {kind: counts[kind] for kind in KINDS}


def _span(cells: Sequence[Planned], costs: dict[str, Estimate]) -> str:
    own = [costs[cell.key].seconds for cell in cells if cell.key in costs]
    known = [seconds for seconds in own if seconds is not None]
    if own and not known:
        return "?"
    seconds = sum(known)
    if known and seconds < 1:
        return "<1 s"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
