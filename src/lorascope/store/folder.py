"""The run folder: where things lie, how they are named by their content, and how they are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LorascopeError
from .modes import as_umask_says


def digest(content: Any) -> str:
    """Name of a content: the first 16 hexadecimal digits of the SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def write_text(path: Path, text: str) -> None:
    """Write a file beside its place and move it there, so that it is never seen half-written, also after a crash of the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".", suffix=".partial", encoding="utf-8", delete=False
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    as_umask_says(Path(file.name))
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


# where tables wait to be put in place, and those that they replace to be removed
PARTIAL = ".analysis-partial"
OLD = ".analysis-old"
# written last, so that tables are whole where it is there
ABOUT = "about.json"


def _remove_unfinished(folder: Path) -> None:
    """Remove the files that `write_text` was killed over."""
    for file in folder.glob(".*.partial"):
        file.unlink()


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

    def holds_others(self) -> bool:
        """Whether anything lies in the folder but the configuration, tables of analyses, and what a killed run was writing before there was more."""
        own = {self.config.name, PARTIAL, OLD, *([self.analysis.name] if (self.analysis / ABOUT).is_file() else [])}
        there = self.root.iterdir() if self.root.is_dir() else ()
        return any(path.name not in own and not path.name.endswith(".partial") for path in there)

    def cell(self, name: str) -> Path:
        """Folder of a finished cell."""
        return self.root / "cells" / name

    def is_whole(self, name: str) -> bool:
        """Whether a cell is finished: its folder is moved into place only then."""
        return (self.cell(name) / "metrics.json").is_file()

    def begin(self, name: str) -> Path:
        """A folder to build a cell in; what an interrupted run left in it is still there, but for files that it was writing."""
        partial = self.root / "cells" / f".partial-{name}"
        partial.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(partial)
        return partial

    def put_in_place(self, name: str) -> None:
        """Move the folder that a cell was built in to where finished cells lie; what lies there and is not whole makes room."""
        shutil.rmtree(self.cell(name), ignore_errors=True)
        (self.root / "cells" / f".partial-{name}").replace(self.cell(name))

    def tidy(self) -> None:
        """Remove what a killed run was writing when it was killed; to be called when nothing is being written."""
        _remove_unfinished(self.root)
        for name in (PARTIAL, OLD):
            shutil.rmtree(self.root / name, ignore_errors=True)

    def replace_tables(self, tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]) -> None:
        """Write all tables of the analyses as Parquet, with `about.json` beside them, and move the folder into place."""
        partial = self.root / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for stem, table in tables.items():
            table.to_parquet(partial / f"{stem}.parquet", index=False)
        write_json(partial / ABOUT, dict(about))
        old = self.root / OLD
        shutil.rmtree(old, ignore_errors=True)
        if self.analysis.exists():
            self.analysis.replace(old)
        partial.replace(self.analysis)
        shutil.rmtree(old, ignore_errors=True)

    def about_analysis(self) -> dict[str, Any] | None:
        """What `replace_tables` was told about the tables that are in place; None where there are none.

        A run that was killed between taking the old tables away and putting the new ones in their place left both, whole: the new ones are put there.
        """
        if not self.analysis.exists():
            for left in (self.root / PARTIAL, self.root / OLD):
                if (left / ABOUT).is_file():
                    left.replace(self.analysis)
                    break
        about = self.analysis / ABOUT
        return read_json(about) if about.is_file() else None
