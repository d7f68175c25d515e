"""A plan as people read it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..machine.terminal import console


def print_plan(description: dict[str, Any]) -> None:
    """Print a plan as a table for people."""
    from rich.table import Table

    terminal = console()
    corpus = description["corpus"]
    terminal.print(
        f"{description['name']}: {corpus['name']}, {corpus['clips']} clips of {corpus['speakers']} speakers",
    )
    for entry in corpus["left_out"]:
        terminal.print(f"left out: {entry['clips']} clips, {entry['reason']}")
    for note in corpus["notes"]:
        terminal.print(f"note: {note}")
    folds = {cell["fold"]: cell for cell in description["cells"]}
    for note in dict.fromkeys(note for cell in folds.values() for note in cell["notes"]):
        terminal.print(f"note: {note}")
    table = Table(box=None, pad_edge=False)
    for column in ("fold", "test", "validation", "training", "clips"):
        table.add_column(column, no_wrap=column in ("fold", "clips"))
    for name, cell in folds.items():
        speakers, clips = cell["speakers"], cell["clips"]
        table.add_row(
            name,
            _few(speakers["test"]),
            _few(speakers["validation"]) or {"test_fold": "the test fold"}.get(cell["selection"], "inner folds"),
            _few(speakers["train"]),
            f"{clips['test']} / {clips['validation']} / {clips['train']}",
        )
    terminal.print(table)
    seeds = list(dict.fromkeys(cell["seed"] for cell in description["cells"]))
    with_each = "" if len(seeds) == 1 else f", with each of the seeds {' '.join(map(str, seeds))}"
    trained: dict[str, list[str]] = {}
    for cell in description["cells"]:
        label = cell["label"] + (" (rank space)" if cell["role"] == "rank-space" else "")
        trained.setdefault(label, []).append(cell["fold"])
    terminal.print(f"{len(description['cells'])} cells{with_each}:")
    for label, names in trained.items():
        terminal.print(f"  {label}, {_where(names, folds)}")
    _print_analyses(terminal, description, folds)
    for reason in dict.fromkeys(reason for cell in description["cells"] for reason in cell["optimistic"]):
        terminal.print(f"optimistic: {reason}")
    if "ahead" in description:
        _print_ahead(terminal, description["ahead"])


def _print_ahead(terminal: Any, ahead: dict[str, Any]) -> None:
    """Backbone, time, memory and disk in a line each, then what would keep it from running here."""
    terminal.print(f"backbone: {ahead['backbone']}")
    gib = 2**30
    if ahead["memory"] is None:
        terminal.print("time, memory and disk: not known, since the encoder's shape is not")
    else:
        hours = (ahead["seconds"] or 0) / 3600
        took = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min" if hours > 0.02 else "a minute"
        terminal.print(f"time: about {took} on one worker of some CPU cores (50 GFLOP/s), much less on a GPU")
        terminal.print(f"memory: about {ahead['memory'] / gib:.1f} GiB")
        terminal.print(f"disk: about {ahead['disk'] / gib:.2f} GiB, of {ahead['free'] / gib:.0f} GiB free")
    for warning in ahead["warnings"]:
        terminal.print(f"warning: {warning}", style="bold")


def _print_analyses(terminal: Any, description: dict[str, Any], folds: Collection[str]) -> None:
    """A line for each method that is analysed, with the folds and the clips."""
    analyses = description["analyses"]
    several = "1 analysis" if len(analyses) == 1 else f"{len(analyses)} analyses"
    terminal.print(f"{several}{':' if analyses else ''}")
    methods: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for unit in analyses:
        methods.setdefault((unit["label"], unit["clips_from"]), []).append(unit)
    for (label, clips_from), units in methods.items():
        counts = sorted({unit["clips"] for unit in units})
        clips = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        whose = "test speakers" if clips_from == "test" else "test and validation speakers"
        where = _where([unit["fold"] for unit in units], folds)
        terminal.print(f"  {label}, {where}, {clips} clips of {whose}")


def _where(names: Sequence[str], folds: Collection[str]) -> str:
    """Folds in words, each once."""
    once = list(dict.fromkeys(names))
    return "in every fold" if len(once) == len(folds) else f"in fold {_few(once)}"


def _few(names: Sequence[str]) -> str:
    """Names side by side, a corpus that they share told once; of more than a line of them three, the last and their
    number (`--json` has all).
    """
    corpora = {name.rpartition("/")[0] for name in names}
    if corpora - {""} and len(corpora) == 1:
        return f"{corpora.pop()}: {_few([name.rpartition('/')[2] for name in names])}"
    return " ".join(names) if len(names) <= 10 else f"{' '.join(names[:3])} … {names[-1]} ({len(names)})"
