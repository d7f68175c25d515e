"""What a run would do: its cells, each with its speakers, told before anything is trained.

Reads the corpus' labels, but no audio (of two corpora the headers) and no weights; torch is not imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..corpora import Corpus, load_corpus
from ..corpora.folds.folds import Fold, make_folds
from ..corpora.folds.joined import join
from ..errors import LorascopeError
from ..sound.context import refuse_full
from ..sound.decoding import Clip
from ..store.folder import digest
from .config import CorpusConfig, Experiment
from .methods import LORA_KINDS, FrozenConfig, Method, controls_of, is_shallow, same_words
from .trainer import PLAIN, TrainerConfig

#: Since which release a training gives what it gives today. To be raised, to the release that is being made, when a
#: cell's result changes: then nothing that was trained before is taken up.
TRAINED_AS = "0.1.0"


@dataclass(frozen=True)
class Cell:
    """What one cell is: everything that decides its result but the clips' content and the backbone's weights.

    `seed` is what head, adapter, order of clips and dropout are drawn from, `named_seed` the experiment's own that it
    comes from (None: the same). `role` is "table1" (a condition of Table 1) or "rank-space" (trained for the rank
    ablation of the analysed folds). `name` is the method's name in the experiment, `ambiguous` says that another method
    there has the same words. The role and both names say what a result is called and don't change it; of `trainer` only
    some arguments do. `moments` are the epochs at which the adapter is kept while it is trained: its result doesn't
    depend on them, but what lies in its folder does. `corpora` say where its clips come from, by which `key` tells it
    from cells of other corpora.
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
    corpora: tuple[CorpusConfig | None, ...] = ()
    named_seed: int | None = None
    moments: tuple[float, ...] = ()

    @property
    def kind(self) -> str:
        """The method's kind: "lora", "frozen", ..."""
        return self.method.kind

    @property
    def rank(self) -> int | None:
        """The rank of methods that have one."""
        return getattr(self.method, "rank", None)

    @property
    def of_seed(self) -> int:
        """The experiment's seed that the cell belongs to."""
        return self.seed if self.named_seed is None else self.named_seed

    @property
    def label(self) -> str:
        """The condition in words."""
        return f"{self.method.words} ({self.name})" if self.ambiguous else self.method.words

    @property
    def where(self) -> str:
        """The fold, and the seed where there are several, in words."""
        return f"fold {self.fold.name}" + ("" if self.of_seed == self.seed else f", seed {self.of_seed}")

    @property
    def settings(self) -> dict[str, Any]:
        """What of the experiment's settings decides the result, as plain data."""
        settings = {
            "method": self.method.settings(),
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
        if self.moments:
            settings["moments"] = self.moments
        if self.fold.inner:
            settings["inner"] = self.fold.inner
        return settings

    @property
    def key(self) -> str:
        """What the cell is called before anything is read: like its address, but by the names of clips and backbone, so
        that neither sounds nor weights are needed. Experiments whose cells have the same key share them.
        """
        corpora = [section and section.model_dump(mode="json") for section in self.corpora]
        for section in corpora:
            # as it was called before there were other tasks
            if section and section["task"] == "emotion":
                del section["task"]
        clips = [self.fold.train, self.fold.validation, self.fold.test]
        return digest([self.settings, corpora, clips, self.backbone, TRAINED_AS])

    def address(self, fingerprint: str, clips: Mapping[str, Clip], labels: Mapping[str, int]) -> str:
        """Where the cell lies, under cells/: the hash of its settings, its clips' names, content and labels, the
        backbone's weights and the version of training.
        """
        parts = {
            part: [(clip, clips[clip].hash, labels[clip]) for clip in getattr(self.fold, part)]
            for part in ("train", "validation", "test")
        }
        return digest({"settings": self.settings, "clips": parts, "backbone": fingerprint, "lorascope": TRAINED_AS})


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
        task=settings.task,
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


def analysed_folds(experiment: Experiment, folds: Sequence[Fold]) -> list[Fold]:
    """The folds whose cells are analysed; none where the experiment has no analysis or nothing to analyse.

    Raises `LorascopeError` where one is named that is not there.
    """
    config = experiment.analysis
    if config is None or experiment.analysed is None:
        return []
    if config.fold is None and config.folds == "all":
        return list(folds)
    if config.fold is None and config.folds == "first":
        return [folds[0]]
    key, wanted = ("fold", (config.fold,)) if config.fold is not None else ("folds", config.folds)
    by_name = {fold.name: fold for fold in folds}
    for name in wanted:
        if name not in by_name:
            raise LorascopeError(f"analysis.{key}: no fold {name!r}; the folds are {', '.join(by_name)}")
    return [fold for fold in folds if fold.name in wanted]


def drawn_seed(seed: int, fold: Fold) -> int:
    """What is drawn from in a fold where there are several seeds: the same for all methods, another in each fold, since
    adapters that begin alike remain alike, whatever they learn.
    """
    who = [fold.train_speakers, fold.validation_speakers, fold.test_speakers]
    # of the task speaker all folds have the same
    name = [fold.name] if set(fold.train_speakers) & set(fold.test_speakers) else []
    return int(digest([seed, *who, *name])[:8], 16)


def plan(experiment: Experiment, corpus: Corpus | None = None) -> list[Cell]:
    """Every cell of an experiment, in the order in which they run: fold by fold, seed by seed, method by method, in
    analysed folds the other ranks behind them.
    """
    refuse_full(experiment.backbone.name, experiment.backbone.context, "backbone.context")
    corpus = corpus or corpus_of(experiment)
    folds = folds_of(experiment, corpus)

    methods = experiment.conditions
    ambiguous = same_words(methods)
    for name, method in methods.items():
        if method.control:
            _check_control(name, corpus, folds)

    main = experiment.analysed
    analysed = {fold.name for fold in analysed_folds(experiment, folds)}

    def moments(name: str, fold: Fold) -> tuple[float, ...]:
        config = experiment.analysis
        if config is None or main is None or fold.name not in analysed:
            return ()
        return config.trajectory if name in (main, *controls_of(main, methods)) else ()

    def cell(name: str, method: Method, fold: Fold, seed: int, role: str = "table1") -> Cell:
        return Cell(
            method=method,
            fold=fold,
            backbone=experiment.backbone.name,
            context=experiment.backbone.context,
            classes=corpus.classes,
            projection=experiment.head.projection,
            precision=experiment.precision,
            seed=drawn_seed(seed, fold) if experiment.seeds else seed,
            role=role,
            name=name,
            ambiguous=name in ambiguous,
            trainer=experiment.trainer,
            corpora=(experiment.corpus, experiment.test_corpus),
            named_seed=seed,
            moments=moments(name, fold) if role == "table1" else (),
        )

    seeds = experiment.seeds or (experiment.seed,)
    cells = []
    # a rank that is a method of its own is trained once
    others = [method for method in other_ranks(experiment) if method not in methods.values()]
    for fold in folds:
        for seed in seeds:
            cells += [cell(name, method, fold, seed) for name, method in methods.items()]
            if fold.name in analysed:
                cells += [cell(main or "", method, fold, seed, "rank-space") for method in others]
    return cells


def _check_control(name: str, corpus: Corpus, folds: Sequence[Fold]) -> None:
    """Raise `LorascopeError` where shuffling labels within speakers would change none of them."""
    for fold in folds:
        classes = corpus.clips.loc[list(fold.train)].groupby("speaker")["emotion"].nunique()
        if classes.max() < 2:
            raise LorascopeError(
                f"methods.{name}.control: no training speaker of fold {fold.name} has clips of two classes, so "
                "shuffling labels within speakers changes nothing; take the control out"
            )


def other_ranks(experiment: Experiment) -> list[Any]:
    """The analysed method at the other ranks of the rank space; empty where it has none."""
    name = experiment.analysed
    if name is None or experiment.analysis is None or experiment.conditions[name].kind not in LORA_KINDS:
        return []
    method: Any = experiment.conditions[name]
    return [method.at_rank(rank) for rank in experiment.analysis.ranks if rank != method.rank]


def describe(experiment: Experiment) -> dict[str, Any]:
    """The plan as plain data: the corpus, what is left out, and every cell with its speakers and clip counts."""
    from .analyses import plan_analyses

    corpus = corpus_of(experiment)
    cells = plan(experiment, corpus)
    folds = analysed_folds(experiment, list({cell.fold.name: cell.fold for cell in cells}.values()))
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
        "analysed_fold": folds[0].name if folds else None,
        "cells": [_described(cell) for cell in cells],
        "analyses": [
            unit.names | {"clips": len(unit.clips), "measures": list(unit.config.measures), "words": unit.words}
            for unit in plan_analyses(experiment, corpus, cells)
        ],
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
        "seed": cell.of_seed,
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
