"""A made-up world for the statements: tables of the shapes that measures leave, of adapters whose numbers have a
planted mean, an effect of the fold (which folds share in part, as they share training speakers) and one of the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd

from lorascope.findings.claims.setting import BOTH, SHUFFLED, TEST, TRAINED, Setting, Unit

CLASSES = ("anger", "happiness", "neutrality", "sadness")
HEADS = ("last", "layer_sum", "logistic", "best_layer", "concatenated")
#: What a planted effect moves, in standard deviations over folds, by statement.
EFFECTS = ("a", "b", "c", "d", "e", "f", "g", "g'", "h1", "h2", "h3", "h4", "i", "j", "k", "k'", "l", "m")


@dataclass
class World:
    """`effects` are the statements' true means, in standard deviations of a number over folds, the sign being that of
    the statement (positive: it holds). 0 elsewhere.
    """

    effects: dict[str, float] = field(default_factory=dict)
    folds: int = 10
    seeds: int = 2
    layers: int = 6
    fold_sd: float = 0.8
    seed_sd: float = 0.6
    corpus: str = "made-up"
    encoder: str = "tiny"
    #: Modules that are adapted.
    modules: tuple[str, ...] = ("v_proj",)

    def drawn(self, rng: np.random.Generator, name: str) -> np.ndarray:
        """A statement's number of each adapter, [folds, seeds], with a standard deviation of about 1 over folds: folds
        correlate by test / (test + train), as Nadeau and Bengio take it.
        """
        overlap = 1 / self.folds
        shared = np.sqrt(overlap) * rng.normal()
        folds = shared + np.sqrt(1 - overlap) * rng.normal(size=self.folds)
        seeds = rng.normal(size=(self.folds, self.seeds))
        return self.effects.get(name, 0.0) + self.fold_sd * folds[:, None] + self.seed_sd * seeds


def setting(world: World, rng: np.random.Generator, stems: tuple[str, ...] = ()) -> Setting:
    """A setting of that world, with tables of every adapter in memory: of these stems, or all."""
    drawn = {name: world.drawn(rng, name) for name in EFFECTS}
    units, scores = [], []
    for fold, seed in product(range(world.folds), range(world.seeds)):
        of_unit = {name: float(values[fold, seed]) for name, values in drawn.items()}
        tables = tables_of(world, of_unit, np.random.default_rng(rng.integers(2**32)), stems)
        units.append(Unit(f"f{fold}", seed, lambda *key, tables=tables: tables.get(key)))
        scores += scores_of(of_unit, f"f{fold}", seed, rng)
    return Setting(
        corpus=world.corpus,
        encoder=world.encoder,
        adapter="LoRA r=32 v_proj",
        layers=world.layers,
        classes=CLASSES,
        units=units,
        test_over_train=1 / (world.folds - 1),
        method={"kind": "lora", "rank": 32, "alpha": 64, "targets": ["v_proj"]},
        scores=pd.DataFrame(scores),
        measures=("contribution", "lens"),
        created="2026-12-01T00:00:00+00:00",
    )


def tables_of(
    world: World, of: dict[str, float], rng: np.random.Generator, stems: tuple[str, ...] = ()
) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Every table of one adapter and of its control, or those of some stems; `of` are the statements' numbers that they
    shall give (of those with several parts: of both alike).
    """
    every = {"contribution": contribution, "lens": lens, "spectra_summary": spectra, "cka": cka}
    every |= {"dial": dial, "rank_scores": rank_scores, "ranks": ranks}
    of_main = ("dial", "rank_scores", "ranks")
    found: dict[tuple[str, str, str], pd.DataFrame] = {}
    for adapter in (TRAINED, SHUFFLED):
        own = of if adapter == TRAINED else dict.fromkeys(of, 0.0)
        for stem, make in every.items():
            if (not stems or stem in stems) and (adapter == TRAINED or stem not in of_main):
                found[adapter, TEST, stem] = make(world, own, rng)
        if not stems or "probes" in stems:
            found[adapter, TEST, "probes"] = probes(world, own, rng, ("emotion", "sentence", "gender"))
            found[adapter, BOTH, "probes"] = probes(world, own, rng, ("speaker", "emotion"))
    return found


def third(world: World) -> int:
    return max(1, round(world.layers / 3))


def contribution(world: World, of: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    top, rows = world.layers - third(world), []
    variants = (("paper", "all"), ("corrected", "valid"), ("same-input", "valid"))
    for (variant, frames), layer in product(variants, range(world.layers)):
        upper, lower = layer >= top, layer < third(world)
        wave = np.cos(layer) * 0.1
        # a: block, top less bottom; b: attention less MLP; c: block less the larger; d: cosine
        attn = 0.01 * (of["b"] / 2 if upper else 0) + wave
        mlp = attn - 0.01 * (of["b"] if upper else 0)
        nearest = max(attn, mlp) + 0.01 * of["c"] if upper else wave
        block = nearest if upper else wave
        if lower:
            # the top's mean less a
            levels = [
                np.cos(up) * 0.1 + 0.01 * (max(of["b"] / 2, -of["b"] / 2) + of["c"]) for up in range(top, world.layers)
            ]
            block = float(np.mean(levels)) - 0.01 * of["a"]
        cosine = -0.02 * of["d"] if upper else 0.0
        for component, ratio in (("attn", attn), ("mlp", mlp), ("block", block)):
            rows.append(("difference", layer, component, variant, frames, ratio, cosine))
            rows.append(("trained", layer, component, variant, frames, ratio + 1, cosine + 0.3))
            rows.append(("difference", layer, component, variant, "other", rng.normal(), rng.normal()))
    return pd.DataFrame(rows, columns=["model", "layer", "component", "variant", "frames", "ratio", "cosine"])


def lens(world: World, of: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    rows, depth = [], world.layers - third(world)
    for variant in ("paper", "released", "corrected"):
        last = 0.0 if variant == "corrected" else 0.2
        whole = 2.0 + rng.uniform()
        share = 1 / 3 + 0.02 * of["e"]
        trained = np.interp(np.arange(world.layers + 1), [0, depth, world.layers], [whole, share * whole, 0.0]) + last
        frozen = np.full(world.layers + 1, 1.0)
        frozen[-2], frozen[-1] = 1.0 + 0.05 * of["f"], last
        for model, curve in (("trained", trained), ("frozen", frozen)):
            rows += [(model, layer, variant, kl) for layer, kl in enumerate(curve)]
    return pd.DataFrame(rows, columns=["model", "layer", "variant", "kl"])


def spectra(world: World, of: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    names = {("A", "activation"): "h1", ("A", "gradient"): "h2", ("B", "activation"): "h3", ("B", "gradient"): "h4"}
    rows = []
    for variant, layer, module in product(("paper", "corrected"), range(world.layers), world.modules):
        for (factor, quantity), name in names.items():
            sign = -1 if name == "h4" else 1
            base = 10.0 + layer
            for model, k90 in (("trained", base * np.exp(-0.05 * sign * of[name])), ("norm-matched", base)):
                rows.append((model, layer, module, factor, quantity, variant, k90))
    return pd.DataFrame(rows, columns=["model", "layer", "module", "factor", "quantity", "variant", "k90"])


def cka(world: World, of: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    zigzag = np.where(np.arange(world.layers) % 2, 1.0, -1.0)
    zigzag = (zigzag - zigzag.mean()) / zigzag.std(ddof=1)
    for variant, estimator in (("corrected", "debiased"), ("paper", "biased")):
        for layer, module in product(range(world.layers), world.modules):
            random = 0.7 - 0.01 * layer
            noise = 0.02**2
            # forwards the curve is random's, 0.02 * i, and a zigzag, so large that backwards can be less
            forward = random + 0.02 * of["i"] + 0.15 * zigzag[layer]
            spread = np.std(0.15 * zigzag - 0.01 * np.arange(world.layers), ddof=1)
            wanted = max(np.sqrt(max(spread**2 - noise, 0.0)) + 0.02 + 0.02 * (of["j"] - 1), 0.0)
            backward = 0.5 + zigzag[layer] * np.sqrt(wanted**2 + noise)
            for model, quantity, value in (
                ("trained", "activation", forward),
                ("norm-matched", "activation", random),
                ("trained", "gradient", backward),
            ):
                for kernel in ("linear", "rbf"):
                    told = value if kernel == "linear" else 0.1
                    row = (layer, module, f"A~B:{model}", quantity, kernel, estimator, variant, told, noise)
                    rows.append(row)
    columns = ["layer", "module", "pair", "quantity", "kernel", "estimator", "variant", "value", "half_variance"]
    return pd.DataFrame(rows, columns=columns)


def probes(world: World, of: dict[str, float], rng: np.random.Generator, targets: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for target, depth in product(targets, range(world.layers + 1)):
        upper = depth > world.layers - third(world)
        change = 0.02 * (of["k'"] if target == "emotion" else -of["k"]) if upper else rng.normal()
        rows += [(target, "frozen", depth, 0.4), (target, "trained", depth, 0.4 + change)]
        rows.append((target, "difference", depth, change))
    return pd.DataFrame(rows, columns=["target", "model", "depth", "selectivity"])


def dial(world: World, of: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    rows = [("whole", -1, 1.0, 0.7)]
    for way, at in product(("first", "last"), range(world.layers + 1)):
        uar = rng.uniform() if at != third(world) else 0.5 + 0.02 * (of["l"] if way == "last" else 0)
        rows.append((way, at, 1.0, uar))
    return pd.DataFrame(rows, columns=["dial", "at", "alpha", "uar"])


def rank_scores(world: World, of: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for variant, layer, rank, module in product(
        ("corrected", "released"), (0, world.layers - 1), (8, 32, 64), world.modules
    ):
        number = 0.02 * of["g"] * np.log2(rank) if layer else rng.normal()
        rows.append(("trained", rank, layer, module, variant, 0.6 + number, 0.1 + number))
        rows.append(("gaussian", rank, layer, module, variant, rng.normal(), rng.normal()))
    return pd.DataFrame(rows, columns=["model", "rank", "layer", "module", "variant", "probe_uar", "silhouette"])


def ranks(world: World, of: dict[str, float], rng: np.random.Generator, clips: int = 40) -> pd.DataFrame:
    """Clips of which the probe gets so many right that the classes' slopes stand in the stated order where g' holds."""
    place = {name: number for number, name in enumerate(("neutrality", "sadness", "anger", "happiness"))}
    trend = {name: 0.4 * of["g'"] * (place[name] - 1.5) + rng.normal() for name in CLASSES}
    frames = []
    for variant, rank, emotion in product(("corrected", "released"), (8, 32, 64), CLASSES):
        right = round(clips * float(np.clip(0.5 + 0.05 * trend[emotion] * (np.log2(rank) - 14 / 3), 0, 1)))
        other = CLASSES[(CLASSES.index(emotion) + 1) % len(CLASSES)]
        told = {"model": "trained", "rank": rank, "layer": world.layers - 1, "module": "v_proj", "variant": variant}
        frames.append(
            pd.DataFrame({"emotion": emotion, "predicted": [emotion] * right + [other] * (clips - right)}).assign(
                **told
            )
        )
    return pd.concat(frames, ignore_index=True)


def scores_of(of: dict[str, float], fold: str, seed: int, rng: np.random.Generator) -> list[dict]:
    """Cells of a unit: LoRA, its control, and every frozen head, of which `logistic` is best on the validation
    speakers."""
    own = {"fold": fold, "seed": seed}
    rows = [own | {"name": "lora", "kind": "lora", "head": "", "control": "", "uar": 0.7 + 0.02 * of["m"]}]
    rows.append(own | {"name": "shuffled", "kind": "lora", "head": "", "control": "shuffled_labels", "uar": 0.25})
    for head in HEADS:
        row = {"name": f"frozen-{head}", "kind": "frozen", "head": head, "control": "", "uar": 0.7}
        rows.append(own | row | {"validation_uar": 0.8 if head == "logistic" else 0.6 + 0.1 * rng.uniform()})
    for row in rows:
        row.setdefault("validation_uar", 0.9)
        row["validation_loss"] = 0.7
        if row["head"] not in ("", "logistic"):
            row["uar"] = 0.7 + rng.normal() * 0.05
    return rows
