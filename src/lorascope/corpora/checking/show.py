"""Readers and the outcome of a check as tables for people, in 80 columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from ...machine.terminal import console
from .. import CORPORA
from .check import Check
from .suspicions import Finding

#: Faults or warnings of one kind that are written out; the others are counted.
MOST_EXAMPLES = 3
#: With more speakers than this the table of speakers gives way to one line, with more faults that of classes too.
MOST_ROWS = 40


def print_readers() -> None:
    """A line a reader: what it reads."""
    terminal = console()
    table = _table("reader", "reads", "language", "speakers", "clips")
    for name, about in CORPORA.items():
        table.add_row(name, about.title, about.language, _number(about.speakers), _number(about.clips))
    terminal.print(table)
    terminal.print("To check one: lorascope corpora check NAME --root DIR")


def print_check(check: Check) -> None:
    """Counts beside the published ones, then faults, warnings and notes. Paths are told from the corpus' folder on."""
    terminal = console()
    where = "" if check.root is None else f" in {check.root}"
    _line(terminal, f"{check.name}{where}")
    if check.heard is not None and check.heard.formats:
        formats = ", ".join(f"{what} ({count})" for what, count in check.heard.formats.most_common())
        _line(terminal, f"sounds: {formats}; {check.heard.seconds / 60:.1f} minutes in all")
    if check.clips is not None:
        if _crowded(check):
            counts = ", ".join(f"{name} {count}" for name, count in check.counts("emotion").items())
            _line(terminal, f"{len(check.clips)} clips: {counts}")
        else:
            terminal.print(_classes(check))
        _speakers(check, terminal)
        if len(sessions := check.counts("session")):
            _line(terminal, f"sessions: {', '.join(f'{name}: {count}' for name, count in sessions.items())}")
    if (found := check.sentence) is not None:
        _line(
            terminal,
            (
                f"sentences: {found.texts} are said by several speakers; who knows only the sentence reaches a UAR "
                f"of {found.uar:.2f} on new speakers (chance {found.chance:.2f}, p = {found.p:.2g})"
            ),
        )
    base = "" if check.root is None else f"{check.root.parent if check.root.is_file() else check.root}/"
    for level, findings in (("fault", check.faults), ("warning", check.warnings)):
        _findings(terminal, level, findings, base)
    for note in check.notes:
        _line(terminal, f"note: {_short(note, base)}")
    if not check.faults:
        _line(terminal, "no faults")


def _classes(check: Check) -> Table:
    assert check.clips is not None
    published = check.published
    there = check.counts("emotion")
    wanted = {} if published is None or published.by_class is None else published.by_class
    table = _table("class", "clips", *(["published"] if published else []))
    for name in sorted({*there.index, *wanted}):
        table.add_row(name, str(there.get(name, 0)), *([_number(wanted.get(name))] if published else []))
    table.add_row("all", str(len(check.clips)), *([_number(published.clips)] if published else []))
    return table


def _speakers(check: Check, terminal: Console) -> None:
    """Clips of each speaker in each class, or a line on them where they are many."""
    assert check.clips is not None
    counts = check.counts("speaker")
    if len(counts) > MOST_ROWS or _crowded(check):
        _line(
            terminal,
            f"{len(counts)} speakers with {counts.min()} to {counts.max()} clips each (median {counts.median():g})",
        )
        return
    by_class = pd.crosstab(check.clips["speaker"].astype(str), check.clips["emotion"])
    # class names are cut so that all fit; the table above has them whole
    room = max(3, (terminal.width - 20) // by_class.shape[1] - 2)
    table = _table("speaker", "clips", *(str(name)[:room] for name in by_class.columns))
    for name, row in by_class.iterrows():
        table.add_row(str(name), str(row.sum()), *(str(count) if count else "-" for count in row))
    terminal.print(table)


def _findings(terminal: Console, level: str, findings: Sequence[Finding], base: str) -> None:
    if not findings:
        return
    _line(terminal, f"{len(findings)} {level}{'s' if len(findings) > 1 else ''}:")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind in dict.fromkeys(kind for kind, _ in findings):
        texts = [_short(text, base) for of, text in findings if of == kind]
        for text in _examples(texts):
            table.add_row(f"  {kind}", text)
        if len(texts) > MOST_EXAMPLES:
            table.add_row("", f"and {len(texts) - MOST_EXAMPLES} more of {len(texts)} (all with --json)")
    terminal.print(table)


def _examples(texts: Sequence[str]) -> list[str]:
    """At most `MOST_EXAMPLES` of one kind: one of each wording first; of a wording told before, its place alone."""
    if len(texts) <= MOST_EXAMPLES:
        return list(texts)
    wordings: dict[str, list[str]] = {}
    for text in texts:
        # without what differs from file to file: its name, quoted names, numbers
        wordings.setdefault(re.sub(r"'[^']*'|\d+", "", text.partition(": ")[2] or text), []).append(text)
    first = [same[0] for same in wordings.values()]
    others = [text.partition(": ")[0] for same in wordings.values() for text in same[1:]]
    return [*first, *others][:MOST_EXAMPLES]


def _crowded(check: Check) -> bool:
    """Whether so much is wrong that tables of counts would only push it off the screen."""
    return len(check.faults) > MOST_ROWS


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="left" if name in ("reads", "language") else "right")
    return table


def _line(terminal: Console, text: str) -> None:
    terminal.print(text)


def _short(text: str, base: str) -> str:
    return text.replace(base, "") if base else text


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
