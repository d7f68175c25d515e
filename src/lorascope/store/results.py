"""A run's results as DataFrames, read from its folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LorascopeError
from . import seals
from .finished import AGAIN, SOURCES
from .folder import RunFolder, read_json


class Results:
    """The results in a run folder: `results["lens"]` is a table of the analyses, `results.table1` is Table 1.

    Whatever is read was checked before against its seal. Raises `LorascopeError` where the folder holds no run, and, at
    the reading, where a file is not as it was sealed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = RunFolder(folder)
        if not self.folder.manifest.is_file():
            raise LorascopeError(
                f"{folder}: no manifest.json; give a folder that `lorascope run` or `lorascope analyze` wrote"
            )
        self._refuse(fault for fault in self.folder.faults() if fault.name in SOURCES)
        moved = self.folder.moved_on(self.manifest)
        if moved is not None:
            raise LorascopeError(f"{folder}/{moved}; {AGAIN}")

    def _refuse(self, faults: Iterable[seals.Fault], within: str = "", way_out: str = AGAIN) -> None:
        for fault in faults:
            if not fault.gone:
                raise LorascopeError(f"{self.folder.root / within / fault.name}: {fault.what}; {way_out}")

    def _check(self, within: str) -> None:
        """Check a sealed folder that the manifest stands on."""
        if within in (self.manifest.get("stands_on") or {}):
            self._refuse(seals.faults(self.folder.root / within), within)

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder.root / "report.html"

    @property
    def manifest(self) -> dict[str, Any]:
        """Versions, hardware, seeds, clip hashes, times."""
        return read_json(self.folder.manifest)

    @property
    def names(self) -> list[str]:
        """Names of the tables of the analyses."""
        return sorted(path.stem for path in self.folder.analysis.glob("*.parquet"))

    @property
    def table1(self) -> pd.DataFrame:
        """Table 1: one row a condition. Empty where nothing was trained."""
        file = self.folder.root / "table1.csv"
        if file.is_file() and "stands_on" in self.manifest:
            # without a seal over both it may be older than the manifest
            if not seals.is_sealed(self.folder.root):
                raise LorascopeError(f"{file}: not made from this manifest; `lorascope report` makes it again")
            faults = (fault for fault in self.folder.faults() if fault.name == file.name)
            self._refuse(faults, way_out="`lorascope report` makes it again")
        return pd.read_csv(file) if file.is_file() else pd.DataFrame()

    @property
    def predictions(self) -> pd.DataFrame:
        """Every test clip's gold class, prediction and logits, with the cell's label."""
        tables = []
        for cell in self.manifest["cells"]:
            self._check(f"cells/{cell['hash']}")
            table = pd.read_parquet(self.folder.cell(cell["hash"]) / "predictions.parquet")
            tables.append(table.assign(label=cell["label"], role=cell["role"]))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def __getitem__(self, name: str) -> pd.DataFrame:
        """A table of the analyses by name; raises `LorascopeError` naming the tables that there are."""
        file = self.folder.analysis / f"{name}.parquet"
        if not file.is_file():
            raise LorascopeError(f"{self.folder.root}: no table {name!r}; there are {', '.join(self.names) or 'none'}")
        self._check(self.folder.analysis.name)
        return pd.read_parquet(file)

    def findings(self, name: str) -> pd.DataFrame:
        """A table over all analysed folds and seeds: means with their intervals and spreads (see docs/methods.md), for
        the analysed `method` and its `control`. Raises `LorascopeError` naming the tables that there are.
        """
        folder = self.folder.root / "findings"
        file = folder / f"{name}.parquet"
        if not file.is_file():
            there = ", ".join(sorted(path.stem for path in folder.glob("*.parquet"))) or "none"
            raise LorascopeError(f"{self.folder.root}: no findings {name!r}; there are {there}")
        faults = (fault for fault in self.folder.faults() if fault.name == f"findings/{file.name}")
        self._refuse(faults, way_out="`lorascope report` makes it again")
        return pd.read_parquet(file)

    def analysis(self, name: str) -> pd.DataFrame:
        """A table of every analysis, one below the other, with columns `method`, `control`, `fold` and `seed`."""
        parts = []
        for listed in self.manifest.get("analyses") or []:
            self._check(f"analyses/{listed['hash']}")
            file = self.folder.analyses.place(listed["hash"]) / f"{name}.parquet"
            if file.is_file():
                named = {"method": listed["name"], "control": listed["control"] or ""}
                parts.append(pd.read_parquet(file).assign(**named, fold=listed["fold"], seed=listed["seed"]))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def __repr__(self) -> str:
        return f"Results({str(self.folder.root)!r}: {', '.join(self.names)})"
