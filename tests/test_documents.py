"""The documents: lines no wider than the code's, and paths that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    file.relative_to(PROJECT).as_posix() for file in [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]
)
#: As `line-length` of ruff in pyproject.toml.
WIDTH = 120


@pytest.mark.parametrize("document", DOCUMENTS)
def test_lines_are_as_narrow_as_those_of_the_code(document: str) -> None:
    lines = (PROJECT / document).read_text(encoding="utf-8").splitlines()
    # neither a row of a table nor an address can go on in the next line
    wide = [
        number
        for number, line in enumerate(lines, 1)
        if len(line) > WIDTH
        and not (line.lstrip().startswith("|") and line.endswith("|"))
        and not re.search(r"https?://\S{40,}", line)
    ]
    assert not wide, f"{document}: lines {wide} are wider than {WIDTH} characters"


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_files_that_are_named_are_there(document: str) -> None:
    named = re.findall(r"`([\w./-]+/[\w-]+\.(?:py|yaml|md|toml))`", (PROJECT / document).read_text(encoding="utf-8"))
    lacking = [
        name
        for name in named
        if not any((place / name).exists() for place in (PROJECT, PROJECT / "src" / "lorascope", PROJECT / "docs"))
    ]
    assert not lacking, f"{document} names {lacking}"
