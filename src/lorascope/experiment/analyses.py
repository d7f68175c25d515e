"""Which analyses an experiment needs: one of each analysed method in each analysed fold, for each seed.

An analysis is named as a cell is: before anything is read by the keys of its cells and the ids of its clips, afterwards
by their addresses and contents. torch is not imported here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from ..corpora import Corpus
from ..corpora.folds.folds import Fold, held_out, sample_from
from ..sound.decoding import Clip
from ..store.folder import digest
from .config import AnalysisConfig, Experiment
from .methods import SHALLOW_HEADS, FrozenConfig, controls_of, recipe_of
from .planning import Cell, analysed_folds, other_ranks

#: Counts up when what an analysis does around its measures changes its numbers; a measure has a `VERSION` of its own.
VERSION = 1


@dataclass(frozen=True)
class AnalysisUnit:
    """One analysis: `main` is the cell whose adapter is measured, `frozen` the baseline's of the same fold and seed,
    whose head the frozen encoder gets (None where there is none), `ranks` are cells of other ranks, for the rank space
    alone. With `epoch` it is of the adapter as it was at that moment of its training. `clips` are columns clip,
    speaker, emotion; `per_class` tells how many there were and were taken, `clips_from` whose they are ("test" or
    "test+validation").
    """

    main: Cell
    frozen: Cell | None
    ranks: tuple[Cell, ...]
    config: AnalysisConfig
    clips: pd.DataFrame
    per_class: pd.DataFrame
    clips_from: str
    epoch: float | None = None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells that must be whole before."""
        return (self.main, *(() if self.frozen is None else (self.frozen,)), *self.ranks)

    @property
    def fold(self) -> Fold:
        """The fold of all of them."""
        return self.main.fold

    @property
    def words(self) -> str:
        """The analysis in words."""
        moment = "" if self.epoch is None else f", epoch {self.epoch:g}"
        return f"analysis of {self.main.label}, {self.main.where}{moment}"

    @property
    def names(self) -> dict[str, Any]:
        """What it is called in its experiment; none of it changes a number."""
        main = self.main
        told = {"name": main.name, "label": main.label, "control": main.method.control}
        if self.epoch is not None:
            told["epoch"] = self.epoch
        return told | {"fold": main.fold.name, "seed": main.of_seed, "clips_from": self.clips_from}

    @property
    def versions(self) -> dict[str, Any]:
        """The versions of what computes its numbers: of the analysis and of each measure."""
        return versions_of(self.config.measures)

    @property
    def key(self) -> str:
        """What the analysis is called before anything is read (see `Cell.key`)."""
        return self._digest(lambda cell: cell.key, list)

    def address(self, cells: Mapping[str, str], clips: Mapping[str, Clip]) -> str:
        """Where the analysis lies, under analyses/: the hash of its settings, its cells' addresses (by their keys), its
        clips' names and content, and the versions of what computes it.
        """
        return self._digest(lambda cell: cells[cell.key], lambda ids: [(clip, clips[clip].hash) for clip in ids])

    def _digest(self, name: Callable[[Cell], str], told: Callable[[Sequence[str]], Any]) -> str:
        parts = [name(self.main), self.frozen and name(self.frozen), [name(cell) for cell in self.ranks]]
        clips = told([str(clip) for clip in self.clips["clip"]])
        moment = [] if self.epoch is None else [self.epoch]
        return digest(
            [
                *["analysis", VERSION, self.versions["measures"], self.config.settings, parts, clips],
                *[self.main.context, *moment],
            ]
        )


def plan_analyses(experiment: Experiment, corpus: Corpus, cells: Sequence[Cell]) -> list[AnalysisUnit]:
    """Every analysis of an experiment whose cells these are, in the order of the folds: the analysed method and its
    controls, with each seed.
    """
    config, main = experiment.analysis, experiment.analysed
    if config is None or main is None:
        return []
    methods = [main, *controls_of(main, experiment.conditions)]
    ranks = other_ranks(experiment)
    folds = {cell.fold.name: cell.fold for cell in cells}
    units = []
    for fold in analysed_folds(experiment, list(folds.values())):
        ids, clips_from = held_out(corpus, fold, config.clips_per_class, config.clips_from)
        clips, per_class = sample_from(corpus, ids, config.clips_per_class, config.seed)
        here = [cell for cell in cells if cell.fold.name == fold.name]
        for seed in dict.fromkeys(cell.of_seed for cell in here):
            own = [cell for cell in here if cell.of_seed == seed]
            head = recipe_of(experiment.conditions[main]).head
            frozen = next((cell for cell in own if _is_baseline(cell, head)), None)
            for name in methods:
                # the rank space is the analysed method's own
                others = tuple(cell for cell in own if cell.method in ranks) if name == main else ()
                chosen = next(cell for cell in own if cell.name == name and cell.role == "table1")
                whole = AnalysisUnit(chosen, frozen, others, config, clips, per_class, clips_from)
                units.append(whole)
                for epoch in chosen.moments:
                    units.append(replace(whole, ranks=(), config=config.along, epoch=epoch))
    return units


def _is_baseline(cell: Cell, head: str) -> bool:
    """Whether a cell is the frozen encoder with a head of this kind, trained as the adapted one's; a logistic
    regression is none.
    """
    method = cell.method
    if not isinstance(method, FrozenConfig) or method.head in SHALLOW_HEADS or method.control is not None:
        return False
    return method.head == head


def versions_of(measures: Sequence[str]) -> dict[str, Any]:
    """The versions of what computes the numbers of these measures."""
    return {"analysis": VERSION, "measures": {name: version_of(name) for name in measures}}


@cache
def version_of(measure: str) -> int:
    """The version of a measure's numbers: `VERSION` in its file, which isn't imported, else 1."""
    file = Path(__file__).parents[1] / "analysis" / "measures" / f"{measure}.py"
    for line in ast.parse(file.read_text(encoding="utf-8")).body if file.is_file() else ():
        if isinstance(line, ast.Assign) and [getattr(name, "id", "") for name in line.targets] == ["VERSION"]:
            return int(ast.literal_eval(line.value))
    return 1
