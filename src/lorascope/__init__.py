"""lorascope: what a LoRA adapter did inside a speech encoder.

The public names are imported when they are first used, so that `import lorascope` and the command line's
help don't wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        Results,
        analyze,
        analyze_folds,
        analyze_several,
        claims,
        doctor,
        figures,
        predict,
        prune,
        prune_adapter,
        run,
        run_sweep,
    )
    from .corpora import Corpus, load_corpus, make_folds
    from .errors import LorascopeError
    from .experiment.config import Experiment
    from .experiment.grid import load_sweep
    from .experiment.loading import load_experiment
    from .experiment.planning import plan
    from .findings.advice import advise
    from .models.weights.backbone import load_backbone

__version__ = "0.1.0"

_HOMES = {
    "advise": "findings.advice",
    "analyze": "api",
    "analyze_folds": "api",
    "analyze_several": "api",
    "claims": "api",
    "doctor": "api",
    "figures": "api",
    "predict": "api",
    "prune": "api",
    "prune_adapter": "api",
    "Experiment": "experiment.config",
    "load_experiment": "experiment.loading",
    "Corpus": "corpora",
    "load_corpus": "corpora",
    "make_folds": "corpora",
    "LorascopeError": "errors",
    "run": "api",
    "load_sweep": "experiment.grid",
    "run_sweep": "api",
    "load_backbone": "models.weights.backbone",
    "plan": "experiment.planning",
    "Results": "api",
}

__all__ = [
    "Corpus",
    "Experiment",
    "LorascopeError",
    "Results",
    "__version__",
    "advise",
    "analyze",
    "analyze_folds",
    "analyze_several",
    "claims",
    "doctor",
    "figures",
    "load_backbone",
    "load_corpus",
    "load_experiment",
    "load_sweep",
    "make_folds",
    "plan",
    "predict",
    "prune",
    "prune_adapter",
    "run",
    "run_sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .machine.requirements import require

    require("rich", "pydantic", "PyYAML")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
