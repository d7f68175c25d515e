"""Runs made into settings: the adapters of each corpus and encoder, with what doesn't belong together refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ...errors import LorascopeError
from ...store.finished import FinishedAnalysis, FinishedCell, FinishedRun
from .setting import SHUFFLED, TRAINED, Setting, Unit

#: Kinds of methods that leave the encoder as it is.
UNADAPTED = ("frozen", "classic")
#: Keys of a configuration in which runs of one setting may differ: they change which units and tables there are, or
#: nothing at all.
FREE = ("name", "seeds", "seed", "folds.only", "corpus.root", "test_corpus.root", "methods")
VERSION = "version of measure"
#: The same of the section `analysis`.
FREE_ANALYSIS = ("measures", "fold", "folds", "clips_from", "ranks", "trajectory", "method", "baselines")
FREE_ANALYSIS += ("batch_size", "batch_frames", "memory_mib")


def gather(folders: Sequence[str | Path]) -> list[Setting]:
    """The settings of some runs, in the order in which they come. A sweep's folder stands for its experiments.

    Every sealed byte is checked first. Raises `LorascopeError` where one is another than was sealed, a folder is no run
    or trained no adapter, runs of one corpus and encoder were not made alike, adapters of different kinds are mixed, a
    speaker is tested in two folds, or a table of a unit is there twice.
    """
    runs = [_Run(FinishedRun(path)) for folder in folders for path in _runs_in(Path(folder))]
    if not runs:
        raise LorascopeError("no run was given; give folders that `lorascope run` or `lorascope sweep` wrote")
    settings: dict[tuple[str, str], list[_Run]] = {}
    for run in runs:
        run.finished.check()
        run.refuse_untrained()
        settings.setdefault(run.key, []).append(run)
    for run in runs[1:]:
        if run.adapter != runs[0].adapter:
            raise LorascopeError(
                f"{run.path}: its adapters are {run.adapter}, those of {runs[0].path} {runs[0].adapter}; "
                "decide on them in two calls"
            )
    return [_setting(several) for several in settings.values()]


def _runs_in(folder: Path) -> list[Path]:
    """A run's folder itself, or the run folders of a sweep."""
    inner = folder / "experiments"
    if (folder / "grid.yaml").is_file() and inner.is_dir():
        return sorted(path for path in inner.iterdir() if (path / "manifest.json").is_file())
    return [folder]


@dataclass(frozen=True)
class _Run:
    """One run folder, as far as statements are concerned."""

    finished: FinishedRun

    @property
    def path(self) -> Path:
        return self.finished.path

    @property
    def manifest(self) -> dict[str, Any]:
        return self.finished.manifest

    @property
    def key(self) -> tuple[str, str]:
        """Corpus and encoder."""
        name = str(self.manifest["backbone"]["name"])
        return str(self.manifest["corpus"]["name"]), Path(name).name if name.startswith(("/", ".", "~")) else name

    @cached_property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load(self.finished.config) or {}

    @cached_property
    def methods(self) -> dict[str, dict[str, Any]]:
        given = self.config.get("methods") or {}
        return {str(name): settings for name, settings in given.items() if isinstance(settings, dict)}

    @cached_property
    def main(self) -> str:
        """Name of the method whose adapters these are: the analysed one, else the first that changes the encoder."""
        for unit in self.finished.analyses:
            if not unit.control:
                return unit.name
        for cell in self.finished.table1_cells:
            name = str(cell.metrics.get("name", cell.metrics["method"]))
            if cell.metrics["method"] not in UNADAPTED and not self.methods.get(name, {}).get("control"):
                return name
        return ""

    @property
    def own(self) -> list[FinishedCell]:
        """The cells of that method."""
        return [cell for cell in self.finished.table1_cells if self.name_of(cell) == self.main]

    def name_of(self, cell: FinishedCell) -> str:
        """What the experiment calls a cell's method."""
        return str(cell.metrics.get("name", cell.metrics["method"]))

    @property
    def adapter(self) -> str:
        """The adapters in words."""
        return str(self.own[0].metrics["label"]).removesuffix(f" ({self.main})")

    @cached_property
    def alike(self) -> dict[str, Any]:
        """What runs of one setting must have in common, by key."""
        found = {f"backbone {key}": self.manifest["backbone"].get(key) for key in ("sha256", "context", "layers")}
        found |= {"classes": self.manifest["corpus"].get("classes")}
        for key, value in _flat(self.config):
            section, _, within = key.partition(".")
            free = any(key == name or key.startswith(f"{name}.") for name in FREE)
            free = free or section == "trainer" or (section == "analysis" and within.split(".")[0] in FREE_ANALYSIS)
            if not free:
                found[key] = value
        found["one seed for all folds"] = not self.config.get("seeds")
        for name, settings in self.methods.items():
            found |= {f"methods.{name}.{key}": value for key, value in _flat(settings)}
        found["the analysed method"] = self.main
        for unit in self.finished.analyses:
            versions = (unit.about.get("versions") or {}).get("measures") or {}
            found |= {f"{VERSION} {name}": version for name, version in versions.items()}
        return found

    def refuse_untrained(self) -> None:
        """Raise `LorascopeError` where no adapter was trained here."""
        if not self.main or not self.own:
            raise LorascopeError(
                f"{self.path}: no adapter was trained here, so there are no folds to decide over; give a folder that "
                "`lorascope run` wrote"
            )


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


@dataclass
class _Gathered:
    """What the runs of one setting hold, by who and what it is of."""

    #: (adapter, fold, seed, clips, stem) -> the analysis that has it, and its run
    tables: dict[tuple[str, str, int, str, str], tuple[FinishedAnalysis, Path]] = field(default_factory=dict)
    #: (name, fold, seed) -> cell
    cells: dict[tuple[str, str, int], FinishedCell] = field(default_factory=dict)
    #: fold -> its test speakers
    folds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    clips: dict[str, str] = field(default_factory=dict)

    def take(self, run: _Run) -> None:
        """Add a run; raises `LorascopeError` where it doesn't fit the others."""
        for name, content in (run.manifest.get("clips") or {}).items():
            if self.clips.setdefault(name, content) != content:
                raise LorascopeError(
                    f"{run.path}: clip {name} is another sound than in the runs before; give one of them"
                )
        for cell in run.finished.table1_cells:
            self._take_cell(run, cell)
        for unit in run.finished.analyses:
            self._take_analysis(run, unit)

    def _take_cell(self, run: _Run, cell: FinishedCell) -> None:
        metrics = cell.metrics
        fold, seed = str(metrics["fold"]), int(metrics.get("seed", 0))
        tested = tuple(map(str, metrics["test_speakers"]))
        if self.folds.setdefault(fold, tested) != tested:
            raise LorascopeError(
                f"{run.path}: fold {fold} tests other speakers than in the runs before; give one of them"
            )
        for other, speakers in self.folds.items():
            shared = set(speakers) & set(tested)
            if other != fold and shared:
                raise LorascopeError(
                    f"{run.path}: folds {other} and {fold} overlap: both test {', '.join(sorted(shared))}; give runs "
                    "of one protocol"
                )
        self.sizes[fold] = int(metrics["clips"]["train"]), int(metrics["clips"]["test"])
        key = (run.name_of(cell), fold, seed)
        if self.cells.setdefault(key, cell).hash != cell.hash:
            raise LorascopeError(
                f"{run.path}: {key[0]}, fold {fold}, seed {seed} was trained twice, as cells {self.cells[key].hash} "
                f"and {cell.hash}; give one of them"
            )

    def _take_analysis(self, run: _Run, unit: FinishedAnalysis) -> None:
        adapter = SHUFFLED if unit.control else TRAINED
        for stem in unit.stems:
            key = (adapter, str(unit.fold), int(unit.seed), str(unit.about.get("clips_from")), stem)
            if key in self.tables:
                raise LorascopeError(
                    f"{run.path}: `{stem}` of {unit.name}, fold {unit.fold}, seed {unit.seed} is in "
                    f"{self.tables[key][1]} too: a unit counts once; give one of them"
                )
            self.tables[key] = unit, run.path

    def unit(self, fold: str, seed: int) -> Unit:
        """One adapter, whose tables are read when they are asked for, and then kept."""
        kept: dict[tuple[str, str, str], pd.DataFrame | None] = {}

        def read(adapter: str, clips: str, stem: str) -> pd.DataFrame | None:
            asked = (adapter, clips, stem)
            if asked not in kept:
                found = self.tables.get((adapter, fold, seed, clips, stem))
                kept[asked] = None if found is None else found[0].table(stem)
            return kept[asked]

        return Unit(fold, seed, read)


def _setting(runs: Sequence[_Run]) -> Setting:
    """The setting of some runs of one corpus and encoder."""
    found = _Gathered()
    for run in runs:
        for other in runs[: runs.index(run)]:
            _refuse_unlike(run, other)
        found.take(run)
    first, (corpus, encoder) = runs[0], runs[0].key
    units = [found.unit(fold, seed) for name, fold, seed in found.cells if name == first.main]
    train, test = (sum(sizes) / len(sizes) for sizes in zip(*found.sizes.values(), strict=True))
    measures = dict.fromkeys(
        name
        for run in runs
        for unit in run.finished.analyses
        for name in unit.about.get("settings", {}).get("measures", ())
    )
    return Setting(
        corpus=corpus,
        encoder=encoder,
        adapter=first.adapter,
        layers=int(first.manifest["backbone"]["layers"]),
        classes=tuple(first.manifest["corpus"]["classes"]),
        units=units,
        test_over_train=test / train,
        main=first.main,
        method=first.methods.get(first.main, {}),
        scores=_scores(found, {name: settings for run in runs for name, settings in run.methods.items()}),
        measures=tuple(measures),
        created=min(str(run.manifest.get("created", "")) for run in runs),
        synthetic=any(run.finished.synthetic for run in runs),
        marks=tuple(dict.fromkeys(mark for run in runs for mark in run.finished.marks)),
        notes=tuple(_notes(first)),
    )


def _refuse_unlike(run: _Run, other: _Run) -> None:
    """Raise `LorascopeError` where two runs of one setting differ in what decides a number."""
    shared = set(run.methods) & set(other.methods)
    for key in dict.fromkeys([*other.alike, *run.alike]):
        section, _, within = key.partition(".")
        # a method or a measure that only one of them has is no difference
        if section == "methods" and within.split(".")[0] not in shared:
            continue
        if key.startswith(VERSION) and not (key in run.alike and key in other.alike):
            continue
        mine, theirs = run.alike.get(key), other.alike.get(key)
        if mine != theirs:
            raise LorascopeError(
                f"{run.path}: {key} is {mine}, in {other.path} {theirs}: runs of one corpus and encoder must be made "
                "alike; decide on them in two calls"
            )


def _notes(run: _Run) -> Iterator[str]:
    if not run.config.get("seeds"):
        yield (
            "One `seed` for all folds: every adapter begins alike, so folds agree more than they would; `seeds: "
            "[...]` draws each fold's own."
        )


def _scores(found: _Gathered, methods: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row a trained cell (see `Setting.scores`)."""
    rows = []
    for (name, fold, seed), cell in found.cells.items():
        settings, metrics = methods.get(name, {}), cell.metrics
        kind = str(metrics["method"])
        row = {"name": name, "fold": fold, "seed": seed, "kind": kind, "control": settings.get("control") or ""}
        row |= {"head": settings.get("head", "last") if kind == "frozen" else ""}
        validation = metrics["validation"]
        row |= {"uar": float(metrics["uar"]), "validation_uar": float(validation["uar"])}
        rows.append(row | {"validation_loss": float(validation.get("loss", float("nan")))})
    return pd.DataFrame(rows)
