"""What a run would do: its cells, each with its speakers, told before anything is trained.

Reads the corpus' labels, but no audio (of two corpora the headers) and no weights; torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..corpora import Corpus, load_corpus
from ..corpora.folds.folds import Fold, make_folds
from ..corpora.folds.joined import join
from ..errors import LorascopeError
from ..machine.terminal import console
from ..sound.context import refuse_full
from ..sound.decoding import Clip
from ..store.folder import digest
from .config import CorpusConfig, Experiment
from .methods import LORA_KINDS, FrozenConfig, Method, is_shallow, same_words
from .trainer import PLAIN, TrainerConfig


@dataclass(frozen=True)
class Cell:
    """What one cell is: everything that decides its result but the clips' content and the backbone's weights.

    `role` is "table1" (a condition of Table 1) or "rank-space" (trained for the rank ablation of one fold). `name` is the method's name in the experiment,
    `ambiguous` says that another method there has the same words. The role and both names say what a result is called and don't change it; of `trainer` only some arguments do.
    """

    method: Method
    fold: Fold
    backbone: str
    context: str
    classes: tuple[str, ...]
    projection: int
    precision: str
    seed: int
    role: str = "table1"
    name: str = ""
    ambiguous: bool = False
    trainer: TrainerConfig = PLAIN

    @property
    def kind(self) -> str:
        """The method's kind: "lora", "frozen", ..."""
        return self.method.kind

    @property
    def rank(self) -> int | None:
        """The rank of methods that have one."""
        return getattr(self.method, "rank", None)

    @property
    def label(self) -> str:
        """The condition in words."""
        return f"{self.method.words} ({self.name})" if self.ambiguous else self.method.words

    @property
    def settings(self) -> dict[str, Any]:
        """What of the experiment's settings decides the result, as plain data."""
        settings = {
            "method": self.method.model_dump(mode="json"),
            "kind": self.kind,
            "context": self.context,
            "classes": self.classes,
            "projection": self.projection,
            "precision": self.precision,
            "seed": self.seed,
            "selection": self.fold.selection,
            "speakers": [self.fold.train_speakers, self.fold.validation_speakers, self.fold.test_speakers],
        }
        changing = self.trainer.changing(blocks=not isinstance(self.method, FrozenConfig))
        if changing and not is_shallow(self.method):
            settings["trainer"] = changing
        return settings

    def identity(self, fingerprint: str, clips: Mapping[str, Clip], labels: Mapping[str, int]) -> str:
        """The cell's name: the hash of its settings, its clips' names, content and labels, the backbone's weights and the code's version."""
        parts = {
            part: [(clip, clips[clip].hash, labels[clip]) for clip in getattr(self.fold, part)]
            for part in ("train", "validation", "test")
        }
        return digest({"settings": self.settings, "clips": parts, "backbone": fingerprint, "lorascope": __version__})


def corpus_of(experiment: Experiment) -> Corpus:
    """Read the experiment's corpus; with a `test_corpus`, both, joined, of whose sounds the headers are read."""
    corpus = _read(experiment.corpus)
    if experiment.test_corpus is None:
        return corpus
    try:
        other = _read(experiment.test_corpus)
    except LorascopeError as error:
        raise LorascopeError(f"test_corpus: {error}") from error
    return join(corpus, other)


def _read(settings: CorpusConfig) -> Corpus:
    return load_corpus(
        settings.reader,
        root=Path(settings.root) if settings.root else None,
        classes=settings.classes,
        label_map=settings.label_map,
        exclude=settings.exclude,
        **settings.options,
    )


def folds_of(experiment: Experiment, corpus: Corpus) -> list[Fold]:
    """The folds that the experiment runs. Raises `LorascopeError` where `folds.only` names a fold that is not there."""
    folds = make_folds(corpus, **experiment.folds.model_dump(exclude={"only"}))
    names = [fold.name for fold in folds]
    for name in experiment.folds.only:
        if name not in names:
            raise LorascopeError(f"folds.only: no fold {name!r}; the folds are {', '.join(names)}")
    return [fold for fold in folds if not experiment.folds.only or fold.name in experiment.folds.only]


def analysed_fold(experiment: Experiment, folds: Sequence[Fold]) -> Fold | None:
    """The fold whose cells are analysed, None where the experiment has no analysis or nothing to analyse."""
    if experiment.analysis is None or experiment.analysed is None:
        return None
    wanted = experiment.analysis.fold
    if wanted is None:
        return folds[0]
    for fold in folds:
        if fold.name == wanted:
            return fold
    raise LorascopeError(f"analysis.fold: no fold {wanted!r}; the folds are {', '.join(fold.name for fold in folds)}")


def plan(experiment: Experiment, corpus: Corpus | None = None) -> list[Cell]:
    """Every cell of an experiment, in the order in which they run: method by method, fold by fold, then the other ranks of the analysed fold."""
    refuse_full(experiment.backbone.name, experiment.backbone.context, "backbone.context")
    corpus = corpus or corpus_of(experiment)
    folds = folds_of(experiment, corpus)

    methods = experiment.conditions
    ambiguous = same_words(methods)

    def cell(name: str, method: Method, fold: Fold, role: str = "table1") -> Cell:
        return Cell(
            method=method,
            fold=fold,
            backbone=experiment.backbone.name,
            context=experiment.backbone.context,
            classes=corpus.classes,
            projection=experiment.head.projection,
            precision=experiment.precision,
            seed=experiment.seed,
            role=role,
            name=name,
            ambiguous=name in ambiguous,
            trainer=experiment.trainer,
        )

    cells = [cell(name, method, fold) for fold in folds for name, method in methods.items()]
    fold, name = analysed_fold(experiment, folds), experiment.analysed
    if fold is not None and name is not None:
        # a rank that is a method of its own is trained once
        others = [method for method in other_ranks(experiment) if method not in methods.values()]
        cells += [cell(name, method, fold, "rank-space") for method in others]
    return cells


def other_ranks(experiment: Experiment) -> list[Any]:
    """The analysed method at the other ranks of the rank space; empty where it has none."""
    name = experiment.analysed
    if name is None or experiment.analysis is None or experiment.conditions[name].kind not in LORA_KINDS:
        return []
    method: Any = experiment.conditions[name]
    return [method.at_rank(rank) for rank in experiment.analysis.ranks if rank != method.rank]


def describe(experiment: Experiment) -> dict[str, Any]:
    """The plan as plain data: the corpus, what is left out, and every cell with its speakers and clip counts."""
    corpus = corpus_of(experiment)
    cells = plan(experiment, corpus)
    fold = analysed_fold(experiment, [cell.fold for cell in cells])
    return {
        "name": experiment.name,
        "corpus": {
            "name": corpus.name,
            "synthetic": corpus.synthetic,
            "clips": len(corpus.clips),
            "speakers": int(corpus.clips["speaker"].nunique()),
            "left_out": corpus.left_out.to_dict(orient="records"),
            "notes": list(corpus.notes),
        },
        "backbone": experiment.backbone.model_dump(),
        "analysed_fold": None if fold is None else fold.name,
        "cells": [_described(cell) for cell in cells],
    }


def _described(cell: Cell) -> dict[str, Any]:
    fold = cell.fold
    return {
        "name": cell.name,
        "method": cell.kind,
        "label": cell.label,
        "role": cell.role,
        "rank": cell.rank,
        "fold": fold.name,
        "speakers": {
            "train": list(fold.train_speakers),
            "validation": list(fold.validation_speakers),
            "test": list(fold.test_speakers),
            "removed": list(fold.removed_speakers),
        },
        "clips": {part: len(getattr(fold, part)) for part in ("train", "validation", "test")},
        "selection": fold.selection,
        "optimistic": list(fold.optimistic),
        "notes": list(fold.notes),
        "learning_rates": [] if is_shallow(cell.method) else list(getattr(cell.method, "learning_rate", ())),
        "epochs": None if is_shallow(cell.method) else getattr(cell.method, "epochs", None),
        "C": list(cell.method.C) if is_shallow(cell.method) else [],
    }


def print_plan(description: dict[str, Any]) -> None:
    """Print a plan as a table for people."""
    from rich.table import Table

    terminal = console()
    corpus = description["corpus"]
    terminal.print(
        f"{description['name']}: {corpus['name']}, {corpus['clips']} clips of {corpus['speakers']} speakers",
    )
    for entry in corpus["left_out"]:
        terminal.print(f"left out: {entry['clips']} clips, {entry['reason']}")
    for note in corpus["notes"]:
        terminal.print(f"note: {note}")
    folds = {cell["fold"]: cell for cell in description["cells"]}
    for note in dict.fromkeys(note for cell in folds.values() for note in cell["notes"]):
        terminal.print(f"note: {note}")
    table = Table(box=None, pad_edge=False)
    for column in ("fold", "test", "validation", "training", "clips"):
        table.add_column(column, no_wrap=column in ("fold", "clips"))
    for name, cell in folds.items():
        speakers, clips = cell["speakers"], cell["clips"]
        table.add_row(
            name,
            _few(speakers["test"]),
            _few(speakers["validation"]) or "the test fold",
            _few(speakers["train"]),
            f"{clips['test']} / {clips['validation']} / {clips['train']}",
        )
    terminal.print(table)
    trained: dict[str, list[str]] = {}
    for cell in description["cells"]:
        label = cell["label"] + (" (rank space)" if cell["role"] == "rank-space" else "")
        trained.setdefault(label, []).append(cell["fold"])
    terminal.print(f"{len(description['cells'])} cells:")
    for label, names in trained.items():
        where = "in every fold" if len(names) == len(folds) else f"in fold {_few(names)}"
        terminal.print(f"  {label}, {where}")
    for reason in dict.fromkeys(reason for cell in description["cells"] for reason in cell["optimistic"]):
        terminal.print(f"optimistic: {reason}")


def _few(names: Sequence[str]) -> str:
    """Names side by side, a corpus that they share told once; of more than a line of them three, the last and their number (`--json` has all)."""
    corpora = {name.rpartition("/")[0] for name in names}
    if corpora - {""} and len(corpora) == 1:
        return f"{corpora.pop()}: {_few([name.rpartition('/')[2] for name in names])}"
    return " ".join(names) if len(names) <= 10 else f"{' '.join(names[:3])} … {names[-1]} ({len(names)})"
