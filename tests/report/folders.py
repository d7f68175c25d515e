"""Run folders for tests: the layout that `lorascope run` leaves, filled with made-up random numbers.

Nothing here was measured. The numbers have the right ranges and shapes and are otherwise drawn from a seeded generator.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from .analysis_tables import write_analysis
from .recipe import RANDOM_MODELS, Recipe, analysed_clips, speaker_names


def label_of(method: str, rank: int | None) -> str:
    """The label that stands in Table 1."""
    return "frozen encoder" if method == "frozen" else f"LoRA r={rank} v_proj"


def make_run(folder: Path, recipe: Recipe | None = None) -> Path:
    """Write a whole run folder (cells and analysis) and return it."""
    recipe = recipe or Recipe()
    rng = np.random.default_rng(recipe.seed)
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    speakers = speaker_names(recipe)
    for method in recipe.methods:
        for fold, speaker in enumerate(speakers):
            held_out = speakers[(fold + 1) % len(speakers)]
            cells.append(_write_cell(folder, recipe, rng, method, 32, speaker, held_out, "table1"))
    for rank in recipe.ranks:
        if rank != 32 and "lora" in recipe.methods:
            cells.append(_write_cell(folder, recipe, rng, "lora", rank, speakers[0], speakers[1], "rank-space"))
    _write_manifest(folder, recipe, cells)
    (folder / "config.yaml").write_text("corpus:\n  name: made-up\nseed: 42\n")
    write_analysis(folder / "analysis", recipe, rng)
    return folder


def make_units(folder: Path, folds: int = 3, seeds: tuple[int, ...] = (1, 2), control: bool = True) -> Path:
    """Write a run folder whose analyses are of several folds and seeds, each drawn anew, and of a control."""
    recipe = Recipe(speakers=max(4, folds))
    make_run(folder, recipe)
    manifest = json.loads((folder / "manifest.json").read_text())
    listed = []
    for method, kind in (("lora", None), *([("shuffled", "shuffled_labels")] if control else [])):
        for fold in speaker_names(recipe)[:folds]:
            for seed in seeds:
                name = f"{method}-{fold}-{seed}"
                place = folder / "analyses" / name
                write_analysis(place, recipe, np.random.default_rng(len(listed)))
                about = manifest["analysis"] | {"trained_on": 120, "tested_on": 40, "clips_from": "test"}
                (place / "about.json").write_text(json.dumps(about))
                names = {"name": method, "label": label_of("lora", 32), "control": kind, "fold": fold, "seed": seed}
                listed.append({"hash": name, "seconds": 60.0, "clips_from": "test"} | names)
    manifest["analyses"] = listed
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def make_analysis(folder: Path, recipe: Recipe | None = None) -> Path:
    """Write what `lorascope analyze` leaves: no cells, hence no Table 1."""
    recipe = recipe or Recipe()
    folder.mkdir(parents=True, exist_ok=True)
    _write_manifest(folder, recipe, [])
    write_analysis(folder / "analysis", recipe, np.random.default_rng(recipe.seed))
    return folder


def _write_cell(
    folder: Path,
    recipe: Recipe,
    rng: np.random.Generator,
    method: str,
    rank: int,
    test: str,
    validation: str,
    role: str,
) -> dict:
    classes = list(recipe.classes)
    clips = pd.DataFrame(
        [
            (f"{recipe.clip_prefix}-{test}-{emotion}-{take}", test, emotion)
            for emotion in classes
            for take in range(recipe.clips_per_class + int(rng.integers(0, 3)))
        ],
        columns=["clip", "speaker", "emotion"],
    )
    gold = np.array([classes.index(emotion) for emotion in clips["emotion"]])
    logits = rng.normal(size=(len(clips), len(classes)))
    logits[np.arange(len(clips)), gold] += recipe.skill[method] + 0.5 * rng.normal()
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (gold, predicted), 1)
    recalls = confusion.diagonal() / confusion.sum(axis=1)
    rank_or_none = None if method == "frozen" else rank
    name = f"{method}-{rank}-{test}"
    cell = folder / "cells" / name
    cell.mkdir(parents=True, exist_ok=True)
    predictions = clips.assign(predicted=[classes[index] for index in predicted], fold=test)
    for index, emotion in enumerate(classes):
        predictions[f"logit_{emotion}"] = logits[:, index]
    predictions.to_parquet(cell / "predictions.parquet")
    train = (recipe.speakers - 2) * len(clips)
    candidates = [
        {
            "learning_rate": rate,
            "best_epoch": int(rng.integers(1, 20)),
            "validation_uar": float(rng.uniform(0.4, 0.9)),
            "validation_loss": float(rng.uniform(0.3, 1.2)),
        }
        for rate in (5e-5, 1e-3)
    ]
    metrics = {
        "method": method,
        "label": label_of(method, rank),
        "backbone": "whisper-tiny.en",
        "rank": rank_or_none,
        "trainable_parameters": 99588 if method == "frozen" else 99588 + 2 * recipe.layers * 384 * rank,
        "fold": test,
        "test_speakers": [test],
        "validation_speakers": [validation],
        "clips": {"train": train, "validation": len(clips), "test": len(clips)},
        "classes": classes,
        "uar": float(recalls.mean()),
        "war": float((gold == predicted).mean()),
        "confusion": confusion.tolist(),
        "validation": {"uar": float(rng.uniform(0.4, 0.9)), "war": float(rng.uniform(0.4, 0.9)), "loss": 0.71},
        "candidates": candidates,
        "chosen": max(candidates, key=lambda row: row["validation_uar"]),
        "optimistic": list(recipe.optimistic),
        "seconds": float(rng.uniform(3, 60)),
    }
    (cell / "metrics.json").write_text(json.dumps(metrics))
    listed = {key: metrics[key] for key in ("method", "label", "rank", "fold", "seconds")}
    return {"hash": name, **listed, "role": role}


def _write_manifest(folder: Path, recipe: Recipe, cells: list[dict]) -> None:
    speakers = speaker_names(recipe)
    analysed = analysed_clips(recipe)
    manifest = {
        "lorascope": "0.1.0",
        "command": "lorascope run made-up.yaml --out made-up",
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": 754.2,
        "versions": {"python": "3.11.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "hardware": {"cpu": "made-up CPU", "cores": 2, "memory_gib": 15.6, "device": "cpu"},
        "seeds": {"experiment": 42, "analysis": 42},
        "corpus": {
            "name": "synthetic" if recipe.synthetic else "made-up",
            "synthetic": recipe.synthetic,
            "clips": len(speakers) * len(recipe.classes) * recipe.clips_per_class,
            "speakers": len(speakers),
            "classes": list(recipe.classes),
            "left_out": [{"reason": "emotion 'boredom' is in none of the classes", "clips": 81}],
            "notes": ["These numbers are made up for a test."],
        },
        "backbone": {"name": "whisper-tiny.en", "source": "wheel", "context": "trim", "sha256": "0" * 64},
        "clips": dict.fromkeys(analysed["clip"], "1" * 64),
        "cells": cells,
        "analysis": {
            "fold": speakers[0],
            "speakers": {"test": [speakers[0]], "validation": [speakers[1]]},
            "clips": len(analysed),
            "per_class": [
                {"emotion": emotion, "available": 2 * recipe.clips_per_class, "taken": 2 * recipe.clips_per_class}
                for emotion in recipe.classes
            ],
            "models": [*(["frozen"] if recipe.frozen_model else []), "trained", *RANDOM_MODELS],
            "notes": ["10 clips a class: fewer than the 25 wanted."],
            "seconds": 81.5,
        },
        "warnings": ["fold 03: only 20 test clips"],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
