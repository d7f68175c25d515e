"""Figures 13 to 15 on the page: changed sound, speech recognition kept, and what is gained against it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ...store.finished import FinishedRun
from .. import figures
from ..figures.frontier import DIALS, RULES
from .spec import MODELS, Axis, Curve, Level, Look, Panel, Plot, View, curve, look_of, where

TRANSCRIPTS = {
    ("text", "frozen"): ("bare encoder, against the text", Look("ink", symbol="square")),
    ("text", "trained"): ("adapted encoder, against the text", Look("blue")),
    ("bare transcript", "trained"): (
        "adapted encoder, against the bare one's transcript",
        Look("vermillion", symbol="triangle-up"),
    ),
}
DIAL_LOOKS = {
    "whole": Look("blue"),
    "layers": Look("orange", symbol="square"),
    "rank": Look("green", symbol="triangle-up"),
    "rank and whole": Look("purple", symbol="diamond"),
}


def counterfactual(folder: FinishedRun) -> Plot | None:
    """Figure 13; None where no sound was changed, or no clip could be."""
    table, by_class = folder.table("counterfactual"), folder.table("counterfactual_classes")
    if table is None or by_class is None or table["flipped"].isna().all():
        return None
    changes = tuple(dict.fromkeys(table["change"]))
    names = Axis(kind="names", names=changes[::-1])

    def view(_: Mapping[str, str]) -> View:
        panels = []
        for number, words in figures.counterfactual.QUANTITIES.items():
            curves = tuple(
                _beside(where(table, model=model), "change", number, model, MODELS[model])
                for model in ("trained", "frozen")
            )
            panels.append(Panel("", Axis(words), names, curves, levels=(Level(0.0, upright=True),)))
        gold = where(by_class, model="trained")
        curves = tuple(
            _beside(where(gold, emotion=emotion), "change", "delta_gold", f"trained, {emotion}", look_of(place))
            for place, emotion in enumerate(dict.fromkeys(gold["emotion"]))
        )
        panels.append(Panel("", Axis("change of p(gold class)"), names, curves, levels=(Level(0.0, upright=True),)))
        return [panels]

    return Plot("fig13", view)


def recognition(folder: FinishedRun) -> Plot | None:
    """Figure 14; None where nothing was written down."""
    table = folder.table("recognition")
    if table is None or table["rate"].isna().all():
        return None
    table = table[table["rate"].notna()].assign(emotion=table["emotion"].replace("", "all"))
    classes = tuple(dict.fromkeys(table["emotion"]))

    def view(_: Mapping[str, str]) -> View:
        panels = []
        for quantity, words in figures.recognition.QUANTITIES.items():
            curves = []
            for (against, model), (name, look) in TRANSCRIPTS.items():
                rows = where(table, quantity=quantity, against=against, model=model)
                if len(rows):
                    low, high = rows["rate_low"].tolist(), rows["rate_high"].tolist()
                    curves.append(
                        Curve(name, look, rows["emotion"].tolist(), rows["rate"].tolist(), low, high, marks=True)
                    )
            # of few clips with few errors an end of an interval may lie anywhere above
            top = max(1.0, 1.3 * float(where(table, quantity=quantity)["rate"].max()))
            axis = Axis(words, low=-0.03 * top, high=top)
            panels.append(Panel("", Axis(kind="names", names=classes), axis, tuple(curves)))
        return [panels]

    return Plot("fig14", view)


def frontier(folder: FinishedRun) -> Plot | None:
    """Figure 15; None where no frontier was measured."""
    table, chosen = folder.table("frontier"), folder.table("frontier_chosen")
    if table is None or table["wer"].isna().all():
        return None

    def view(_: Mapping[str, str]) -> View:
        return [[_plane(table, chosen), _over_alpha(table)]]

    return Plot("fig15", view)


def _plane(table: pd.DataFrame, chosen: pd.DataFrame | None) -> Panel:
    curves = []
    for dial, (name, _, _) in DIALS.items():
        rows = where(table, dial=dial)
        if rows.empty:
            continue
        curves.append(
            Curve(
                name,
                DIAL_LOOKS.get(dial, look_of(5)),
                rows["wer"].tolist(),
                rows["uar"].tolist(),
                # of several folds the share of them in which it is on the frontier
                empty=(rows["pareto"] < 0.5).tolist(),
                words=[_setting(row) for _, row in rows.iterrows()],
                marks=True,
            )
        )
    for rule, (name, _) in RULES.items():
        rows = table.iloc[:0] if chosen is None else chosen[(chosen["rule"] == rule) & chosen["wer"].notna()]
        if len(rows):
            look = Look("vermillion", symbol="cross" if rule == "spared" else "x")
            low, high = rows["uar_low"].tolist()[:1], rows["uar_high"].tolist()[:1]
            curves.append(Curve(name, look, rows["wer"].tolist()[:1], rows["uar"].tolist()[:1], low, high, marks=True))
    against = f"word error rate, against the {table['against'].iloc[0]}"
    return Panel("filled: nothing beats it", Axis(against), Axis("UAR"), tuple(curves))


def _setting(row: pd.Series) -> str:
    told = [f"α {row['alpha']:g}" if pd.notna(row["alpha"]) else ""]
    told += [f"to {row['last_alpha']:g} in the last block"] if pd.notna(row.get("last_alpha")) else []
    told += [f"{row['share']:.0%} of the directions"] if pd.notna(row.get("share")) else []
    return ", ".join(part for part in told if part)


def _over_alpha(table: pd.DataFrame) -> Panel:
    whole = where(table, dial="whole")
    curves = curve(whole, "uar", "UAR", Look("blue"), over="alpha")
    curves += curve(whole, "wer", "word error rate", Look("vermillion", "dash", "square"), over="alpha")
    # a rate far above 1 says no more than one a little above
    levels = (Level(1.0, upright=True),)
    return Panel("the whole adapter", Axis("α"), Axis(low=0, high=1.25), curves, levels=levels)


def _beside(rows: pd.DataFrame, over: str, value: str, name: str, look: Look) -> Curve:
    """Values that lie beside names, their intervals along x."""
    names = [f"{value}_{end}" for end in ("low", "high")]
    low, high = (rows[name].tolist() if name in rows else [] for name in names)
    return Curve(name, look, rows[value].tolist(), rows[over].tolist(), low, high, marks=True, sideways=True)
