"""What a report rests on, in words for its first lines: how many adapters, trained in which folds from which seeds."""

from __future__ import annotations

from ..store.finished import FinishedRun

_UNKNOWN = "how others would come out is unknown"


def units_words(folder: FinishedRun) -> str:
    """What the figures show of how many adapters; "" where nothing was analysed."""
    if not folder.analysis:
        return ""
    units = folder.shown
    if folder.only is not None:
        return f"Fold {units[0].fold}, seed {units[0].seed}: one of the adapters that the report is about."
    if len(units) < 2:
        return f"One adapter{', one fold' if folder.analysis.get('fold') else ''}: {_UNKNOWN}."
    folds, seeds = len({unit.fold for unit in units}), len({unit.seed for unit in units})
    made = ", ".join([_count(folds, "fold"), _count(seeds, "seed")])
    if folds < 2:
        # seeds alone tell nothing of other speakers
        return (
            f"Mean of {len(units)} adapters ({made}), a faint line each: how others of other folds would be is unknown."
        )
    return f"Mean of {len(units)} adapters ({made}) with its 95 % interval over folds; each adapter is a faint line."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
