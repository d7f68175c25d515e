"""What a folder of this package offers by name: a file is a name, so that adding one is adding a file."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType


def names_in(package: str) -> tuple[str, ...]:
    """The files of a package, such as "lorascope.corpora.readers", sorted; nothing of them is imported."""
    spec = find_spec(package)
    places = None if spec is None else spec.submodule_search_locations
    return tuple(sorted(found.name for found in iter_modules(places or ())))


def modules_in(package: str, offering: str) -> Iterator[tuple[str, ModuleType]]:
    """(name, module) of every file of a package that has the attribute `offering`, by name."""
    for name in names_in(package):
        module = import_module(f"{package}.{name}")
        if hasattr(module, offering):
            yield name, module
