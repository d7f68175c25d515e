"""What lorascope does, in a few sentences each: compute (`work`), then tell (`findings`, `report`). The command
line says the same in words.
"""

from __future__ import annotations

from .adapters import analyze, analyze_folds, analyze_several, name_each
from .deciding import claims
from .examination import doctor, examinations
from .experiments import run, run_sweep
from .pruning import prune, prune_adapter

__all__ = [
    "analyze",
    "analyze_folds",
    "analyze_several",
    "claims",
    "doctor",
    "examinations",
    "name_each",
    "prune",
    "prune_adapter",
    "run",
    "run_sweep",
]
