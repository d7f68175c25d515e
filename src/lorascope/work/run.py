"""What a run computes: every cell here, one after the other, then the analysis, then the manifest. It knows no pages.

Everything is found again by its content: a finished cell or analysis is read, never redone.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ..errors import LorascopeError
from ..experiment.config import Experiment, dump_experiment
from ..experiment.planning import corpus_of, plan
from ..machine import processes
from ..store.folder import RunFolder, write_text
from ..training.arguments import check_arguments
from .kinds.analysis import analyse_fold
from .kinds.cell import compute_cell, read_cell
from .manifest import base_manifest, moment, write_manifest
from .sources import Say, open_inputs


def compute(experiment: Experiment, folder: RunFolder, say: Say = lambda _: None) -> None:
    """Train and test every cell of an experiment and analyse one fold. Processes of one launcher call this together.

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
        say(f"[{number}/{len(cells)}] {cell.label}, fold {cell.fold.name}: UAR {metrics['uar']:.3f} ({took})")
    about = processes.on_first(lambda: analyse_fold(experiment, corpus, cells, done, inputs, backbone, folder, say))
    manifest = {
        **base_manifest(created, corpus, backbone, experiment.backbone.context, clips),
        "seeds": {
            "training": experiment.seed,
            "folds": experiment.folds.seed,
            "analysis": experiment.analysis.seed if experiment.analysis else None,
        },
        "cells": [
            {key: metrics[key] for key in ("hash", "name", "method", "label", "rank", "fold", "role", "seconds")}
            for metrics in done
        ],
        "analysis": about,
        "processes": processes.count(),
    }
    optimistic = [reason for metrics in done for reason in metrics["optimistic"]]
    processes.on_first(lambda: write_manifest(folder, manifest, optimistic, start))


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
