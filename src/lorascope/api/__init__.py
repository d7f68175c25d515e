"""What lorascope does, in a few sentences each: compute (`work`), then tell (`findings`, `report`). The command
line says the same in words.

The verbs are imported when they are first used, so that reading and drawing a finished run doesn't wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters import analyze, analyze_folds, analyze_several, name_each
    from .deciding import claims
    from .drawing import figures
    from .examination import doctor, examinations
    from .experiments import run, run_sweep
    from .predicting import predict
    from .pruning import prune, prune_adapter
    from .results import Results

_HOMES = {
    "analyze": "adapters",
    "analyze_folds": "adapters",
    "analyze_several": "adapters",
    "name_each": "adapters",
    "claims": "deciding",
    "figures": "drawing",
    "doctor": "examination",
    "examinations": "examination",
    "run": "experiments",
    "run_sweep": "experiments",
    "predict": "predicting",
    "prune": "pruning",
    "prune_adapter": "pruning",
    "Results": "results",
}

__all__ = [
    "Results",
    "analyze",
    "analyze_folds",
    "analyze_several",
    "claims",
    "doctor",
    "examinations",
    "figures",
    "name_each",
    "predict",
    "prune",
    "prune_adapter",
    "run",
    "run_sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
