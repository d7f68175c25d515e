"""The analysis tables of a made-up run folder: right shapes and columns, random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .recipe import RANDOM_MODELS, Recipe, analysed_clips


def write_analysis(folder: Path, recipe: Recipe, rng: np.random.Generator) -> None:
    """Write analysis/*.parquet."""
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
    for stem in ("contribution", "lens", "rank_scores", "spectra_summary", "cka", "erasure"):
        tables[stem]["interval_of"] = "these clips"
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
