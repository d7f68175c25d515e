"""Readings of what changed in the encoder: layer contribution, logit lens, erasure."""

from __future__ import annotations

import pandas as pd

from ...store.finished import FinishedRun, records
from ..figures import contribution, lens
from .words import at, capital, signed


def contribution_reading(folder: FinishedRun) -> list[str]:
    """Figure 1: where the trained encoder's contributions differ from the frozen one's."""
    table = folder.table("contribution")
    if table is None:
        return []
    model, table = contribution.shown(table)
    if model != "difference":
        return [
            "There is no frozen model to compare with: the curves are the trained model's own values, and say nothing "
            "of a change."
        ]
    sentences = []
    for component, name in contribution.COMPONENTS.items():
        rows = table[(table["component"] == component) & (table["variant"] == "corrected")]
        same = table[(table["component"] == component) & (table["variant"] == "same-input")]
        for quantity, words in (("ratio", "relative norm"), ("cosine", "cosine with its input")):
            sentences.append(f"{capital(name)}, {words}: {_change(rows, quantity)}{_same_input(same, quantity)}")
    return sentences


def _change(rows: pd.DataFrame, quantity: str) -> str:
    up, down = rows[rows[f"{quantity}_low"] > 0], rows[rows[f"{quantity}_high"] < 0]
    if up.empty and down.empty:
        return "no clear difference from the frozen encoder at any layer."
    parts = [
        f"{word} than frozen at {at(part['layer'])}" for word, part in (("higher", up), ("lower", down)) if len(part)
    ]
    unclear = rows.drop(index=[*up.index, *down.index])
    if len(unclear):
        parts.append(f"no clear difference at {at(unclear['layer'])}")
    clear = pd.concat([up, down])
    top = records(clear.loc[[clear[quantity].abs().idxmax()]])[0]
    return f"{'; '.join(parts)}. Largest: {signed(top, quantity)} at layer {top['layer']}."


def _same_input(rows: pd.DataFrame, quantity: str) -> str:
    if rows.empty:
        return ""
    clear = rows[(rows[f"{quantity}_low"] > 0) | (rows[f"{quantity}_high"] < 0)]
    if clear.empty:
        return " Fed the same input, no layer differs clearly."
    return f" Fed the same input, a clear difference remains at {at(clear['layer'])}."


def lens_reading(folder: FinishedRun) -> list[str]:
    """Figure 2a: where the answer forms, and which points say nothing."""
    table = folder.table("lens")
    if table is None:
        return []
    sentences = []
    for model in (model for model in lens.NAMES if model in set(table["model"])):
        rows = table[(table["model"] == model) & (table["variant"] == "corrected")].sort_values("layer")
        empty = rows[lens.constant(rows)]
        # At the top overlap is 1 and KL 0 by construction: nothing is found there.
        usable = rows[~lens.constant(rows) & (rows["layer"] < table["layer"].max())]
        start, top = (records(part.head(1))[0] for part in (rows, rows.sort_values("kl", ascending=False)))
        name = capital(lens.NAMES[model])
        peak = f"; the largest is {top['kl']:.2f}, at layer {top['layer']}" if top["layer"] != start["layer"] else ""
        sentences.append(
            f"{name}: in the corrected lens KL from the final answer is {start['kl']:.2f} nats at the embedding{peak}; "
            "at the top it is 0 by construction."
        )
        above = usable[usable["overlap_low"] > usable["chance_overlap"]]
        sentences.append(
            f"{name}: below the top, overlap is clearly above chance at {at(above['layer'])}"
            + (
                f"; at {at(empty['layer'])} one class takes nearly all clips, so nothing can be read there."
                if len(empty)
                else "."
            )
        )
        sentences += _rises(rows, lens.NAMES[model])
    below = table[(table["variant"] == "corrected") & (table["layer"] < table["layer"].max())]
    trained, frozen = (below[below["model"] == model].set_index("layer") for model in lens.NAMES)
    if len(trained) and len(frozen):
        lower = trained.index[trained["kl_high"] < frozen["kl_low"].reindex(trained.index)]
        higher = trained.index[trained["kl_low"] > frozen["kl_high"].reindex(trained.index)]
        sentences.append(
            f"Against the frozen encoder, the trained one's KL is lower at {at(lower)} and higher at {at(higher)} "
            "(layers where the two intervals do not touch; each model is measured from its own final answer)."
        )
    last = table[(table["model"] == "trained") & (table["variant"] == "released")].sort_values("layer").tail(1)
    sentences += [
        f"The released lens ends at a KL of {row['kl']:.2f}, not 0: its last point leaves out the final LayerNorm, so "
        "it is not the model's output."
        for row in records(last)
    ]
    return sentences


def _rises(rows: pd.DataFrame, name: str) -> list[str]:
    below, above = rows.iloc[:-1], rows.iloc[1:]
    clear = above["kl_low"].to_numpy() > below["kl_high"].to_numpy()
    if not clear.any():
        return []
    steps = [f"{a}→{b}" for a, b in zip(below["layer"][clear], above["layer"].to_numpy()[clear], strict=True)]
    return [f"{capital(name)}: KL rises clearly from layer to layer at {', '.join(steps)} (intervals do not touch)."]


def erasure_reading(folder: FinishedRun) -> list[str]:
    """Figure 4: which blocks the trained model cannot do without."""
    table = folder.table("erasure")
    if table is None:
        return []
    sentences = []
    for model in ("trained", "frozen"):
        rows = table[(table["model"] == model) & (table["mode"] == "single")].reset_index(drop=True)
        if rows.empty:
            continue
        hurt, helped = rows[rows["delta_uar_high"] < 0], rows[rows["delta_uar_low"] > 0]
        if hurt.empty:
            text = "skipping any one block lowers the UAR by no clear amount"
        else:
            worst = records(rows.loc[[rows["delta_uar"].idxmin()]])[0]
            text = f"skipping one block lowers the UAR clearly at {at(hurt['layer'])}, most at layer {worst['layer']} "
            text += f"({signed(worst, 'delta_uar')})"
        text += f"; it raises it clearly at {at(helped['layer'])}" if len(helped) else ""
        sentences.append(f"{capital(model)}: {text}.")
    return sentences
