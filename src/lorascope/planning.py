"""What a run would do: its cells, each with its speakers, told before anything is trained.

Reads the corpus' labels, but no audio and no weights; torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__
from .audio import Clip
from .config import Experiment, FrozenConfig, LoraConfig
from .context import refuse_full
from .corpora import Corpus, load_corpus
from .corpora.folds import Fold, make_folds
from .errors import LorascopeError
from .store import digest


@dataclass(frozen=True)
class Cell:
    """What one cell is: everything that decides its result but the clips' content and the backbone's weights.

    `role` is "table1" (a condition of Table 1) or "rank-space" (trained for the rank ablation of one fold).
    """

    method: FrozenConfig | LoraConfig
    fold: Fold
    backbone: str
    context: str
    classes: tuple[str, ...]
    projection: int
    precision: str
    seed: int
    role: str = "table1"

    @property
    def kind(self) -> str:
        """The method's name: "lora" or "frozen"."""
        return "lora" if isinstance(self.method, LoraConfig) else "frozen"

    @property
    def rank(self) -> int | None:
        """LoRA's rank, None for the frozen baseline."""
        return self.method.rank if isinstance(self.method, LoraConfig) else None

    @property
    def label(self) -> str:
        """The condition in words."""
        if isinstance(self.method, LoraConfig):
            return f"LoRA r={self.method.rank} {'+'.join(self.method.targets)}"
        return "frozen"

    def identity(self, fingerprint: str, clips: Mapping[str, Clip], labels: Mapping[str, int]) -> str:
        """The cell's name: the hash of its settings, its clips' names, content and labels, the backbone's weights and the code's version."""
        parts = {
            part: [(clip, clips[clip].hash, labels[clip]) for clip in getattr(self.fold, part)]
            for part in ("train", "validation", "test")
        }
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
        return digest({"settings": settings, "clips": parts, "backbone": fingerprint, "lorascope": __version__})


def corpus_of(experiment: Experiment) -> Corpus:
    """Read the experiment's corpus."""
    settings = experiment.corpus
    return load_corpus(
        settings.reader,
        root=Path(settings.root) if settings.root else None,
        classes=settings.classes,
        label_map=settings.label_map,
        exclude=settings.exclude,
        **settings.options,
    )


def folds_of(experiment: Experiment, corpus: Corpus) -> list[Fold]:
    """The folds that the experiment runs. Raises `LorascopeError` where `folds.only` names a speaker that is not there."""
    folds = make_folds(corpus, experiment.folds.protocol, experiment.folds.selection, experiment.folds.seed)
    names = [fold.name for fold in folds]
    for name in experiment.folds.only:
        if name not in names:
            raise LorascopeError(f"folds.only: no fold {name!r}; the folds are {', '.join(names)}")
    return [fold for fold in folds if not experiment.folds.only or fold.name in experiment.folds.only]


def analysed_fold(experiment: Experiment, folds: Sequence[Fold]) -> Fold | None:
    """The fold whose cells are analysed, None where the experiment has no analysis or no LoRA."""
    if experiment.analysis is None or experiment.methods.lora is None:
        return None
    wanted = experiment.analysis.fold
    if wanted is None:
        return folds[0]
    for fold in folds:
        if fold.name == wanted:
            return fold
    raise LorascopeError(f"analysis.fold: no fold {wanted!r}; the folds are {', '.join(fold.name for fold in folds)}")


def plan(experiment: Experiment, corpus: Corpus | None = None) -> list[Cell]:
    """Every cell of an experiment, in the order in which they run: frozen, then LoRA, fold by fold, then the other ranks of the analysed fold.

    Reads the corpus' labels, but no audio and no weights.
    """
    refuse_full(experiment.backbone.name, experiment.backbone.context, "backbone.context")
    corpus = corpus or corpus_of(experiment)
    folds = folds_of(experiment, corpus)

    def cell(method: Any, fold: Fold, role: str = "table1") -> Cell:
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
        )

    methods = [method for method in (experiment.methods.frozen, experiment.methods.lora) if method is not None]
    cells = [cell(method, fold) for fold in folds for method in methods]
    fold, lora = analysed_fold(experiment, folds), experiment.methods.lora
    if fold is not None and lora is not None and experiment.analysis is not None:
        for rank in experiment.analysis.ranks:
            if rank != lora.rank:
                # the same alpha / rank, so that the update's scale is not another difference between ranks
                cells.append(
                    cell(
                        lora.model_copy(update={"rank": rank, "alpha": lora.alpha * rank / lora.rank}),
                        fold,
                        "rank-space",
                    )
                )
    return cells


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
        "learning_rates": list(cell.method.learning_rate),
        "epochs": cell.method.epochs,
    }


def print_plan(description: dict[str, Any]) -> None:
    """Print a plan as a table for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    corpus = description["corpus"]
    console.print(
        f"{description['name']}: {corpus['name']}, {corpus['clips']} clips of {corpus['speakers']} speakers",
        highlight=False,
    )
    for entry in corpus["left_out"]:
        console.print(f"left out: {entry['clips']} clips, {entry['reason']}", highlight=False)
    for note in corpus["notes"]:
        console.print(f"note: {note}", highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("cell", "fold", "test", "validation", "training", "clips"):
        table.add_column(column)
    for cell in description["cells"]:
        speakers, clips = cell["speakers"], cell["clips"]
        table.add_row(
            cell["label"] + (" (rank space)" if cell["role"] == "rank-space" else ""),
            cell["fold"],
            " ".join(speakers["test"]),
            " ".join(speakers["validation"]) or "the test fold",
            " ".join(speakers["train"]),
            f"{clips['train']} / {clips['validation']} / {clips['test']}",
        )
    console.print(table)
    for reason in dict.fromkeys(reason for cell in description["cells"] for reason in cell["optimistic"]):
        console.print(f"optimistic: {reason}", highlight=False)
