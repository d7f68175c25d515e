"""Run folders of the made-up world, as `lorascope run` would leave them: cells and analyses sealed, and a manifest that
stands on them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lorascope.findings.claims.setting import SHUFFLED, TEST, TRAINED
from lorascope.store.folder import RunFolder, write_json

from .world import CLASSES, EFFECTS, World, scores_of, tables_of

METHODS: dict[str, Any] = {
    "lora": {"kind": "lora", "control": None, "rank": 32, "alpha": 64, "targets": ["v_proj"]},
    "shuffled": {"kind": "lora", "control": "shuffled_labels", "rank": 32, "alpha": 64, "targets": ["v_proj"]},
    **{
        f"frozen-{head}": {"kind": "frozen", "head": head}
        for head in ("last", "layer_sum", "logistic", "best_layer", "concatenated")
    },
}


def config_of(name: str = "claims", groups: int = 10) -> dict[str, Any]:
    return {
        "name": name,
        "corpus": {"reader": "made-up", "classes": list(CLASSES)},
        "backbone": {"name": "tiny", "context": "trim"},
        "methods": METHODS,
        "folds": {"protocol": "speaker_groups", "groups": groups, "only": []},
        "analysis": {"measures": ["contribution"], "folds": "all", "draws": 500},
        "seeds": [0, 1],
    }


def write_run(
    path: Path,
    world: World,
    folds: Sequence[int] | None = None,
    stems: Sequence[str] | None = None,
    clips: Sequence[str] = (TEST, "test+validation"),
    config: dict[str, Any] | None = None,
    seed: int = 0,
    speakers: Sequence[str] | None = None,
    created: str = "2026-12-01T00:00:00+00:00",
    label: str = "LoRA r=32 v_proj",
) -> Path:
    """Write the run of some folds of a world (by default all), with tables of these stems (by default all), and return
    it. The numbers of a fold and seed are the same whatever else a run holds.
    """
    folder = RunFolder(path)
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    drawn = {name: world.drawn(rng, name) for name in EFFECTS}
    settings = config or config_of()
    folder.config.write_text(yaml.safe_dump(settings))
    manifest: dict[str, Any] = {
        "lorascope": "0.1.0",
        "created": created,
        "corpus": {"name": world.corpus, "task": "emotion", "synthetic": True, "classes": list(CLASSES)},
        "backbone": {"name": world.encoder, "context": "trim", "sha256": "ab", "layers": world.layers, "width": 8},
        "clips": {f"clip-{number}": f"content-{number}" for number in range(3)},
        "cells": [],
        "analyses": [],
    }
    for fold, training in product(folds if folds is not None else range(world.folds), range(world.seeds)):
        of = {name: float(values[fold, training]) for name, values in drawn.items()}
        own = np.random.default_rng([seed, fold, training])
        where = {"fold": f"f{fold}", "seed": training}
        for score in scores_of(of, f"f{fold}", training, own):
            tested = [speakers[fold] if speakers else f"speaker-{fold}"]
            _write_cell(folder, manifest, score, where, tested, label)
        tables = tables_of(world, of, own, tuple(stems or ()))
        for adapter, whose in product((TRAINED, SHUFFLED), clips):
            here = {
                stem: table for (who, of_clips, stem), table in tables.items() if (who, of_clips) == (adapter, whose)
            }
            some = {stem: table for stem, table in here.items() if stems is None or stem in stems}
            if some:
                _write_analysis(folder, manifest, adapter, whose, some, where, label)
    units = [unit["hash"] for unit in manifest["analyses"]]
    manifest["analysis"] = None
    manifest["stands_on"] = folder.stands_on([cell["hash"] for cell in manifest["cells"]], units)
    write_json(folder.manifest, manifest)
    folder.seal()
    return path


def _write_cell(folder: RunFolder, manifest: dict, score: dict, where: dict, tested: list[str], label: str) -> None:
    name = f"cell-{score['name']}-{where['fold']}-{where['seed']}"
    folder.cells.begin(name)
    metrics = {
        "method": score["kind"],
        "uar": score["uar"],
        "test_speakers": tested,
        "clips": {"train": 90, "validation": 10, "test": 10},
        "validation": {"uar": score["validation_uar"], "loss": score["validation_loss"]},
        "optimistic": [],
    }
    folder.cells.finish(name, metrics)
    listed = {"hash": name, "name": score["name"], "method": score["kind"], "role": "table1"} | where
    manifest["cells"].append(listed | {"label": label if score["kind"] == "lora" else score["name"]})


def _write_analysis(
    folder: RunFolder, manifest: dict, adapter: str, whose: str, tables: dict, where: dict, label: str
) -> None:
    name = f"analysis-{adapter}-{whose}-{where['fold']}-{where['seed']}"
    built = folder.analyses.begin(name)
    for stem, table in tables.items():
        table.to_parquet(built / f"{stem}.parquet", index=False)
    versions = {"analysis": 1, "measures": dict.fromkeys(tables, 1)}
    folder.analyses.finish(name, {"clips_from": whose, "versions": versions, "settings": {"measures": list(tables)}})
    named = (
        {"name": "lora", "control": None} if adapter == TRAINED else {"name": "shuffled", "control": "shuffled_labels"}
    )
    manifest["analyses"].append({"hash": name, "label": label, "seconds": 1.0, "clips_from": whose} | named | where)


def edit(file: Path, **changed: Any) -> None:
    """Change keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
