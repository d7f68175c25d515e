"""Run folders for tests: the layout that `lorascope run` leaves, filled with made-up random numbers.

Nothing here was measured. The numbers have the right ranges and shapes and are otherwise drawn from a seeded generator.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

CLASSES = ("anger", "happiness", "neutrality", "sadness")
RANDOM_MODELS = ("gaussian", "peft-init", "norm-matched", "permuted")


@dataclass(frozen=True)
class Recipe:
    """What a made-up run folder holds."""

    layers: int = 4
    width: int = 24
    speakers: int = 6
    clips_per_class: int = 5
    classes: tuple[str, ...] = CLASSES
    methods: tuple[str, ...] = ("frozen", "lora")
    ranks: tuple[int, ...] = (8, 32)
    modules: tuple[str, ...] = ("v_proj",)
    synthetic: bool = False
    optimistic: tuple[str, ...] = ()
    frozen_model: bool = True
    without: tuple[str, ...] = ()
    clip_prefix: str = "clip"
    skill: dict[str, float] = field(default_factory=lambda: {"frozen": 1.0, "lora": 1.6})
    seed: int = 0


def speaker_names(recipe: Recipe) -> list[str]:
    """The speakers of the made-up corpus."""
    return [f"{3 + index:02d}" for index in range(recipe.speakers)]


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
    _write_analysis(folder / "analysis", recipe, rng)
    return folder


def make_analysis(folder: Path, recipe: Recipe | None = None) -> Path:
    """Write what `lorascope analyze` leaves: no cells, hence no Table 1."""
    recipe = recipe or Recipe()
    folder.mkdir(parents=True, exist_ok=True)
    _write_manifest(folder, recipe, [])
    _write_analysis(folder / "analysis", recipe, np.random.default_rng(recipe.seed))
    return folder


def analysed_clips(recipe: Recipe) -> pd.DataFrame:
    """The clips that the made-up analysis looked at: clip, speaker, emotion."""
    rows = [
        (f"{recipe.clip_prefix}-{speaker}-{emotion}-{take}", speaker, emotion)
        for speaker in speaker_names(recipe)[:2]
        for emotion in recipe.classes
        for take in range(recipe.clips_per_class)
    ]
    return pd.DataFrame(rows, columns=["clip", "speaker", "emotion"])


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


def _write_analysis(folder: Path, recipe: Recipe, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ranks, scores = _rank_space(recipe, rng)
    spectra, summary = _spectra(recipe, rng)
    tables = {
        "contribution": _contribution(recipe, rng),
        "lens": _lens(recipe, rng),
        "ranks": ranks,
        "rank_scores": scores,
        "spectra": spectra,
        "spectra_summary": summary,
        "cka": _cka(recipe, rng),
        "erasure": _erasure(recipe, rng),
    }
    for stem, table in tables.items():
        if stem not in recipe.without:
            table.to_parquet(folder / f"{stem}.parquet")


def _contribution(recipe: Recipe, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    models = [*(["frozen"] if recipe.frozen_model else []), "trained", *RANDOM_MODELS]
    models += ["difference"] if recipe.frozen_model else []
    for model in models:
        for layer in range(recipe.layers):
            for component, base in (("attn", 0.25), ("mlp", 0.4), ("block", 0.5)):
                for variant in ("paper", "corrected", "same-input"):
                    if variant == "same-input" and model not in ("trained", "difference"):
                        continue
                    for frames in ("all", "valid"):
                        scale = 0.04 * (layer + 1) / recipe.layers
                        ratio = scale * rng.normal() if model == "difference" else base + scale * rng.normal()
                        cosine = 0.2 * rng.normal() * (layer + 1) / recipe.layers
                        half = 0.01 + 0.02 * rng.uniform()
                        rows.append(
                            [
                                *(model, layer, component, variant, frames),
                                *(ratio, ratio - half, ratio + half),
                                *(cosine, cosine - half, cosine + half),
                            ]
                        )
    columns = "model layer component variant frames ratio ratio_low ratio_high cosine cosine_low cosine_high"
    return pd.DataFrame(rows, columns=columns.split())


def _lens(recipe: Recipe, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for model in [*(["frozen"] if recipe.frozen_model else []), "trained"]:
        for variant in ("paper", "released", "corrected"):
            for layer in range(recipe.layers + 1):
                top = layer == recipe.layers and variant == "corrected"
                early = layer <= recipe.layers // 4
                overlap = 1.0 if top else float(np.clip(0.3 + 0.5 * layer / recipe.layers + 0.05 * rng.normal(), 0, 1))
                kl = 0.0 if top else float(0.2 + 2.5 * (1 - layer / recipe.layers) + 0.1 * abs(rng.normal()))
                row = {"model": model, "layer": layer, "variant": variant, "chance_overlap": 0.25 + 0.2 * early}
                values = {
                    "kl": kl,
                    "jsd": kl / 8,
                    "overlap": overlap,
                    "accuracy": 0.25 + 0.5 * layer / recipe.layers,
                    "uar": 0.25 + 0.5 * layer / recipe.layers,
                    "entropy": 1.3 - layer / recipe.layers,
                }
                for name, value in values.items():
                    row |= {name: value, f"{name}_low": max(0.0, value - 0.05), f"{name}_high": value + 0.05}
                row["top_class_share"] = 0.98 if early else 0.4
                row["top_class"] = recipe.classes[0]
                row["warning"] = f"98 % of the clips get {recipe.classes[0]}" if early else ""
                rows.append(row)
    return pd.DataFrame(rows)


def _rank_space(recipe: Recipe, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    clips = analysed_clips(recipe)
    depths = sorted({int(depth) for depth in np.floor(np.linspace(0, recipe.layers - 1, 5))})
    adapters = [("trained", rank) for rank in recipe.ranks] + [(model, 32) for model in RANDOM_MODELS]
    pictures, scores = [], []
    for model, rank in adapters:
        for layer in depths:
            for module in recipe.modules:
                for variant in ("corrected", "released"):
                    if variant == "released" and model not in ("trained", "gaussian"):
                        continue
                    spread = 12 * layer / recipe.layers if model == "trained" else 2
                    centres = {emotion: rng.normal(size=2) * spread for emotion in recipe.classes}
                    points = np.array([centres[emotion] for emotion in clips["emotion"]])
                    points = points + 4 * rng.normal(size=points.shape)
                    key = {"model": model, "rank": rank, "layer": layer, "module": module, "variant": variant}
                    pictures.append(clips.assign(**key, x=points[:, 0], y=points[:, 1]))
                    probe = float(rng.uniform(0.3, 0.9))
                    scores.append(
                        key
                        | {"clips": len(clips), "silhouette": float(rng.uniform(-0.1, 0.4))}
                        | {"knn": float(rng.uniform(0.3, 0.9))}
                        | {"probe_uar": probe, "probe_low": probe - 0.08, "probe_high": probe + 0.08}
                        | {"silhouette_null": -0.02, "silhouette_null_high": 0.01}
                        | {"knn_null": 0.25, "knn_null_high": 0.33, "perplexity": 13.0, "note": ""}
                    )
    return pd.concat(pictures, ignore_index=True), pd.DataFrame(scores)


def _spectra(recipe: Recipe, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    curves, summary = [], []
    rank = max(recipe.ranks)
    for model in ("trained", *RANDOM_MODELS):
        for layer in range(recipe.layers):
            for module in recipe.modules:
                for factor in "AB":
                    for quantity in ("activation", "gradient"):
                        for variant in ("paper", "released", "corrected", "corrected-balanced"):
                            key = dict(
                                zip(_SPECTRA_KEY, (model, layer, module, factor, quantity, variant), strict=True)
                            )
                            empty = model == "peft-init" and (factor, quantity) in (
                                ("B", "activation"),
                                ("A", "gradient"),
                            )
                            if empty:
                                numbers = (
                                    "k90",
                                    "participation",
                                    "entropy_rank",
                                    "k90_low",
                                    "k90_high",
                                    "trained_ratio",
                                )
                                nothing = dict.fromkeys(numbers, np.nan)
                                summary.append(key | nothing | {"note": "B is zero, so this is exactly zero"})
                                continue
                            width = recipe.width if (factor, quantity) == ("B", "gradient") else rank
                            decay = (6.0 if model == "trained" else 1.5) * rng.uniform(0.7, 1.3)
                            power = np.exp(-decay * np.arange(width) / width * 2)
                            share = power / power.sum()
                            energy = share.cumsum()
                            curves += [key | {"index": i + 1, "energy": float(e)} for i, e in enumerate(energy)]
                            entropy = float(np.exp(-(share * np.log(share)).sum()))
                            k90 = float((energy < 0.9).sum() + 1)
                            known = variant == "corrected" and (factor, quantity) != ("B", "gradient")
                            numbers = {
                                "k90": k90,
                                "k90_low": k90 - 1 if known else np.nan,
                                "k90_high": k90 + 1 if known else np.nan,
                                "participation": 1 / float((share**2).sum()),
                            }
                            summary.append(key | numbers | {"entropy_rank": entropy, "note": ""})
    table = pd.DataFrame(summary)
    trained = table[table["model"] == "trained"].set_index(list(_SPECTRA_KEY[1:]))["k90"]
    table["trained_ratio"] = trained.reindex(pd.MultiIndex.from_frame(table[list(_SPECTRA_KEY[1:])])).to_numpy()
    table["trained_ratio"] /= table["k90"]
    return pd.DataFrame(curves), table


_SPECTRA_KEY = ("model", "layer", "module", "factor", "quantity", "variant")


def _cka(recipe: Recipe, rng: np.random.Generator) -> pd.DataFrame:
    random = [model for model in RANDOM_MODELS if model != "peft-init"]
    pairs = [f"A~B:{model}" for model in ("trained", *random)]
    pairs += [f"{factor}:trained~{model}" for factor in "AB" for model in random]
    released = {
        ("A:trained~gaussian", "activation"): "linear",
        ("B:trained~gaussian", "activation"): "rbf",
        ("A~B:trained", "gradient"): "rbf",
        ("A~B:gaussian", "gradient"): "rbf",
    }
    rows = []
    for pair in pairs:
        for quantity in ("activation", "gradient"):
            curves = [
                ("corrected", "linear", "debiased"),
                ("corrected", "rbf", "debiased"),
                ("paper", "linear", "biased"),
            ]
            if (pair, quantity) in released:
                curves.append(("released", released[pair, quantity], "biased"))
            for variant, kernel, estimator in curves:
                for layer in range(recipe.layers):
                    for module in recipe.modules:
                        biased = estimator == "biased"
                        value = float((0.72 if ":trained" in pair else 0.85) + 0.1 * rng.uniform())
                        value = value + 0.1 if biased else value - 0.2 * layer / recipe.layers
                        rows.append(
                            {"layer": layer, "module": module, "pair": pair, "quantity": quantity, "kernel": kernel}
                            | {"estimator": estimator, "variant": variant, "value": value}
                            | {"ci_low": value - 0.06, "ci_high": value + 0.04}
                            | {"null_low": 0.7 if biased else -0.05, "null_high": 0.8 if biased else 0.06}
                            | {"model": pair.split(":")[-1].split("~")[-1], "clips": 40, "draws": 500, "note": ""}
                        )
    return pd.DataFrame(rows)


def _erasure(recipe: Recipe, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for model in [*(["frozen"] if recipe.frozen_model else []), "trained"]:
        base = {"accuracy": 0.8, "uar": 0.78, "loss": 0.6, "confidence": 0.75}
        for mode in ("none", "single", "progressive"):
            for layer in [-1] if mode == "none" else range(recipe.layers):
                drop = 0.0 if mode == "none" else float(0.3 * rng.uniform())
                row = {"model": model, "layer": layer, "mode": mode}
                for name, value in base.items():
                    change = drop if name == "loss" else -drop
                    row |= {name: value + change, f"delta_{name}": change}
                    if name != "confidence":
                        row |= {f"delta_{name}_low": change - 0.05, f"delta_{name}_high": change + 0.05}
                rows.append(row)
    return pd.DataFrame(rows)
