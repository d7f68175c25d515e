"""What a run computes: every cell here, one after the other, each analysis when its cells are whole, then the manifest.
It knows no pages.

Everything is found again by its content: a finished cell or analysis is read, never redone.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..corpora import Corpus
from ..errors import LorascopeError
from ..experiment.analyses import AnalysisUnit, plan_analyses
from ..experiment.config import Experiment
from ..experiment.loading import dump_experiment
from ..experiment.planning import Cell, corpus_of, plan
from ..machine import processes
from ..models.weights.backbone import Backbone
from ..store.folder import RunFolder, write_text
from ..store.locks import awaited
from ..training.arguments import check_arguments
from ..training.inputs import Inputs
from .kinds.analysis import compute_analysis
from .kinds.cell import compute_cell, read_cell
from .manifest import base_manifest, moment, write_manifest
from .needs import disk_needed, free_at, short_of
from .shapes import encoder_shape
from .sources import Say, open_inputs

Manifest = dict[str, Any]
#: What the manifest lists of every cell.
LISTED = ("hash", "name", "method", "label", "rank", "fold", "seed", "role", "seconds")


def compute(
    experiment: Experiment,
    folder: RunFolder,
    say: Say = lambda _: None,
    first: Callable[[Manifest], None] | None = None,
    owner: str | None = None,
) -> None:
    """Train and test every cell of an experiment and measure those that are analysed, as soon as they are whole.
    Processes of one launcher call this together.

    `first` is called when the first analysis was computed and others, or cells, are to come, with a manifest of what
    there is until then. Where another works in the folder it is waited for; one with the same `owner` is known to be
    dead. Raises `LorascopeError` for bad input before anything is written.
    """
    start, created = time.perf_counter(), moment()
    corpus = processes.first_before_others(lambda: corpus_of(experiment))
    cells = plan(experiment, corpus)
    # what the folds leave out or lack belongs into the manifest, with the corpus' own notes
    notes = dict.fromkeys([*corpus.notes, *(note for cell in cells for note in cell.fold.notes)])
    corpus = replace(corpus, notes=tuple(notes))
    units = plan_analyses(experiment, corpus, cells)
    processes.on_first(lambda: _refuse_others(folder))
    check_arguments(experiment)

    processes.on_first(lambda: _warn_of_disk(experiment, corpus, cells, units, folder, say))
    inputs, backbone = open_inputs(experiment, corpus, cells, say)
    with contextlib.ExitStack() as lock:
        mine = owner or uuid.uuid4().hex
        processes.on_first(lambda: lock.enter_context(awaited(folder.lock, mine, say)))
        processes.on_first(lambda: _open_folder(folder, experiment, say))
        base = base_manifest(created, corpus, backbone, experiment.backbone.context, inputs.clips) | {
            "seeds": {
                "training": list(experiment.seeds) or experiment.seed,
                "folds": experiment.folds.seed,
                "analysis": experiment.analysis.seed if experiment.analysis else None,
            },
            "processes": processes.count(),
        }
        manifest, optimistic = _compute_units(cells, units, inputs, backbone, folder, base, say, first)
        if manifest["analyses"]:
            processes.on_first(lambda: folder.show_analysis(manifest["analyses"][0]["hash"]))
        processes.on_first(lambda: write_manifest(folder, manifest, optimistic, start))


def _compute_units(
    cells: Sequence[Cell],
    units: Sequence[AnalysisUnit],
    inputs: Inputs,
    backbone: Backbone,
    folder: RunFolder,
    base: Manifest,
    say: Say,
    first: Callable[[Manifest], None] | None,
) -> tuple[Manifest, list[str]]:
    """Compute what is not whole; returns the manifest, and why results flatter the model."""
    done: list[dict[str, Any]] = []
    addresses: dict[str, str] = {}
    analyses: dict[str, dict[str, Any]] = {}
    for number, cell in enumerate(cells, 1):
        name = cell.address(backbone.fingerprint, inputs.clips, inputs.labels)
        again = processes.on_first(lambda name=name: folder.cells.take_up(name, say))
        if again:
            metrics = read_cell(cell, folder, name)
        else:
            metrics = compute_cell(cell, inputs, folder, name, lambda text, n=number: say(f"[{n}/{len(cells)}] {text}"))
        done.append(metrics)
        addresses[cell.key] = name
        took = "done before" if again else f"{metrics['seconds']:.0f} s"
        say(f"[{number}/{len(cells)}] {cell.label}, {cell.where}: UAR {metrics['uar']:.3f} ({took})")
        for unit in units:
            if unit.key not in analyses and all(needed.key in addresses for needed in unit.cells):
                count = f"[{len(analyses) + 1}/{len(units)}] "
                about, new = processes.on_first(
                    lambda unit=unit, count=count: _analyse(unit, addresses, inputs, backbone, folder, count, say)
                )
                analyses[unit.key] = about
                more_to_come = number < len(cells) or len(units) > 1
                earlier = [other for other in units if other.key in analyses and other.epoch is None]
                if new and first is not None and earlier == [unit] and more_to_come:
                    told = base | _results(done, units, analyses)
                    processes.on_first(lambda told=told, first=first: first(told))
    optimistic = [reason for metrics in done for reason in metrics["optimistic"]]
    return base | _results(done, units, analyses), optimistic


def _results(
    done: Sequence[dict[str, Any]], units: Sequence[AnalysisUnit], analyses: Mapping[str, dict[str, Any]]
) -> Manifest:
    """What the manifest tells of cells and analyses, in the order of the plan."""
    told = [(unit, analyses[unit.key]) for unit in units if unit.key in analyses]
    return {
        "cells": [{key: metrics[key] for key in LISTED} for metrics in done],
        "analyses": [unit.names | {key: about[key] for key in ("hash", "seconds")} for unit, about in told],
        # the first one, whose tables are those in analysis/
        "analysis": told[0][1] | _told_before(told[0][0]) if told else None,
    }


def _analyse(
    unit: AnalysisUnit,
    cells: Mapping[str, str],
    inputs: Inputs,
    backbone: Backbone,
    folder: RunFolder,
    count: str,
    say: Say,
) -> tuple[dict[str, Any], bool]:
    """What an analysis tells of itself, and whether it was computed now: it is read where it is whole already."""
    name = unit.address(cells, inputs.clips)
    if folder.analyses.take_up(name, say):
        say(f"{count}{unit.words}: done before")
        return folder.analyses.read(name), False
    return compute_analysis(unit, cells, inputs, backbone, folder, lambda text: say(count + text)), True


def _told_before(unit: AnalysisUnit) -> dict[str, Any]:
    """What the manifest tells of the first analysis by the names that it had when there was only one."""
    return {"method": unit.main.name, "fold": unit.fold.name, "seed": unit.main.of_seed}


def _warn_of_disk(
    experiment: Experiment,
    corpus: Corpus,
    cells: Sequence[Cell],
    units: Sequence[AnalysisUnit],
    folder: RunFolder,
    say: Say,
) -> None:
    needed = disk_needed(cells, units, corpus, encoder_shape(experiment.backbone.name))
    for line in short_of(needed, free_at(folder.root), folder.root):
        say(f"warning: {line}")


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
