"""lorascope: what a LoRA adapter did inside a speech encoder.

The public names are imported when they are first used, so that `import lorascope` and the command line's help don't wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapters import analyze
    from .config import Experiment, load_experiment
    from .corpora import Corpus, load_corpus, make_folds
    from .errors import LorascopeError
    from .experiment import run
    from .models.backbone import load_backbone
    from .planning import plan
    from .results import Results
    from .side_by_side import analyze_several
    from .sweeps.grid import load_sweep
    from .sweeps.sweep import run_sweep

__version__ = "0.1.0"

_HOMES = {
    "analyze": "adapters",
    "analyze_several": "side_by_side",
    "Experiment": "config",
    "load_experiment": "config",
    "Corpus": "corpora",
    "load_corpus": "corpora",
    "make_folds": "corpora",
    "LorascopeError": "errors",
    "run": "experiment",
    "load_sweep": "sweeps.grid",
    "run_sweep": "sweeps.sweep",
    "load_backbone": "models.backbone",
    "plan": "planning",
    "Results": "results",
}

__all__ = [
    "Corpus",
    "Experiment",
    "LorascopeError",
    "Results",
    "__version__",
    "analyze",
    "analyze_several",
    "load_backbone",
    "load_corpus",
    "load_experiment",
    "load_sweep",
    "make_folds",
    "plan",
    "run",
    "run_sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .requirements import require

    require("rich", "pydantic", "PyYAML")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
