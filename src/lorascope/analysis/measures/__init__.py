"""A file per measure: each an accumulator with `update` and `compute` (see `measure.py`), its class named after the
file.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...by_name import names_in
from ...machine.requirements import require

require("torch", "scipy", "scikit-learn", "threadpoolctl", "pandas")


def _class_in(file: str) -> Any:
    """The class `LayerSum` of a file layer_sum.py."""
    return getattr(import_module(f"{__name__}.{file}"), file.title().replace("_", ""))


#: Every measure by the name that a config has for it, which is its file's.
MEASURES: dict[str, Any] = {name: _class_in(name) for name in names_in(__name__)}
