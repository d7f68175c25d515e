"""An analysis of the cells of a fold as a unit of work; its tables are put in place whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...analysis.along import KEYS, directions_to
from ...analysis.analyse import Analysis, analyse, open_adapter
from ...experiment.analyses import AnalysisUnit
from ...experiment.config import AnalysisConfig
from ...experiment.methods import recipe_of
from ...experiment.planning import Cell
from ...models.adapters.folder import load_frozen_head
from ...models.families.known import parts_of
from ...models.weights.backbone import Backbone
from ...store.folder import RunFolder
from ...training import moments
from ...training.inputs import Inputs
from ..sources import Say, means_of, with_acoustics


def compute_analysis(
    unit: AnalysisUnit, cells: Mapping[str, str], inputs: Inputs, backbone: Backbone, folder: RunFolder, say: Say
) -> dict[str, Any]:
    """Measure an analysis' cells, which are whole, and put its tables in their place under analyses/; returns what it
    tells of itself. `cells` are the addresses of the cells by their keys.
    """
    name = unit.address(cells, inputs.clips)
    sample, context, fold = unit.clips, unit.main.context, unit.fold
    first = inputs.clips[sample["clip"].iloc[0]].features

    def adapter(cell: Cell, epoch: float | None = None) -> Path:
        place = folder.cell(cells[cell.key])
        return place / "adapter" if epoch is None else place / moments.FOLDER / moments.name_of(epoch)

    def adapted(cell: Cell, epoch: float | None = None) -> Any:
        return open_adapter(inputs.load(), adapter(cell, epoch), first, context, inputs.device).model

    say(f"{unit.words}: {len(sample)} clips, {', '.join(unit.config.measures)}")
    built = folder.analyses.begin(name)
    model, head = adapted(unit.main, unit.epoch), recipe_of(unit.main.method).head
    analysis = analyse(
        model=model,
        frozen_head=load_frozen_head(adapter(unit.frozen), backbone, head) if unit.frozen else None,
        clips=with_acoustics(sample, unit.config, inputs.clips, inputs.samples),
        features=inputs.clips,
        classes=unit.main.classes,
        context=context,
        config=unit.config,
        other_ranks=[adapted(cell) for cell in unit.ranks],
        means=means_of(unit.config, inputs.clips, inputs.samples, backbone),
    )
    if unit.epoch is not None:
        end = adapted(unit.main, unit.main.moments[-1])
        analysis.tables["direction"] = directions_to(parts_of(model), parts_of(end))
        analysis.keys["direction"] = KEYS
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
        **about_of(sample, unit.per_class, unit.config, analysis, [*_whose(unit), *analysis.notes]),
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


def about_of(
    sample: pd.DataFrame, counts: pd.DataFrame, config: AnalysisConfig, analysis: Analysis, notes: Sequence[str]
) -> dict[str, Any]:
    """What `about.json` tells of any analysis."""
    return {
        "clips": len(sample),
        "clip_ids": list(sample["clip"]),
        "per_class": counts.to_dict(orient="records"),
        "models": list(analysis.models),
        "draws": config.draws,
        "keys": analysis.keys,
        "left_out": analysis.left_out,
        "notes": list(notes),
        "seconds": analysis.seconds,
    }
