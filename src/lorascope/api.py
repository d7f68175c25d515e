"""The main job: plan the cells of an experiment, train and test them, analyse one fold, write the results.

Everything is found again by its content: a finished cell or analysis is read, never redone.
"""

from __future__ import annotations

import datetime
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from . import __version__
from .analysis.analyse import analyse, open_adapter
from .corpora import Corpus
from .corpora.folds.folds import sample_clips
from .errors import LorascopeError
from .experiment.config import Experiment, dump_experiment
from .experiment.methods import FrozenConfig
from .experiment.planning import Cell, analysed_fold, corpus_of, other_ranks, plan
from .machine import processes
from .machine.devices import device
from .machine.environment import hardware, versions
from .models.adapters.building import check_layers
from .models.adapters.folder import load_frozen_head
from .models.weights.backbone import Backbone, load_backbone
from .sound.context import no_window
from .sound.decoding import Clip, load_audio, prepare_clips
from .sound.features import FRAMES_PER_SECOND
from .sound.functionals import check_opensmile
from .store.folder import RunFolder, digest, write_json, write_text
from .store.results import Results
from .training.arguments import check_arguments
from .training.cell import Inputs, run_cell

Say = Callable[[str], None]


def run(experiment: Experiment, out: str | Path, say: Say = lambda _: None) -> Results:
    """Train and test every cell, analyse one fold, and leave tables, figures and a report in `out`.

    Interrupted, the same call continues. Started by `accelerate launch` or `torchrun`, the processes train each cell together, and the first one does all else. Raises `LorascopeError` for bad input before anything is written.
    """
    start, created = time.perf_counter(), _now()
    processes.join()
    if processes.number():
        say = lambda _: None  # noqa: E731
    corpus = processes.first_before_others(lambda: corpus_of(experiment))
    cells = plan(experiment, corpus)
    # what the folds leave out or lack belongs into the manifest, with the corpus' own notes
    notes = dict.fromkeys([*corpus.notes, *(note for cell in cells for note in cell.fold.notes)])
    corpus = replace(corpus, notes=tuple(notes))
    folder = RunFolder(out)
    processes.on_first(lambda: _refuse_other_experiment(folder, experiment))
    check_arguments(experiment)

    inputs, backbone = open_inputs(experiment, corpus, cells, say)
    clips = inputs.clips
    processes.on_first(lambda: write_text(folder.config, dump_experiment(experiment)))
    done: list[dict[str, Any]] = []
    for number, cell in enumerate(cells, 1):
        name = cell.identity(backbone.fingerprint, clips, inputs.labels)
        again = processes.on_first(lambda name=name: folder.is_whole(name))
        metrics = run_cell(
            cell, inputs, folder, backbone.fingerprint, lambda text, n=number: say(f"[{n}/{len(cells)}] {text}")
        )
        done.append(metrics)
        took = "done before" if again else f"{metrics['seconds']:.0f} s"
        say(f"[{number}/{len(cells)}] {cell.label}, fold {cell.fold.name}: UAR {metrics['uar']:.3f} ({took})")
    about = processes.on_first(lambda: _analyse_fold(experiment, corpus, cells, done, inputs, backbone, folder, say))
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
    return processes.on_first(lambda: finish(folder, manifest, warnings, start, say))


def open_inputs(
    experiment: Experiment, corpus: Corpus, cells: Sequence[Cell], say: Say = lambda _: None
) -> tuple[Inputs, Backbone]:
    """What an experiment's cells share, and its backbone; every clip is read. Raises `LorascopeError` for what cannot be run here."""

    def load() -> Backbone:
        return load_backbone(experiment.backbone.name, corpus.classes, experiment.seed, experiment.head.projection)

    backbone = processes.first_before_others(load)
    say(f"backbone {backbone.name} from the {backbone.origin}: {backbone.layers} layers, width {backbone.width}")
    if not backbone.model.has_window and experiment.backbone.context == "full":
        raise LorascopeError(no_window(backbone.name, "backbone.context"))
    _check_precision(experiment.precision)
    if any(cell.kind == "classic" for cell in cells):
        check_opensmile()
    for method in experiment.conditions.values():
        check_layers(method, backbone.model)
    pieces = {name: (path, start, end) for name, path, start, end in _pieces(corpus)}
    inputs = Inputs(
        clips=processes.first_before_others(lambda: prepare(corpus, backbone, say)),
        labels={str(clip): corpus.classes.index(emotion) for clip, emotion in corpus.clips["emotion"].items()},
        speakers={str(clip): speaker for clip, speaker in corpus.clips["speaker"].items()},
        load=load,
        device=device(),
        samples=lambda clip: load_audio(*pieces[clip]),
    )
    return inputs, backbone


def prepare(corpus: Corpus, backbone: Backbone, say: Say = lambda _: None) -> dict[str, Clip]:
    """Features of all clips of a corpus; every clip is read and checked. Raises `LorascopeError` on the first that is bad."""
    table = corpus.clips
    say(f"corpus {corpus.name}: {len(table)} clips of {table['speaker'].nunique()} speakers")
    return prepare_clips(_pieces(corpus), backbone.features)


def _pieces(corpus: Corpus) -> list[tuple[str, str, float | None, float | None]]:
    """(id, path, start, end) of every clip, start and end in seconds where it is a piece of its file."""
    return [
        (str(clip), row["path"], _seconds(row.get("start")), _seconds(row.get("end")))
        for clip, row in corpus.clips.iterrows()
    ]


def finish(folder: RunFolder, manifest: dict[str, Any], warnings: Sequence[str], start: float, say: Say) -> Results:
    """Write the manifest, then tables, figures and report."""
    from .report import write_all

    manifest = manifest | {"warnings": list(dict.fromkeys(warnings)), "seconds": time.perf_counter() - start}
    write_json(folder.manifest, manifest)
    report = write_all(folder.root)
    folder.tidy()
    say(f"report: {report}")
    return Results(folder.root)


def _cut(clips: Mapping[str, Clip], backbone: Backbone) -> list[str]:
    """A note of the clips that are longer than the encoder takes."""
    window = backbone.features.longest / FRAMES_PER_SECOND
    long = sum(clip.seconds > window for clip in clips.values())
    return [f"{long} clips are longer than {window:g} s; only their first {window:g} s are used"] if long else []


def base_manifest(
    created: str, corpus: Corpus, backbone: Backbone, context: str, clips: Mapping[str, Clip]
) -> dict[str, Any]:
    """What every result tells of its making: versions, hardware, corpus, backbone and the clips' hashes."""
    notes = [*corpus.notes, *_cut(clips, backbone), *backbone.notes]
    return {
        "lorascope": __version__,
        "command": shlex.join(["lorascope", *sys.argv[1:]]),
        "created": created,
        "versions": versions(),
        "hardware": hardware(),
        "corpus": {
            "name": corpus.name,
            "synthetic": corpus.synthetic,
            "clips": len(corpus.clips),
            "speakers": int(corpus.clips["speaker"].nunique()),
            "seconds": sum(clip.seconds for clip in clips.values()),
            "classes": list(corpus.classes),
            "left_out": corpus.left_out.to_dict(orient="records"),
            "notes": notes,
        },
        "backbone": {
            "name": backbone.name,
            "source": backbone.origin,
            "context": context,
            "sha256": backbone.fingerprint,
            "layers": backbone.layers,
            "width": backbone.width,
        },
        "clips": {name: clip.hash for name, clip in clips.items()},
    }


def _analyse_fold(
    experiment: Experiment,
    corpus: Corpus,
    cells: Sequence[Cell],
    done: Sequence[dict[str, Any]],
    inputs: Inputs,
    backbone: Backbone,
    folder: RunFolder,
    say: Say,
) -> dict[str, Any] | None:
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
        clips=sample,
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
        "clips": len(sample),
        "clip_ids": list(sample["clip"]),
        "per_class": counts.to_dict(orient="records"),
        "models": list(analysis.models),
        "draws": config.draws,
        "left_out": analysis.left_out,
        "notes": analysis.notes,
        "seconds": analysis.seconds,
    }
    folder.replace_tables(analysis.tables, about)
    return about


def _refuse_other_experiment(folder: RunFolder, experiment: Experiment) -> None:
    root = folder.root
    if root.exists() and not root.is_dir():
        raise LorascopeError(f"--out {root}: is a file; give a folder")
    if folder.holds_others() and not folder.config.is_file() and not folder.manifest.is_file():
        raise LorascopeError(f"--out {root}: is not empty and holds no run of lorascope; give a new folder")


def _check_precision(precision: str) -> None:
    if precision == "fp16" and device() == "cpu":
        raise LorascopeError("precision: fp16 needs a GPU; use fp32 or bf16")


def _seconds(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
