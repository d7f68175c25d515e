"""The run folder: where things lie, how they are named by their content, and how they are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import LorascopeError


def digest(content: Any) -> str:
    """Name of a content: the first 16 hexadecimal digits of the SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and move it there, so that it is never seen half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".", suffix=".partial", encoding="utf-8", delete=False
    ) as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON as `write_text` writes."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. Raises `LorascopeError` naming the file where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LorascopeError(f"{path}: cannot be read ({error}); delete it and run the same command again") from error


class RunFolder:
    """The folder of one run (its layout is in the README under "Results")."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def manifest(self) -> Path:
        """Versions, hardware, seeds, clip hashes, times."""
        return self.root / "manifest.json"

    @property
    def config(self) -> Path:
        """The resolved experiment."""
        return self.root / "config.yaml"

    @property
    def analysis(self) -> Path:
        """Tables of the analyses."""
        return self.root / "analysis"

    def cell(self, name: str) -> Path:
        """Folder of a finished cell."""
        return self.root / "cells" / name

    def is_whole(self, name: str) -> bool:
        """Whether a cell is finished: its folder is moved into place only then."""
        return (self.cell(name) / "metrics.json").is_file()

    @contextmanager
    def building(self, name: str) -> Iterator[Path]:
        """A folder to build a cell in, moved into place when the block ends well; what an interrupted run left in it is still there."""
        partial = self.root / "cells" / f".partial-{name}"
        partial.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(self.cell(name))

    def replace_tables(self, tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]) -> None:
        """Write all tables of the analyses as Parquet, with `about.json` beside them, and move the folder into place."""
        partial = self.root / ".analysis-partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for stem, table in tables.items():
            table.to_parquet(partial / f"{stem}.parquet", index=False)
        write_json(partial / "about.json", dict(about))
        old = self.root / ".analysis-old"
        shutil.rmtree(old, ignore_errors=True)
        if self.analysis.exists():
            self.analysis.replace(old)
        partial.replace(self.analysis)
        shutil.rmtree(old, ignore_errors=True)

    def about_analysis(self) -> dict[str, Any] | None:
        """What `replace_tables` was told about the tables that are in place; None where there are none."""
        about = self.analysis / "about.json"
        return read_json(about) if about.is_file() else None
