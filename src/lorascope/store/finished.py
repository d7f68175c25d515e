"""Reads a run folder: the only door between the report and the rest of lorascope.

A report is made from files alone, so that it can be made again from any folder, on a machine that has neither the
corpus nor the models. What a folder lacks is told by `missing`, never invented.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LorascopeError
from . import seals
from .folder import RunFolder

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
    "recurrence": "angles between adapters' input directions",
    "probes": "probes",
    "probe_reasons": "targets that were not probed",
    "frame_lens": "frame lens (frames of some clips)",
    "frame_profile": "frame lens (tenths of a clip)",
    "frame_focus": "frame lens (how many frames decide)",
    "heads": "attention heads",
    "head_logits": "attention heads, by class",
    "counterfactual": "changed sound",
    "counterfactual_classes": "changed sound, by class",
    "recognition": "speech recognition",
    "transcripts": "speech recognition (transcripts)",
    "frontier": "gain against recognition",
    "frontier_chosen": "gain against recognition (chosen on other speakers)",
    "frontier_blocks": "gain against recognition (one α a block)",
    "trajectory_half": "when each number was half way to its last value",
    "trajectory_weights": "weights of the update along the training",
    "trajectory_direction": "direction of the update along the training",
    "trajectory_contribution": "layer contribution along the training",
    "trajectory_lens": "logit lens along the training",
    "trajectory_spectra_summary": "spectra along the training",
}

# the measure of a table that isn't called after it
_MEASURES = {"rank_scores": "ranks", "spectra_summary": "spectra"}
SYNTHETIC = "synthetic speech"
# what everything else in a run folder is made from, among the files that its own seal stands over
SOURCES = (seals.SEAL, "manifest.json", "config.yaml")
AGAIN = "the command that made it, with the same --out, makes it again"


@dataclass(frozen=True)
class FinishedCell:
    """One trained cell: its folder's name, its role in the sweep, and its metrics."""

    hash: str
    role: str
    metrics: dict[str, Any]


@dataclass(frozen=True)
class FinishedAnalysis:
    """One analysis of one trained adapter: its folder, the method's `name` and `label` and its `control` (None for what
    is trained on the true labels), its fold and its seed; with `epoch`, of the adapter at that moment of its training.
    """

    path: Path
    hash: str
    name: str
    label: str
    control: str | None
    fold: str
    seed: int
    epoch: float | None = None

    @cached_property
    def about(self) -> dict[str, Any]:
        """What it tells of itself: clips, speakers, sizes of its fold, models, notes."""
        return _read_json(self.path / "about.json")

    @property
    def stems(self) -> list[str]:
        """Stems of its tables."""
        return sorted(file.stem for file in self.path.glob("*.parquet"))

    def table(self, stem: str) -> pd.DataFrame | None:
        """One of its tables; None where it has none of that name, or an empty one."""
        return _table(self.path / f"{stem}.parquet")


@dataclass(frozen=True)
class FinishedRun:
    """A run folder as `lorascope run` or `lorascope analyze` wrote it.

    Of several analyses its tables are those of `findings/`, over all folds and seeds; with `only`, the address of an
    analysis, they are that one's. `given` is a manifest that isn't written yet.
    """

    path: Path
    only: str | None = None
    given: Mapping[str, Any] | None = None

    @property
    def task(self) -> str:
        """What the classes are of; emotion in folders from before there were other tasks."""
        return str(self.manifest.get("corpus", {}).get("task", "emotion"))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What was run, on what, with what; raises `LorascopeError` where there is no readable manifest."""
        if self.given is not None:
            return dict(self.given)
        file = self.path / "manifest.json"
        if not file.is_file():
            raise LorascopeError(
                f"{file}: no such file, so this is no finished run folder; give one that lorascope wrote"
            )
        return _read_json(file)

    def check(self) -> None:
        """Read every sealed byte that results are made from. Raises `LorascopeError` on the first file that is not as
        it was sealed; what is gone is told by `missing`, and folders of before there were seals have none to break.
        """
        folder = RunFolder(self.path)
        self._refuse(fault for fault in folder.faults() if fault.name in SOURCES)
        moved = folder.moved_on(self.manifest)
        if moved is not None:
            raise LorascopeError(f"{self.path}/{moved}; {AGAIN}")
        for name in self.manifest.get("stands_on") or {}:
            if seals.is_sealed(self.path / name):
                self._refuse(seals.faults(self.path / name), name)

    def _refuse(self, faults: Iterable[seals.Fault], within: str = "") -> None:
        for fault in faults:
            if not fault.gone:
                raise LorascopeError(f"{self.path / within / fault.name}: {fault.what}; {AGAIN}")

    @property
    def unsealed(self) -> list[str]:
        """Cells whose seals the manifest doesn't know: they were made before there were any."""
        known = self.manifest.get("stands_on") or {}
        return [cell.hash for cell in self.cells if f"cells/{cell.hash}" not in known]

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
                names = {key: listed[key] for key in ("name", "label", "fold", "seed") if key in listed}
                cells.append(FinishedCell(listed["hash"], listed["role"], _read_json(file) | names))
        return cells

    @property
    def table1_cells(self) -> list[FinishedCell]:
        """The cells that make up Table 1."""
        return [cell for cell in self.cells if cell.role == "table1"]

    def predictions(self, cell: FinishedCell) -> pd.DataFrame:
        """The test clips of a cell: clip, speaker, emotion, predicted, fold and a logit a class."""
        return _read_parquet(self.path / "cells" / cell.hash / "predictions.parquet")

    @property
    def analyses(self) -> list[FinishedAnalysis]:
        """The manifest's analyses of trained adapters that are there, in its order; none of a folder of before there
        were several.
        """
        return [unit for unit in self._units if unit.epoch is None]

    @property
    def moments(self) -> list[FinishedAnalysis]:
        """The analyses of adapters on their way, as `analyses`; none where no trajectory was asked for."""
        return [unit for unit in self._units if unit.epoch is not None]

    @cached_property
    def _units(self) -> list[FinishedAnalysis]:
        found = []
        for listed in self.manifest.get("analyses") or []:
            folder = self.path / "analyses" / listed["hash"]
            if (folder / "about.json").is_file():
                names = (listed[key] for key in ("hash", "name", "label", "control", "fold", "seed"))
                found.append(FinishedAnalysis(folder, *names, epoch=listed.get("epoch")))
        return found

    @cached_property
    def shown(self) -> list[FinishedAnalysis]:
        """The analyses that figures and report are about: those of the analysed method, without its controls."""
        if self.only is not None:
            return [unit for unit in self.analyses if unit.hash == self.only]
        return [unit for unit in self.analyses if unit.name == self.analyses[0].name]

    @property
    def analysis(self) -> dict[str, Any]:
        """What the analysis tells of itself: of several, the first one; empty where there is none."""
        if self.only is not None:
            unit = self.shown[0]
            return unit.about | {"fold": unit.fold, "seed": unit.seed}
        return self.manifest.get("analysis") or {}

    def table(self, stem: str) -> pd.DataFrame | None:
        """A table of what was analysed, by its stem: of several analyses their means with the intervals over folds, but
        the first one's where a mean has no meaning (positions of clips). None where it was not computed or holds no
        row.

        Those along a training (`trajectory_...`) are of all its folds and seeds, and of no single analysis.
        """
        along = stem.startswith("trajectory_")
        if self.only is not None:
            return None if along else self.shown[0].table(stem)
        if along or len(self.shown) > 1:
            table = _table(self.path / "findings" / f"{stem}.parquet")
            if table is not None:
                own = table[table["method"] == self.shown[0].name].drop(columns=["method", "control"])
                return None if own.empty else own.reset_index(drop=True)
        return None if along else _table(self.path / "analysis" / f"{stem}.parquet")

    def curves(self, stem: str) -> pd.DataFrame | None:
        """As `table`, with a column `unit`: "" for the rows of `table`, and below them the rows of every analysis that
        they are the mean of, under its fold and seed.
        """
        table = self.table(stem)
        if table is None or "folds" not in table:
            return None if table is None else table.assign(unit="")
        parts = [(unit, unit.table(stem)) for unit in self.shown]
        named = [part.assign(unit=f"{unit.fold}/{unit.seed}") for unit, part in parts if part is not None]
        return pd.concat([table.assign(unit=""), *named], ignore_index=True)

    def control(self, stem: str) -> pd.DataFrame | None:
        """As `table`, of the control of what was analysed: the same method, trained on labels that say nothing; None
        where there is none.
        """
        if self.only is not None or not any(unit.control for unit in self.analyses):
            return None
        table = _table(self.path / "findings" / f"{stem}.parquet")
        return None if table is None else table[table["control"].fillna("") != ""].reset_index(drop=True)

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
        """Why a table of the analysis was left out on purpose, by its stem: what the adapter doesn't allow (its notes
        tell it too).
        """
        reasons = self.analysis.get("left_out") or {}
        of_measure: dict[str, tuple[str, ...]] = {
            "ranks": ("ranks", "rank_scores"),
            "spectra": ("spectra", "spectra_summary"),
            "frame_lens": ("frame_lens", "frame_profile", "frame_focus"),
        }
        return {stem: reason for name, reason in reasons.items() for stem in of_measure.get(name, (name,))}

    def asked_for(self, stem: str) -> bool:
        """Whether the analysis was to have one of `ANALYSIS_TABLES`; of every one where it doesn't tell."""
        measures = self.analysis.get("settings", {}).get("measures")
        return measures is None or _MEASURES.get(stem, stem) in measures

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
        if not self.analysis:
            return [*lost, "No analysis was run, hence no figures 1 to 3"]
        for stem, words in ANALYSIS_TABLES.items():
            if self.asked_for(stem) and self.table(stem) is None and stem not in self.left_out:
                lost.append(f"analysis/{stem}.parquet ({words}) is not there or empty")
        if "frozen" not in self.analysis["models"]:
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


def _table(file: Path) -> pd.DataFrame | None:
    """A table that may not be there; None also where it holds no row."""
    table = _read_parquet(file) if file.is_file() else None
    return None if table is None or table.empty else table


def _read_parquet(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LorascopeError(f"{file}: not readable as Parquet ({reason}); run lorascope again to write it") from error
