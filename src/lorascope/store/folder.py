"""The run folder: where things lie, how they are named by their content, and how they are written whole or
not at all.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from . import seals
from .files import read_json as read_json
from .files import sync_folder
from .files import write_json as write_json
from .files import write_text as write_text
from .units import Units, clear


def digest(content: Any) -> str:
    """Name of a content: the first 16 hexadecimal digits of the SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


# where tables wait to be put in place, and those that they replace to be removed
PARTIAL = ".analysis-partial"
OLD = ".analysis-old"
# who works in the folder
LOCK = ".running.lock"
ABOUT = "about.json"
METRICS = "metrics.json"
#: What is made last of all, from everything else: the run's own seal stands over it, and over manifest and
#: configuration.
TOLD = ("table1.csv", "table1.md", "table1.tex", "comparison.csv", "report.html", "figures", "units", "findings")


def _remove_unfinished(folder: Path) -> None:
    """Remove the files that `write_text` was killed over."""
    for file in folder.glob(".*.partial"):
        file.unlink()


class RunFolder:
    """The folder of one run (its layout is in the README under "Results")."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.cells = Units(self.root / "cells", METRICS, earlier=True)
        self.analyses = Units(self.root / "analyses", ABOUT)

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

    @property
    def lock(self) -> Path:
        """The lock of whoever writes here what is told of all units together."""
        return self.root / LOCK

    def holds_others(self) -> bool:
        """Whether anything lies in the folder but the configuration, tables of analyses, and what a killed run was
        writing before there was more.
        """
        own = {self.config.name, PARTIAL, OLD, *([self.analysis.name] if (self.analysis / ABOUT).is_file() else [])}
        own |= {self.analyses.root.name} if self.analyses.holds_own_alone() else set()
        there = self.root.iterdir() if self.root.is_dir() else ()
        left = (LOCK, f".{LOCK}.")
        return any(
            path.name not in own and not path.name.endswith(".partial") and not path.name.startswith(left)
            for path in there
        )

    def cell(self, name: str) -> Path:
        """Folder of a finished cell."""
        return self.cells.place(name)

    def is_whole(self, name: str) -> bool:
        """Whether a cell is finished, at a glance (see `Units.is_whole`)."""
        return self.cells.is_whole(name)

    # the analysis that is shown

    def replace_tables(self, tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]) -> None:
        """Write all tables of an analysis as Parquet, with `about.json` beside them, and move the folder into place."""
        partial = self._new_analysis()
        partial.mkdir(parents=True)
        for stem, table in tables.items():
            table.to_parquet(partial / f"{stem}.parquet", index=False)
        write_json(partial / ABOUT, dict(about))
        self._show(partial)

    def show_analysis(self, name: str) -> None:
        """Let the folder analysis/ be a copy of the analysis of that address, which is whole."""
        unit = self.analyses.place(name)
        if seals.name_of(self.analysis) != seals.name_of(unit) or seals.fault(self.analysis) is not None:
            partial = self._new_analysis()
            shutil.copytree(unit, partial)
            self._show(partial)

    def _new_analysis(self) -> Path:
        partial = self.root / PARTIAL
        clear(partial)
        return partial

    def _show(self, partial: Path) -> None:
        """Seal what was built and let it take the place of what was shown."""
        seals.seal(partial)
        old = self.root / OLD
        clear(old)
        if self.analysis.exists():
            self.analysis.replace(old)
        partial.replace(self.analysis)
        sync_folder(self.root)
        clear(old)

    # the run as a whole

    def stands_on(self, cells: Iterable[str], analyses: Iterable[str] = ()) -> dict[str, str]:
        """What results are made from, as a manifest keeps it: SHA-256 of the configuration, of the seals of these cells
        and analyses, and of the analysis that is shown.
        """
        named = {self.config.name: hashlib.sha256(self.config.read_bytes()).hexdigest()}
        if self.analysis.is_dir():
            named[self.analysis.name] = seals.name_of(self.analysis)
        named |= {f"cells/{name}": seals.name_of(self.cell(name)) for name in cells}
        return named | {f"analyses/{name}": seals.name_of(self.analyses.place(name)) for name in analyses}

    def moved_on(self, manifest: Mapping[str, Any]) -> str | None:
        """What of that is another by now than the manifest tells, in words; None where all is the same or gone, and for
        a manifest that keeps no such list.
        """
        then: Mapping[str, str] = manifest.get("stands_on") or {}
        for name, digest_then in then.items():
            place = self.root / name
            if place.exists():
                today = seals.name_of(place) if place.is_dir() else hashlib.sha256(place.read_bytes()).hexdigest()
                if today != digest_then:
                    what = f"{name}/{seals.SEAL}" if place.is_dir() else name
                    return f"{what}: another than the results were made from"
        return None

    def lacks(self, manifest: Mapping[str, Any]) -> bool:
        """Whether anything that the manifest stands on is gone."""
        return not all((self.root / name).exists() for name in manifest.get("stands_on") or {})

    def seal(self) -> None:
        """Seal what stands in the folder beside cells and analyses; to be called last of all."""
        told = [self.root / name for name in (self.manifest.name, self.config.name, *TOLD)]
        files = [file for path in told for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
        seals.seal(self.root, only=files)

    def unseal(self) -> None:
        """Take the seal away: what follows changes the folder."""
        (self.root / seals.SEAL).unlink(missing_ok=True)

    def faults(self) -> Iterator[seals.Fault]:
        """What of the sealed files is not as it was sealed; nothing of a folder without a seal."""
        if seals.is_sealed(self.root):
            yield from seals.faults(self.root)

    def is_told(self) -> bool:
        """Whether tables, figures and report are whole, and made from what the manifest stands on."""
        return seals.fault(self.root) is None

    def tidy(self) -> None:
        """Remove what a killed run was writing when it was killed; to be called when nothing is being written."""
        _remove_unfinished(self.root)
        for name in (PARTIAL, OLD):
            shutil.rmtree(self.root / name, ignore_errors=True)
