"""Reads a run folder: the only door between the report and the rest of lorascope.

A report is made from files alone, so that it can be made again from any folder, on a machine that has neither the corpus
nor the models. What a folder lacks is told by `missing`, never invented.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LorascopeError

#: The tables of the analysis, by the stem of their file, and what each holds in plain words.
ANALYSIS_TABLES = {
    "contribution": "layer contribution",
    "lens": "logit lens",
    "ranks": "rank space (positions)",
    "rank_scores": "rank space (scores)",
    "spectra": "energy curves",
    "spectra_summary": "spectra (k90, participation ratio, entropy rank)",
    "cka": "CKA",
    "erasure": "layer erasure",
}
#: The tables of measures that a config must name: not there where it doesn't, and nothing is missing then.
ASKED_TABLES = {
    "dial": "dials (layer, module, whole)",
    "dial_depth": "depth of half the adapter's gain",
    "rank_dial": "rank dial",
    "rank_dial_least": "least share of directions",
    "patching": "patching",
    "weights": "weights of the update",
    "weight_spectra": "spectra of the update's weights",
    "intruders": "intruder dimensions",
    "weight_angles": "angles between layers' input directions",
    "probes": "probes",
    "probe_reasons": "targets that were not probed",
    "frame_lens": "frame lens (frames of some clips)",
    "frame_profile": "frame lens (tenths of a clip)",
    "frame_focus": "frame lens (how many frames decide)",
    "heads": "attention heads",
    "head_logits": "attention heads, by class",
}

SYNTHETIC = "synthetic speech"


@dataclass(frozen=True)
class FinishedCell:
    """One trained cell: its folder's name, its role in the sweep, and its metrics."""

    hash: str
    role: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """A run folder as `lorascope run` or `lorascope analyze` wrote it."""

    path: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was run, on what, with what; raises `LorascopeError` where there is no readable manifest."""
        file = self.path / "manifest.json"
        if not file.is_file():
            raise LorascopeError(
                f"{file}: no such file, so this is no finished run folder; give one that lorascope wrote"
            )
        return _read_json(file)

    @cached_property
    def config(self) -> str:
        """The resolved experiment as YAML text; empty where the folder holds none."""
        file = self.path / "config.yaml"
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @cached_property
    def cells(self) -> list[FinishedCell]:
        """The manifest's cells whose metrics are there, in the manifest's order."""
        cells = []
        for listed in self.manifest.get("cells") or []:
            file = self.path / "cells" / listed["hash"] / "metrics.json"
            if file.is_file():
                # a cell that several experiments share may bear another name in each
                names = {key: listed[key] for key in ("name", "label") if key in listed}
                cells.append(FinishedCell(listed["hash"], listed["role"], _read_json(file) | names))
        return cells

    @property
    def table1_cells(self) -> list[FinishedCell]:
        """The cells that make up Table 1."""
        return [cell for cell in self.cells if cell.role == "table1"]

    def predictions(self, cell: FinishedCell) -> pd.DataFrame:
        """The test clips of a cell: clip, speaker, emotion, predicted, fold and a logit a class."""
        return _read_parquet(self.path / "cells" / cell.hash / "predictions.parquet")

    def table(self, stem: str) -> pd.DataFrame | None:
        """A table of the analysis by the stem of its file; None where it was not computed or holds no row."""
        file = self.path / "analysis" / f"{stem}.parquet"
        if not file.is_file():
            return None
        table = _read_parquet(file)
        return None if table.empty else table

    @property
    def synthetic(self) -> bool:
        """Whether the speech was made by a machine."""
        return bool((self.manifest.get("corpus") or {}).get("synthetic"))

    @property
    def optimistic(self) -> list[str]:
        """Why results flatter the model (test speakers seen in training or selection), without repeats."""
        reasons = [reason for cell in self.cells for reason in cell.metrics.get("optimistic") or []]
        return list(dict.fromkeys(reasons))

    @property
    def marks(self) -> list[str]:
        """What must stand wherever a number of this run is shown; empty for an honest run on real speech."""
        marks = [SYNTHETIC] if self.synthetic else []
        return [*marks, *(f"optimistic: {reason}" for reason in self.optimistic)]

    @property
    def left_out(self) -> dict[str, str]:
        """Why a table of the analysis was left out on purpose, by its stem: what the adapter doesn't allow (its notes tell it too)."""
        reasons = (self.manifest.get("analysis") or {}).get("left_out") or {}
        of_measure = {"ranks": ("ranks", "rank_scores"), "spectra": ("spectra", "spectra_summary")}
        of_measure["frame_lens"] = ("frame_lens", "frame_profile", "frame_focus")
        return {stem: reason for name, reason in reasons.items() for stem in of_measure.get(name, (name,))}

    @property
    def missing(self) -> list[str]:
        """One sentence for each piece that a whole run would have and this folder has not."""
        lost = []
        listed = self.manifest.get("cells") or []
        present = {cell.hash for cell in self.cells}
        for cell in listed:
            if cell["hash"] not in present:
                lost.append(f"cells/{cell['hash']} ({cell['label']}, fold {cell['fold']}) holds no metrics.json")
        if not listed:
            lost.append("No cell was trained here (an analysis of a given adapter), hence no Table 1")
        elif not any(cell["role"] == "table1" for cell in listed):
            lost.append("No cell has the role of Table 1")
        if self.manifest.get("analysis") is None:
            return [*lost, "No analysis was run, hence no figures 1 to 3"]
        for stem, words in ANALYSIS_TABLES.items():
            if self.table(stem) is None and stem not in self.left_out:
                lost.append(f"analysis/{stem}.parquet ({words}) is not there or empty")
        if "frozen" not in self.manifest["analysis"]["models"]:
            lost.append("No frozen model was analysed, so nothing is shown as a change from it")
        return lost


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dicts by column."""
    return [dict(zip(map(str, table.columns), row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LorascopeError(f"{file}: not readable as JSON ({error}); run lorascope again to write it") from error


def _read_parquet(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LorascopeError(f"{file}: not readable as Parquet ({reason}); run lorascope again to write it") from error
