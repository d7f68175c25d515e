"""Statements decided on what runs found, told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..findings.claims import Claims, decide


def claims(
    runs: str | Path | Sequence[str | Path], out: str | Path | None = None, statements: str | Path | None = None
) -> Claims:
    """Decide the paper's statements on the adapters of some runs or sweeps, and write tables, forest plot and page into
    `out` where it is given.

    `runs` are folders that `run` or `run_sweep` wrote: of several corpora and encoders, or of one with different folds,
    seeds and measures. `statements` is a YAML file of your own (docs/claims.md says how to write one). Nothing is
    computed anew but means and tests; what a run lacks makes a statement "not testable here". Raises `LorascopeError`
    for folders that don't belong together, a file that is not as it was sealed, and a file of statements that is wrong.
    """
    several = [runs] if isinstance(runs, (str, Path)) else list(runs)
    found = decide(several, statements)
    if out is not None:
        from ..report.claims import write_claims

        write_claims(found, Path(out))
    return found
