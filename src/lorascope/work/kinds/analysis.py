"""An analysis as a unit of work: the cells of a run's fold, or an adapter that was made anywhere; its tables are put in place whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ... import __version__
from ...analysis.analyse import Analysis, analyse, cannot_be_had, open_adapter
from ...corpora import Corpus, load_corpus
from ...corpora.folds.folds import sample_clips
from ...errors import LorascopeError
from ...experiment.config import AnalysisConfig, Experiment
from ...experiment.methods import FrozenConfig
from ...experiment.planning import Cell, analysed_fold, other_ranks
from ...machine.devices import device
from ...models.adapters.folder import load_frozen_head
from ...models.families.known import parts_of
from ...models.weights.backbone import Backbone
from ...sound.context import no_window
from ...store.folder import RunFolder, digest, write_text
from ...training.inputs import Inputs
from ..manifest import base_manifest
from ..sources import Say, choose, default_context, in_order, open_backbone, prepare, samples_of, with_acoustics

UNKNOWN_SPEAKERS = (
    "Whether these speakers were in the adapter's training is not known here: "
    "accuracies are honest only if they were not."
)


def analyse_fold(
    experiment: Experiment,
    corpus: Corpus,
    cells: Sequence[Cell],
    done: Sequence[dict[str, Any]],
    inputs: Inputs,
    backbone: Backbone,
    folder: RunFolder,
    say: Say,
) -> dict[str, Any] | None:
    """Analyse the cells of an experiment's analysed fold, or take up what was measured on the same; returns `about.json`, None where there is nothing to analyse."""
    fold = analysed_fold(experiment, list({cell.fold.name: cell.fold for cell in cells}.values()))
    config = experiment.analysis
    if fold is None or config is None:
        return None
    here = [(cell, metrics["hash"]) for cell, metrics in zip(cells, done, strict=True) if cell.fold.name == fold.name]
    main = next(name for cell, name in here if cell.name == experiment.analysed and cell.role == "table1")
    frozen = next(
        (name for cell, name in here if isinstance(cell.method, FrozenConfig) and cell.method.head == "last"), None
    )
    ranks = other_ranks(experiment)
    others = [name for cell, name in here if cell.method in ranks]
    sample, counts = sample_clips(corpus, fold, config.clips_per_class, config.seed)
    identity = digest([main, frozen, others, list(sample["clip"]), config.model_dump(mode="json"), __version__])
    about = folder.about_analysis()
    if about is not None and about["identity"] == identity:
        say("analysis: done before")
        return about
    first = inputs.clips[sample["clip"].iloc[0]].features
    context = experiment.backbone.context

    def adapted(name: str) -> Any:
        return open_adapter(inputs.load(), folder.cell(name) / "adapter", first, context, inputs.device).model

    say(f"analysis of fold {fold.name}: {len(sample)} clips, {', '.join(config.measures)}")
    analysis = analyse(
        model=adapted(main),
        frozen_head=load_frozen_head(folder.cell(frozen) / "adapter", backbone) if frozen else None,
        clips=with_acoustics(sample, config, inputs.clips, samples_of(corpus)),
        features=inputs.clips,
        classes=corpus.classes,
        context=context,
        config=config,
        other_ranks=[adapted(name) for name in others],
    )
    about = {
        "identity": identity,
        "method": experiment.analysed,
        "fold": fold.name,
        "speakers": {"test": list(fold.test_speakers), "validation": list(fold.validation_speakers)},
        **_about(sample, counts, config, analysis, analysis.notes),
    }
    folder.replace_tables(analysis.tables, about)
    return about


def analyse_given(
    backbone: str,
    adapter: str | Path,
    folder: RunFolder,
    corpus: str,
    root: str | Path | None,
    frozen: str | Path | None,
    clip_ids: Sequence[str] | None,
    context: str | None,
    labels: Sequence[str] | None,
    settings: AnalysisConfig,
    created: str,
    say: Say,
) -> dict[str, Any]:
    """Analyse an adapter that was made anywhere, as `lorascope.analyze` says; returns the manifest."""
    opened = open_backbone(backbone, adapter, labels)
    base, source, classes = opened.base, opened.source, opened.classes
    chosen_context = context or default_context(opened, backbone)
    if chosen_context == "full" and not base.model.has_window:
        raise LorascopeError(no_window(base.name, "--context"))
    notes, head = [], None
    if frozen is not None and source.head:
        head = in_order(load_frozen_head(Path(frozen), base), Path(frozen), classes, base)
    elif frozen is not None:
        notes.append("The frozen baseline's head is left aside, since the adapter has none to compare it with.")
    clips = load_corpus(corpus, root=Path(root) if root is not None else None, classes=classes)
    sample, counts = choose(clips, clip_ids, settings)
    kept = replace(clips, clips=clips.clips.loc[list(sample["clip"])])
    features = prepare(kept, base, say)
    first = features[sample["clip"].iloc[0]].features
    adapted = open_adapter(base, source, first, chosen_context, device())
    impossible = cannot_be_had(settings.measures, bool(parts_of(adapted.model).adapted()), adapted.has_head)
    if impossible and "measures" in settings.model_fields_set:
        name, reason = next(iter(impossible.items()))
        raise LorascopeError(f"analysis.measures: {name} cannot be had: {reason}; take it out")
    say(f"analysis of {adapter}: {len(sample)} clips, context {chosen_context}")
    described = with_acoustics(sample, settings, features, samples_of(kept))
    analysis = analyse(
        adapted.model, head, described, features, classes, chosen_context, settings, has_head=adapted.has_head
    )
    notes += [*adapted.notes, *analysis.notes]
    for note in notes:
        say(f"note: {note}")
    about = {
        "fold": None,
        "speakers": {"test": sorted(sample["speaker"].unique()), "validation": []},
        **_about(sample, counts, settings, analysis, [*notes, UNKNOWN_SPEAKERS]),
    }
    folder.replace_tables(analysis.tables, about)
    write_text(folder.config, _config_text(backbone, adapter, frozen, corpus, root, chosen_context, classes, settings))
    return {
        **base_manifest(created, clips, base, chosen_context, features),
        "adapter": str(adapter),
        "frozen": None if frozen is None else str(frozen),
        "seeds": {"analysis": settings.seed},
        "cells": [],
        "analysis": about,
    }


def _about(
    sample: pd.DataFrame, counts: pd.DataFrame, config: AnalysisConfig, analysis: Analysis, notes: Sequence[str]
) -> dict[str, Any]:
    """What `about.json` tells of any analysis."""
    return {
        "clips": len(sample),
        "clip_ids": list(sample["clip"]),
        "per_class": counts.to_dict(orient="records"),
        "models": list(analysis.models),
        "draws": config.draws,
        "left_out": analysis.left_out,
        "notes": list(notes),
        "seconds": analysis.seconds,
    }


def _config_text(
    backbone: str,
    adapter: str | Path,
    frozen: str | Path | None,
    corpus: str,
    root: str | Path | None,
    context: str,
    classes: Sequence[str],
    config: AnalysisConfig,
) -> str:
    return yaml.safe_dump(
        {
            "name": Path(adapter).name,
            "backbone": {"name": backbone, "context": context},
            "adapter": str(adapter),
            "frozen": None if frozen is None else str(frozen),
            "corpus": {"reader": corpus, "root": None if root is None else str(root), "classes": list(classes)},
            "analysis": config.model_dump(mode="json"),
        },
        sort_keys=False,
    )
