"""What a run computes: every cell here, one after the other, then the analyses, then the manifest. It knows no pages.

Everything is found again by its content: a finished cell or analysis is read, never redone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import LorascopeError
from ..experiment.analyses import AnalysisUnit, plan_analyses
from ..experiment.config import Experiment, dump_experiment
from ..experiment.planning import corpus_of, plan
from ..machine import processes
from ..models.weights.backbone import Backbone
from ..store.folder import RunFolder, write_text
from ..training.arguments import check_arguments
from ..training.inputs import Inputs
from .kinds.analysis import compute_analysis
from .kinds.cell import compute_cell, read_cell
from .manifest import base_manifest, moment, write_manifest
from .sources import Say, open_inputs

#: What the manifest lists of every cell.
LISTED = ("hash", "name", "method", "label", "rank", "fold", "seed", "role", "seconds")


def compute(experiment: Experiment, folder: RunFolder, say: Say = lambda _: None) -> None:
    """Train and test every cell of an experiment and measure those that are analysed. Processes of one launcher call this together.

    Raises `LorascopeError` for bad input before anything is written.
    """
    start, created = time.perf_counter(), moment()
    corpus = processes.first_before_others(lambda: corpus_of(experiment))
    cells = plan(experiment, corpus)
    # what the folds leave out or lack belongs into the manifest, with the corpus' own notes
    notes = dict.fromkeys([*corpus.notes, *(note for cell in cells for note in cell.fold.notes)])
    corpus = replace(corpus, notes=tuple(notes))
    processes.on_first(lambda: _refuse_others(folder))
    check_arguments(experiment)

    inputs, backbone = open_inputs(experiment, corpus, cells, say)
    clips = inputs.clips
    processes.on_first(lambda: _open_folder(folder, experiment, say))
    done: list[dict[str, Any]] = []
    for number, cell in enumerate(cells, 1):
        name = cell.address(backbone.fingerprint, clips, inputs.labels)
        again = processes.on_first(lambda name=name: folder.cells.take_up(name, say))
        if again:
            metrics = read_cell(cell, folder, name)
        else:
            metrics = compute_cell(cell, inputs, folder, name, lambda text, n=number: say(f"[{n}/{len(cells)}] {text}"))
        done.append(metrics)
        took = "done before" if again else f"{metrics['seconds']:.0f} s"
        say(f"[{number}/{len(cells)}] {cell.label}, {cell.where}: UAR {metrics['uar']:.3f} ({took})")
    addresses = {cell.key: metrics["hash"] for cell, metrics in zip(cells, done, strict=True)}
    units = plan_analyses(experiment, corpus, cells)
    analyses = processes.on_first(lambda: _analyse(units, addresses, inputs, backbone, folder, say))
    manifest = {
        **base_manifest(created, corpus, backbone, experiment.backbone.context, clips),
        "seeds": {
            "training": list(experiment.seeds) or experiment.seed,
            "folds": experiment.folds.seed,
            "analysis": experiment.analysis.seed if experiment.analysis else None,
        },
        "cells": [{key: metrics[key] for key in LISTED} for metrics in done],
        "analyses": [unit.names | {key: about[key] for key in ("hash", "seconds")} for unit, about in analyses],
        # the first one, whose tables are those in analysis/
        "analysis": analyses[0][1] | _told_before(analyses[0][0]) if analyses else None,
        "processes": processes.count(),
    }
    warnings = [reason for metrics in done for reason in (*metrics["optimistic"], *metrics.get("warnings", ()))]
    processes.on_first(lambda: write_manifest(folder, manifest, warnings, start))


def _analyse(
    units: Sequence[AnalysisUnit],
    addresses: Mapping[str, str],
    inputs: Inputs,
    backbone: Backbone,
    folder: RunFolder,
    say: Say,
) -> list[tuple[AnalysisUnit, dict[str, Any]]]:
    """Every analysis with what it tells of itself: read where it is whole already, else computed."""
    done = []
    for number, unit in enumerate(units, 1):
        name = unit.address(addresses, inputs.clips)
        if folder.analyses.take_up(name, say):
            say(f"[{number}/{len(units)}] {unit.words}: done before")
            done.append((unit, folder.analyses.read(name)))
            continue
        about = compute_analysis(
            unit, addresses, inputs, backbone, folder, lambda text, n=number: say(f"[{n}/{len(units)}] {text}")
        )
        done.append((unit, about))
    if done:
        folder.show_analysis(done[0][1]["hash"])
    return done


def _told_before(unit: AnalysisUnit) -> dict[str, Any]:
    """What the manifest tells of the first analysis by the names that it had when there was only one."""
    return {"method": unit.main.name, "fold": unit.fold.name, "seed": unit.main.of_seed}


def _open_folder(folder: RunFolder, experiment: Experiment, say: Say) -> None:
    """Begin to write: what was found broken of tables and report is told, since all of it is made again."""
    for fault in folder.faults():
        say(f"{fault}; made again")
    folder.unseal()
    write_text(folder.config, dump_experiment(experiment))


def _refuse_others(folder: RunFolder) -> None:
    root = folder.root
    if root.exists() and not root.is_dir():
        raise LorascopeError(f"--out {root}: is a file; give a folder")
    if folder.holds_others() and not folder.config.is_file() and not folder.manifest.is_file():
        raise LorascopeError(f"--out {root}: is not empty and holds no run of lorascope; give a new folder")
