"""Figures 4 to 7 on the page: what is lost when blocks are skipped, the adapter is turned down, ranks are cut, and what
a stream carries into the other model.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from .. import figures
from ..figures.dial import whole_at
from .spec import LAYER, MODELS, Axis, Curve, Facet, Level, Look, Panel, Plot, View, curve, where

MODES = {mode: words for mode, (_, _, words) in figures.erasure.MODES.items()}
TURNED = {"uar": "UAR", "loss": "loss (nats)", "kl": "KL from the full answer (nats)", "flipped": "flipped answers"}
BLOCKS = {
    "block": ("this block off", Look("orange", "solid", "square")),
    "alone": ("this block alone on", Look("green", "dash", "triangle-up")),
}
ENDS = {
    "first": ("the first k blocks on", Look("blue")),
    "last": ("the last k blocks on", Look("purple", "dash", "diamond")),
}
WAYS = {
    "global": ("largest σ of all matrices", Look("blue", width=2.5)),
    "local": ("each matrix' own largest", Look("green", "dash", "triangle-up")),
}
PARTS = {
    "resid_pre": ("residual stream before block l", Look("blue", width=2.5)),
    "attn_out": ("attention of block l", Look("orange", "dash", "square")),
    "mlp_out": ("MLP of block l", Look("green", "dot", "triangle-up")),
}


def erasure(folder: FinishedRun) -> Plot | None:
    """Figure 4, for one block or all up to it; None where erasure was not measured."""
    table = folder.curves("erasure")
    if table is None:
        return None

    def view(choice: Mapping[str, str]) -> View:
        panels = []
        for quantity, words in figures.erasure.QUANTITIES.items():
            curves = []
            for model in ("trained", "frozen"):
                rows = where(table, model=model, mode=choice["mode"])
                curves += curve(rows, quantity, model, MODELS[model])
            panels.append(Panel("", LAYER, Axis(words), tuple(curves), levels=(Level(0.0),)))
        return [panels]

    return Plot("fig4", view, (Facet("mode", "Skipped", MODES),))


def dial(folder: FinishedRun) -> Plot | None:
    """Figure 5 for each number that is told; None where the dial was not turned."""
    table = folder.table("dial")
    if table is None:
        return None
    numbers = {name: words for name, words in TURNED.items() if name in table}

    def view(choice: Mapping[str, str]) -> View:
        number = choice["turned"]
        whole = curve(where(table, dial="whole"), number, "whole adapter times α", Look("blue"), over="alpha")
        levels = tuple(
            Level(float(whole_at(table, alpha)[number]), words) for alpha, words in ((1.0, "all on"), (0.0, "all off"))
        )
        axis = Axis(numbers[number])
        kinds = table[table["module"].fillna("") != ""] if "module" in table else table.iloc[:0]
        panels = [
            Panel("the whole adapter", Axis("α"), axis, whole, levels=(Level(1.0, upright=True),)),
            Panel("one block", LAYER, axis, _blocks(table, number), levels=levels),
            Panel(
                "the first or the last blocks",
                Axis("number of blocks k", "number"),
                axis,
                _ends(table, number),
                levels=levels,
            ),
        ]
        return [panels, *([[_modules(kinds, axis, number, levels)]] if len(kinds) else [])]

    return Plot("fig5", view, (Facet("turned", "Number", numbers),))


def _blocks(table: pd.DataFrame, number: str) -> tuple[Curve, ...]:
    found: list[Curve] = []
    for name, (words, look) in BLOCKS.items():
        rows = where(table, dial=name, alpha=0.0 if name == "block" else 1.0).rename(columns={"at": "layer"})
        found += curve(rows, number, words, look)
    return tuple(found)


def _ends(table: pd.DataFrame, number: str) -> tuple[Curve, ...]:
    return tuple(
        line
        for name, (words, look) in ENDS.items()
        for line in curve(where(table, dial=name), number, words, look, over="at")
    )


def _modules(rows: pd.DataFrame, axis: Axis, number: str, levels: tuple[Level, ...]) -> Panel:
    modules = tuple(dict.fromkeys(rows["module"]))
    rows = rows[rows["alpha"].isin([0.0, 1.0])]
    curves = []
    for alpha, words, look in ((0.0, "off", Look("orange", symbol="square")), (1.0, "alone on", Look("green"))):
        part = rows[rows["alpha"] == alpha]
        if len(part):
            curves.append(
                Curve(
                    words,
                    look,
                    part["module"].tolist(),
                    part[number].tolist(),
                    *_interval(part, number),
                    marks=True,
                )
            )
    return Panel("kind of module", Axis(kind="names", names=modules), axis, tuple(curves), levels=levels)


def rank_dial(folder: FinishedRun) -> Plot | None:
    """Figure 6; None where no rank was cut."""
    table, least = folder.table("rank_dial"), folder.table("rank_dial_least")
    if table is None:
        return None

    def view(_: Mapping[str, str]) -> View:
        panels = []
        for number, words in figures.rank_dial.QUANTITIES.items():
            random = table[(table["way"] == "random") & (table["share"] > 0)]
            curves: list[Curve] = [
                Curve(
                    "as many at random",
                    Look("muted", symbol="x"),
                    random["share"].tolist(),
                    random[number].tolist(),
                    marks=True,
                )
            ]
            for way, (name, look) in WAYS.items():
                curves += curve(table[(table["way"] == way) & (table["share"] > 0)], number, name, look, over="share")
            none = table[(table["way"] == "global") & (table["share"] == 0)]
            levels = [Level(float(none[number].iloc[0]), "none kept")]
            if least is not None and least["share"].notna().any():
                found = float(least.loc[least["way"] == "global", "share"].iloc[0])
                levels += [Level(found, "least share as good", upright=True)] if found > 0 else []
            panels.append(
                Panel("", Axis("directions kept (%)", "share"), Axis(words), tuple(curves), levels=tuple(levels))
            )
        return [panels]

    return Plot("fig6", view)


def patching(folder: FinishedRun) -> Plot | None:
    """Figure 7; None where nothing was patched."""
    table = folder.table("patching")
    if table is None:
        return None

    def view(_: Mapping[str, str]) -> View:
        panels = []
        for receiver, words in figures.patching.RECEIVERS.items():
            rows = where(table, receiver=receiver)
            # where there is no difference to share out, what moves is told in logits
            number = "share" if rows["share"].notna().any() else "moved"
            curves = [
                line
                for part, (name, look) in PARTS.items()
                for line in curve(where(rows, part=part), number, name, look)
            ]
            levels = (Level(0.0), Level(1.0)) if number == "share" else (Level(0.0),)
            label = "share of the difference" if number == "share" else "what moves (logits)"
            panels.append(Panel(words, LAYER, Axis(label), tuple(curves), levels=levels))
        return [panels]

    return Plot("fig7", view)


def _interval(rows: pd.DataFrame, number: str) -> tuple[list[float], list[float]]:
    low, high = f"{number}_low", f"{number}_high"
    return (rows[low].tolist(), rows[high].tolist()) if low in rows else ([], [])
