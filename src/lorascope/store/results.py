"""A run's results as DataFrames, read from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LorascopeError
from .folder import RunFolder, read_json


class Results:
    """The results in a run folder: `results["lens"]` is a table of the analyses, `results.table1` is Table 1.

    Raises `LorascopeError` where the folder holds no run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = RunFolder(folder)
        if not self.folder.manifest.is_file():
            raise LorascopeError(
                f"{folder}: no manifest.json; give a folder that `lorascope run` or `lorascope analyze` wrote"
            )

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
        return pd.read_csv(file) if file.is_file() else pd.DataFrame()

    @property
    def predictions(self) -> pd.DataFrame:
        """Every test clip's gold class, prediction and logits, with the cell's label."""
        tables = []
        for cell in self.manifest["cells"]:
            table = pd.read_parquet(self.folder.cell(cell["hash"]) / "predictions.parquet")
            tables.append(table.assign(label=cell["label"], role=cell["role"]))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def __getitem__(self, name: str) -> pd.DataFrame:
        """A table of the analyses by name; raises `LorascopeError` naming the tables that there are."""
        file = self.folder.analysis / f"{name}.parquet"
        if not file.is_file():
            raise LorascopeError(f"{self.folder.root}: no table {name!r}; there are {', '.join(self.names) or 'none'}")
        return pd.read_parquet(file)

    def __repr__(self) -> str:
        return f"Results({str(self.folder.root)!r}: {', '.join(self.names)})"
