"""Each statistic against a second computation, written row by row from docs/claims.md, on tables of random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import page_trend_test, rankdata

from lorascope.findings.claims import built_in
from lorascope.findings.claims.setting import BOTH, SHUFFLED, TEST, TRAINED, Setting, Unit
from lorascope.findings.claims.statement import Lacking
from lorascope.findings.claims.verdicts import decided

CLASSES = ("anger", "happiness", "neutrality", "sadness")
MODULES = ("q_proj", "v_proj")
Tables = dict[tuple[str, str, str], pd.DataFrame]


def drawn(
    rng: np.random.Generator, columns: dict[str, tuple], numbers: tuple[str, ...], low: float = 0.1
) -> pd.DataFrame:
    """A row for every combination of the columns' values, in a random order, with random numbers."""
    table = pd.DataFrame(list(product(*columns.values())), columns=list(columns))
    for name in numbers:
        table[name] = rng.uniform(low, 1.0, len(table))
    return table.sample(frac=1, random_state=int(rng.integers(1000))).reset_index(drop=True)


def random_tables(rng: np.random.Generator, layers: int, stems: tuple[str, ...] = ()) -> Tables:
    """Tables of an adapter and its control on both kinds of clips; with `stems` those alone."""
    blocks, depths = tuple(range(layers)), tuple(range(layers + 1))
    models = ("trained", "frozen", "norm-matched", "gaussian")
    quantities, variants = ("activation", "gradient"), ("paper", "corrected", "corrected-balanced")
    at_ranks = {"model": ("trained", "gaussian"), "rank": (8, 32, 64), "layer": (0, layers - 1), "module": MODULES}
    at_ranks |= {"variant": ("corrected", "released")}

    def contribution() -> pd.DataFrame:
        place = {"model": (*models, "difference"), "layer": blocks, "component": ("attn", "mlp", "block")}
        place |= {"variant": ("paper", "corrected", "same-input"), "frames": ("all", "valid")}
        return drawn(rng, place, ("ratio", "cosine"))

    def lens() -> pd.DataFrame:
        place = {"model": ("trained", "frozen"), "layer": depths, "variant": ("paper", "released", "corrected")}
        return drawn(rng, place, ("kl",))

    def spectra_summary() -> pd.DataFrame:
        place = {"model": models, "layer": blocks, "module": MODULES, "factor": ("A", "B")}
        return drawn(rng, place | {"quantity": quantities, "variant": variants}, ("k90",))

    def cka() -> pd.DataFrame:
        place = {"layer": blocks, "module": MODULES, "pair": ("A~B:trained", "A~B:norm-matched", "A:trained~gaussian")}
        place |= {"quantity": quantities, "kernel": ("linear", "rbf")}
        kinds = pd.DataFrame({"estimator": ["debiased", "biased"], "variant": ["corrected", "paper"]})
        table = drawn(rng, place, ()).merge(kinds, how="cross")
        numbers = {"value": rng.uniform(0, 1, len(table)), "half_variance": rng.uniform(0, 0.02, len(table))}
        return table.assign(**numbers)

    def probes() -> pd.DataFrame:
        place = {"target": ("emotion", "speaker", "sentence", "gender", "f0_mean"), "depth": depths}
        return drawn(rng, place | {"model": ("trained", "frozen", "difference")}, ("score", "selectivity"))

    def dial() -> pd.DataFrame:
        return drawn(rng, {"dial": ("first", "last", "alone"), "at": depths}, ("uar", "accuracy"))

    def rank_scores() -> pd.DataFrame:
        return drawn(rng, at_ranks, ("probe_uar", "silhouette", "knn"))

    def ranks() -> pd.DataFrame:
        table = drawn(rng, at_ranks | {"clip": tuple(range(40))}, ())
        return table.assign(emotion=np.array(CLASSES)[table["clip"] % 4], predicted=rng.choice(CLASSES, len(table)))

    makers = (contribution, lens, spectra_summary, cka, probes, dial, rank_scores, ranks)
    return {
        (adapter, clips, make.__name__): make()
        for adapter, clips, make in product((TRAINED, SHUFFLED), (TEST, BOTH), makers)
        if (not stems or make.__name__ in stems) and (clips == TEST or make is probes)
    }


def a_setting(layers: int, seed: int = 0, folds: int = 5, stems: tuple[str, ...] = ()) -> tuple[Setting, list[Tables]]:
    rng = np.random.default_rng(seed)
    tables = [random_tables(rng, layers, stems) for _ in range(folds)]
    units = [Unit(f"f{n}", 1, lambda *key, of=of: of.get(key)) for n, of in enumerate(tables)]
    scores = []
    for unit in units:
        own = {"fold": unit.fold, "seed": 1, "validation_loss": 1.0, "control": ""}
        scores.append(own | {"name": "mine", "kind": "lora", "head": "", "uar": rng.uniform(), "validation_uar": 1.0})
        for head in ("last", "layer_sum", "logistic", "best_layer", "concatenated"):
            drawn_scores = {"uar": rng.uniform(), "validation_uar": rng.uniform()}
            scores.append(own | {"name": f"head {head}", "kind": "frozen", "head": head} | drawn_scores)
        shuffled = {"name": "no head", "kind": "frozen", "head": "last", "control": "shuffled_labels"}
        scores.append(own | shuffled | {"uar": 0.0, "validation_uar": 2.0})
    made = Setting("c", "e", "LoRA", layers, CLASSES, units, 0.25, main="mine", scores=pd.DataFrame(scores))
    return made, tables


# ------------------------------------------------------------------------------------- the same from docs/claims.md


class By:
    """The tables of one unit, asked row by row."""

    def __init__(self, tables: Tables, layers: int) -> None:
        self.tables, self.layers = tables, layers
        self.records: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        self.n = max(1, int(layers / 3 + 0.5))

    def rows(self, stem: str, adapter: str = TRAINED, clips: str = TEST, **where: Any) -> list[dict[str, Any]]:
        if (adapter, clips, stem) not in self.records:
            self.records[adapter, clips, stem] = self.tables[adapter, clips, stem].to_dict(orient="records")
        rows = self.records[adapter, clips, stem]
        return [row for row in rows if all(row[name] == value for name, value in where.items())]

    def value(self, stem: str, value: str, **where: Any) -> float:
        """The mean over what is left: the adapted modules, where there are any."""
        numbers = [row[value] for row in self.rows(stem, **where)]
        assert len(numbers) == (len(MODULES) if "module" in self.tables[TRAINED, TEST, stem] else 1)
        return sum(numbers) / len(numbers)

    def mean(self, blocks: Any, stem: str, value: str, by: str = "layer", **where: Any) -> float:
        of_blocks = [self.value(stem, value, **where, **{by: block}) for block in blocks]
        return sum(of_blocks) / len(of_blocks)

    @property
    def top(self) -> range:
        return range(self.layers - self.n, self.layers)

    @property
    def bottom(self) -> range:
        return range(self.n)

    def delta(self, blocks: Any, variant: str, component: str, value: str = "ratio") -> float:
        frames = "all" if variant == "paper" else "valid"
        where = {"model": "difference", "variant": variant, "frames": frames, "component": component}
        return self.mean(blocks, "contribution", value, **where)

    def kl(self, variant: str, model: str = "trained", adapter: str = TRAINED) -> list[float]:
        where = {"adapter": adapter, "model": model, "variant": variant}
        return [self.value("lens", "kl", layer=at, **where) for at in range(self.layers + 1)]

    def late(self, variant: str, adapter: str = TRAINED) -> float:
        kl = self.kl(variant, adapter=adapter)
        falls = [kl[at] - kl[at + 1] for at in range(self.layers)]
        return sum(falls[-self.n :]) / sum(falls)

    def log_k90(self, model: str, variant: str, factor: str, quantity: str, adapter: str = TRAINED) -> list[float]:
        where = {"model": model, "variant": variant, "factor": factor, "quantity": quantity}
        rows = [self.rows("spectra_summary", adapter, layer=at, **where) for at in range(self.layers)]
        return [sum(math.log(row["k90"]) for row in of_block) / len(of_block) for of_block in rows]

    def concentration(self, variant: str, factor: str, quantity: str, other: str) -> float:
        random = ("trained", SHUFFLED) if other == SHUFFLED else (other, TRAINED)
        theirs = self.log_k90(random[0], variant, factor, quantity, random[1])
        mine = self.log_k90("trained", variant, factor, quantity)
        return sum(a - b for a, b in zip(theirs, mine, strict=True)) / self.layers

    def cka(
        self,
        variant: str,
        quantity: str = "activation",
        model: str = "trained",
        adapter: str = TRAINED,
        value: str = "value",
    ) -> list[float]:
        where = {"pair": f"A~B:{model}", "quantity": quantity, "kernel": "linear", "adapter": adapter}
        where["estimator"] = {"corrected": "debiased", "paper": "biased"}[variant]
        return [self.value("cka", value, layer=at, **where) for at in range(self.layers)]

    def spread(self, variant: str, quantity: str) -> float:
        values, noise = (np.array(self.cka(variant, quantity, value=name)) for name in ("value", "half_variance"))
        variance = sum((values - values.mean()) ** 2) / (self.layers - 1)
        return math.sqrt(max(variance - float(noise.mean()), 0))

    def probe(self, target: str, adapter: str, clips: str) -> float:
        # depth l + 1 is what block l gives
        depths = [block + 1 for block in self.top]
        where = {"adapter": adapter, "clips": clips, "target": target, "model": "difference"}
        return self.mean(depths, "probes", "selectivity", by="depth", **where)

    def slope(self, numbers: list[float]) -> float:
        return float(np.polyfit([3, 5, 6], numbers, 1)[0])

    def by_rank(self, variant: str, value: str) -> float:
        where = {"model": "trained", "layer": self.layers - 1, "variant": {"paper": "released"}.get(variant, variant)}
        return self.slope([self.value("rank_scores", value, rank=rank, **where) for rank in (8, 32, 64)])

    def order(self, variant: str) -> float:
        where = {"model": "trained", "layer": self.layers - 1, "variant": {"paper": "released"}.get(variant, variant)}
        slopes = []
        for name in ("neutrality", "sadness", "anger", "happiness"):
            rows = [self.rows("ranks", rank=rank, emotion=name, **where) for rank in (8, 32, 64)]
            right = [sum(row["predicted"] == name for row in of_rank) / len(of_rank) for of_rank in rows]
            slopes.append(round(self.slope(right), 10))
        # Page's L of one row, from its least, 20, to its largest, 30
        total = sum(place * rank for place, rank in zip((1, 2, 3, 4), rankdata(slopes), strict=True))
        return (total - 25) / 5


def of_claims(by: By, variant: str) -> dict[str, list[float]]:
    """The statistics that need one unit's tables, in the order of docs/claims.md."""
    kinds = {"h1": ("A", "activation"), "h2": ("A", "gradient"), "h3": ("B", "activation"), "h4": ("B", "gradient")}
    found = {
        "a": [by.delta(by.top, variant, "block") - by.delta(by.bottom, variant, "block")],
        "b": [by.delta(by.top, variant, "attn") - by.delta(by.top, variant, "mlp")],
        "c": [
            by.delta(by.top, variant, "block") - max(by.delta(by.top, variant, one) for one in ("attn", "mlp")),
        ],
        "d": [
            by.delta(by.top, variant, "block", "cosine"),
            by.delta(by.top, variant, "block", "cosine") - by.delta(by.bottom, variant, "block", "cosine"),
        ],
    }
    if variant == "same-input":
        return found
    frozen = by.kl(variant, "frozen")
    found |= {
        "e": [by.late(variant) - 1 / 3, by.late(variant) - by.late(variant, SHUFFLED)],
        "f": [frozen[by.layers - 1] - min(frozen[: by.layers - 1])],
        "g": [by.by_rank(variant, "probe_uar"), by.by_rank(variant, "silhouette")],
        "g'": [by.order(variant)],
        "i": [
            float(np.mean(by.cka(variant)) - np.mean(by.cka(variant, model="norm-matched"))),
            float(np.mean(by.cka(variant)) - np.mean(by.cka(variant, adapter=SHUFFLED))),
        ],
        "j": [by.spread(variant, "gradient") - by.spread(variant, "activation")],
    }
    found |= {
        name: [by.concentration(variant, *kind, other) for other in ("norm-matched", SHUFFLED)]
        for name, kind in kinds.items()
    }
    if variant == "paper":
        return found
    asked = (("speaker", BOTH), ("sentence", TEST), ("gender", TEST))
    dial = {way: by.value("dial", "uar", dial=way, at=by.n) for way in ("last", "first")}
    return found | {
        "k": [sum(by.probe(t, TRAINED, clips) - by.probe(t, SHUFFLED, clips) for t, clips in asked) / 3],
        "k'": [by.probe("emotion", TRAINED, TEST)],
        "l": [dial["last"] - dial["first"]],
    }


# layers of tiny, base, small, large
@pytest.mark.parametrize("layers", [4, *(pytest.param(layers, marks=pytest.mark.slow) for layers in (6, 7))])
def test_every_statistic_is_what_was_stated(layers: int) -> None:
    made, tables = a_setting(layers, folds=1)
    by, unit = By(tables[0], layers), made.units[0]
    checked = []
    for statement in built_in():
        for variant in statement.variants:
            expected = of_claims(by, variant).get(statement.name)
            if expected is None:
                assert statement.name == "m"
                continue
            numbers = [part.statistic(made, unit, variant) for part in statement.parts]
            assert numbers == pytest.approx(expected, abs=1e-12), (statement.name, variant)
            checked.append(statement.name)
    assert len(set(checked)) == 17


def test_the_top_third_of_large_models_is_11_of_32_blocks_and_of_tiny_ones_1_of_4() -> None:
    for layers, third in ((4, 1), (6, 2), (12, 4), (24, 8), (32, 11), (1, 1)):
        assert Setting("c", "e", "LoRA", layers, (), [], 1.0).third == third


def statement_of(name: str) -> Any:
    return next(statement for statement in built_in() if statement.name == name)


def test_m_is_the_gain_over_the_head_that_is_best_on_the_validation_speakers() -> None:
    made, _ = a_setting(4, stems=("dial",))
    scores = made.scores
    frozen = scores[(scores["kind"] == "frozen") & (scores["control"] == "")]
    best = max(set(frozen["head"]), key=lambda head: frozen.loc[frozen["head"] == head, "validation_uar"].mean())
    part = statement_of("m").parts[0]
    for unit in made.units:
        here = scores[scores["fold"] == unit.fold].set_index("name")["uar"]
        assert part.statistic(made, unit, "corrected") == here["mine"] - here[f"head {best}"]
        assert part.statistic(made, unit, "paper") == here["mine"] - here["head last"]


def test_m_needs_every_head_in_every_unit() -> None:
    made, _ = a_setting(4, stems=("dial",))
    gone = (made.scores["head"] == "logistic") & (made.scores["fold"] == "f3")
    few = replace(made, scores=made.scores[~gone], memo={})
    with pytest.raises(Lacking, match="frozen heads logistic") as lack:
        statement_of("m").parts[0].statistic(few, few.units[0], "corrected")
    assert "  frozen-logistic: {kind: frozen, head: logistic}" in lack.value.lines


def test_k_is_of_the_targets_that_every_unit_has_and_needs_the_speaker() -> None:
    made, tables = a_setting(4, folds=3, stems=("probes",))
    without = tables[2][TRAINED, TEST, "probes"]
    tables[2][TRAINED, TEST, "probes"] = without[without["target"] != "gender"]
    by, part = By(tables[0], 4), statement_of("k").parts[0]
    asked = (("speaker", BOTH), ("sentence", TEST))
    expected = sum(by.probe(t, TRAINED, clips) - by.probe(t, SHUFFLED, clips) for t, clips in asked) / 2
    assert part.statistic(made, made.units[0], "corrected") == pytest.approx(expected, abs=1e-12)
    other, tables = a_setting(4, folds=3, stems=("probes",))
    del tables[0][SHUFFLED, BOTH, "probes"]
    with pytest.raises(Lacking, match="test and validation speakers"):
        part.statistic(other, other.units[0], "corrected")


def test_a_probe_that_cannot_hold_out_speakers_says_so() -> None:
    made, tables = a_setting(4, folds=1, stems=("probes",))
    table = tables[0][TRAINED, TEST, "probes"]
    tables[0][TRAINED, TEST, "probes"] = table[table["target"] != "emotion"]
    with pytest.raises(Lacking, match="speakers are held out") as lack:
        statement_of("k'").parts[0].statistic(made, made.units[0], "corrected")
    assert "  protocol: speaker_groups" in lack.value.lines


def test_the_p_of_the_order_is_pages_where_that_is_the_larger() -> None:
    made, tables = a_setting(4, folds=7, stems=("ranks",))
    row = decided([statement_of("g'")], [made]).query("variant == 'corrected'").iloc[0]
    slopes = []
    for of in tables:
        rows = of[TRAINED, TEST, "ranks"].query("model == 'trained' and layer == 3 and variant == 'corrected'")
        right = (rows["predicted"] == rows["emotion"]).groupby([rows["rank"], rows["emotion"]]).mean().unstack()
        needs = right[["neutrality", "sadness", "anger", "happiness"]]
        slopes.append([round(np.polyfit([3, 5, 6], needs[name], 1)[0], 10) for name in needs])
    up, down = (page_trend_test(np.array(slopes) * sign, method="exact").pvalue for sign in (1, -1))
    assert row["p"] >= min(1, 2 * min(up, down)) - 1e-12


@pytest.mark.parametrize(
    ("name", "stem", "change"),
    [
        ("a", "contribution", lambda table: table[table["layer"] != 2]),
        ("f", "lens", lambda table: table[table["model"] != "frozen"]),
        ("g", "rank_scores", lambda table: table[table["rank"] != 64]),
        ("g'", "ranks", lambda table: table.drop(columns="predicted")),
        ("h1", "spectra_summary", lambda table: table[table["model"] != "norm-matched"]),
        ("j", "cka", lambda table: table.drop(columns="half_variance")),
        ("l", "dial", lambda table: table[table["dial"] != "first"]),
    ],
)
def test_a_table_that_lacks_something_is_told(name: str, stem: str, change: Callable[[Any], Any]) -> None:
    made, tables = a_setting(4, folds=2, stems=(stem,))
    tables[1][TRAINED, TEST, stem] = change(tables[1][TRAINED, TEST, stem])
    rows = decided([statement_of(name)], [made])
    assert set(rows["verdict"]) == {"not testable here"} and rows["reason"].str.startswith("fold f1, seed 1: ").all()
