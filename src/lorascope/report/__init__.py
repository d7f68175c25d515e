"""Tables, figures and the page of a run folder, made from its files alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..machine.requirements import require
from ..store.finished import FinishedRun
from ..store.folder import RunFolder

__all__ = ["write_all"]


def write_all(run: Path, sounds: Callable[[FinishedRun], Mapping[str, Any]] = lambda _: {}) -> Path:
    """Write tables, figures and report.html into a run folder; return the path of report.html.

    `sounds` gives what is heard of a run's clips (`clips.Sound`, by their ids). What the folder lacks is left out and
    named in the report. At the end the folder is sealed. Raises `LorascopeError` where it is no run folder, and where a
    file that results are made from is not as it was sealed.
    """
    require("matplotlib", "plotly", "jinja2", "pandas", "pyarrow", "rich")
    # matplotlib and jinja2 cost a second: only who makes a report waits for them
    from ..findings.over_units import write_findings
    from .page import write_report
    from .tables import write_tables

    finished = FinishedRun(run)
    finished.check()
    write_findings(run)
    write_tables(run)
    page = write_report(run, sounds(FinishedRun(run)))
    if "stands_on" in finished.manifest:
        RunFolder(run).seal()
    return page
