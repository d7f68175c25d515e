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
from .kinds.cell import run_cell
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
    processes.on_first(lambda: write_text(folder.config, dump_experiment(experiment)))
    done: list[dict[str, Any]] = []
    for number, cell in enumerate(cells, 1):
        name = cell.address(backbone.fingerprint, clips, inputs.labels)
        again = processes.on_first(lambda name=name: folder.is_whole(name))
        metrics = run_cell(
            cell, inputs, folder, backbone.fingerprint, lambda text, n=number: say(f"[{n}/{len(cells)}] {text}")
        )
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
    warnings = [reason for metrics in done for reason in (*metrics["optimistic"], *metrics.get("warnings", ()))]
    processes.on_first(lambda: write_manifest(folder, manifest, warnings, start))


def _refuse_others(folder: RunFolder) -> None:
    root = folder.root
    if root.exists() and not root.is_dir():
        raise LorascopeError(f"--out {root}: is a file; give a folder")
    if folder.holds_others() and not folder.config.is_file() and not folder.manifest.is_file():
        raise LorascopeError(f"--out {root}: is not empty and holds no run of lorascope; give a new folder")
