"""An analysis as a unit of work: of the cells of a fold, or of an adapter that was made anywhere; its tables are put in
place whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ...analysis.analyse import Analysis, analyse, cannot_be_had, open_adapter
from ...corpora import load_corpus
from ...errors import LorascopeError
from ...experiment.analyses import AnalysisUnit
from ...experiment.config import AnalysisConfig
from ...experiment.planning import Cell
from ...machine.devices import device
from ...models.adapters.folder import load_frozen_head
from ...models.families.known import parts_of
from ...models.weights.backbone import Backbone
from ...sound.context import no_window
from ...store.folder import RunFolder, write_text
from ...training.inputs import Inputs
from ..manifest import base_manifest
from ..sources import Say, choose, default_context, in_order, open_backbone, prepare

UNKNOWN_SPEAKERS = (
    "Whether these speakers were in the adapter's training is not known here: "
    "accuracies are honest only if they were not."
)


def compute_analysis(
    unit: AnalysisUnit, cells: Mapping[str, str], inputs: Inputs, backbone: Backbone, folder: RunFolder, say: Say
) -> dict[str, Any]:
    """Measure an analysis' cells, which are whole, and put its tables in their place under analyses/; returns what it
    tells of itself. `cells` are the addresses of the cells by their keys.
    """
    name = unit.address(cells, inputs.clips)
    sample, context, fold = unit.clips, unit.main.context, unit.fold
    first = inputs.clips[sample["clip"].iloc[0]].features

    def adapter(cell: Cell) -> Path:
        return folder.cell(cells[cell.key]) / "adapter"

    def adapted(cell: Cell) -> Any:
        return open_adapter(inputs.load(), adapter(cell), first, context, inputs.device).model

    say(f"{unit.words}: {len(sample)} clips, {', '.join(unit.config.measures)}")
    built = folder.analyses.begin(name)
    analysis = analyse(
        model=adapted(unit.main),
        frozen_head=load_frozen_head(adapter(unit.frozen), backbone) if unit.frozen else None,
        clips=sample,
        features=inputs.clips,
        classes=unit.main.classes,
        context=context,
        config=unit.config,
        other_ranks=[adapted(cell) for cell in unit.ranks],
    )
    for stem, table in analysis.tables.items():
        table.to_parquet(built / f"{stem}.parquet", index=False)
    speakers = {"test": list(fold.test_speakers), "validation": list(fold.validation_speakers)}
    if unit.clips_from == "test":
        speakers["validation"] = []
    about = {
        "cells": [cells[cell.key] for cell in unit.cells],
        "settings": unit.config.settings,
        "versions": unit.versions,
        "trained_on": len(fold.train),
        "tested_on": len(fold.test),
        "speakers": speakers,
        "clips_from": unit.clips_from,
        **_about(sample, unit.per_class, unit.config, analysis, [*_whose(unit), *analysis.notes]),
    }
    folder.analyses.finish(name, about)
    return folder.analyses.read(name)


def _whose(unit: AnalysisUnit) -> list[str]:
    """A note where clips are of speakers on whom the epoch was chosen."""
    if unit.clips_from == "test" or not unit.fold.validation:
        return []
    asked = unit.config.clips_from is not None
    why = "as was asked for" if asked else "since the test speakers have too few of some class by themselves"
    return [
        f"The analysed clips are of the test and of the validation speakers, {why}: on the latter the epoch was chosen."
    ]


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
    analysis = analyse(
        adapted.model, head, sample, features, classes, chosen_context, settings, has_head=adapted.has_head
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
