"""Versions of other packages: one that is too old for lorascope is told in a line, not by whatever it lacks.

The bounds are those of lorascope's own metadata (`pyproject.toml`), to which pip holds at installation, and nobody
after it. Each part asks for what it needs before it imports it.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ..errors import LorascopeError


def require(*packages: str) -> None:
    """Raise `LorascopeError` where one of these packages is installed in a version that lorascope's metadata excludes.

    One that is not installed is told by the import that follows.
    """
    wrong, wanted = [], []
    for package in packages:
        bounds = _bounds().get(canonicalize_name(package), SpecifierSet())
        try:
            found = version(package)
        except PackageNotFoundError:
            continue
        # a build of tomorrow's version counts as that version
        if not bounds.contains(found, prereleases=True):
            wrong.append(f"{package} {found}")
            wanted.append(f"'{package}{bounds}'")
    if wrong:
        raise LorascopeError(
            f"{', '.join(wrong)}: not a version that lorascope works with; python -m pip install {' '.join(wanted)}"
        )


def require_extra(module: str, package: str, extra: str, wanted: str) -> None:
    """Raise `LorascopeError` where what only an extra of lorascope brings is not installed, or not in a version that it
    allows. `module` is imported, `package` the distribution; `wanted` is what needs it, by its place in a
    configuration: "methods: a classic method", "analysis.measures: recognition".
    """
    if importlib.util.find_spec(module) is None:
        section = wanted.partition(":")[0]
        thing = section.removeprefix("analysis.").removesuffix("s")
        raise LorascopeError(
            f"{wanted} needs {package}, which is not installed; install it with `pip install 'lorascope[{extra}]'`, or "
            f"take the {thing} out"
        )
    require(package)


@cache
def _bounds() -> dict[str, SpecifierSet]:
    """Versions that lorascope's metadata allows, by package, extras' among them; nothing where lorascope
    itself is not installed.
    """
    try:
        lines = requires("lorascope") or []
    except PackageNotFoundError:
        return {}
    wanted = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in wanted}
