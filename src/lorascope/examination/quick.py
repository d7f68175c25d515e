"""The part of an examination that hears nothing: files, names, numbers. `analyze` begins with it."""

from __future__ import annotations

from pathlib import Path

from ..errors import LorascopeError
from ..models.weights.hub import adapter_folder
from .examine import examine
from .examined import Examined
from .finding import Finding
from .patient import read_patient

#: Checks that need no forward pass.
QUICK = (
    "not_whole",
    "not_finite",
    "twins",
    "keys_unknown",
    "keys_missing",
    "shape",
    "everything_trained",
    "head_missing",
    "head_adapted",
    "head_classes",
    "base_changed",
    "never_trained",
    "layer_never_trained",
    "scale",
    "allocation_never_ran",
)


def quick(backbone: str, adapter: str | Path) -> list[Finding]:
    """The sicknesses that files and weights tell; none where the adapter cannot be examined, which whoever opens it
    tells better.
    """
    try:
        folder = adapter_folder(adapter)
        if not folder.is_dir():
            return []
        examined = Examined(read_patient(folder), backbone)
        found = examine(examined, QUICK).sick
    except LorascopeError:
        return []
    examined.close()
    return found
