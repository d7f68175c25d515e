"""Readings of what the adapter itself does: rank space, spectra, CKA."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...store.finished import FinishedRun, records
from ..figures import cka, rank_space, spectra
from .words import at


def ranks_reading(folder: FinishedRun) -> list[str]:
    """Figure 2b: what the probes say of depth, of rank, and of a random adapter."""
    scores = folder.table("rank_scores")
    if scores is None:
        return []
    scores = scores[(scores["variant"] == "corrected") & scores["probe_uar"].notna()]
    if scores.empty:
        return ["No probe could be trained on these clips."]
    module = rank_space.main_module_first(scores)[0]
    scores = scores[scores["module"] == module]
    trained = scores[scores["model"] == "trained"]
    sentences = []
    for rank, rows in trained.groupby("rank"):
        first, last = (records(rows.sort_values("layer").iloc[[end]])[0] for end in (0, -1))
        sentences.append(
            f"r = {rank}: a linear probe reads the class with a UAR of {_probe(first)} at layer {first['layer']} and "
            f"{_probe(last)} at layer {last['layer']}: {_verdict(last, first, 'higher', 'lower')}."
        )
    deepest = trained[trained["layer"] == trained["layer"].max()].sort_values("rank")
    if len(deepest) > 1:
        small, large = records(deepest.iloc[[0]])[0], records(deepest.iloc[[-1]])[0]
        verdict = _verdict(large, small, f"higher with r = {large['rank']}", f"lower with r = {large['rank']}")
        sentences.append(f"At layer {large['layer']}, r = {small['rank']} against r = {large['rank']}: {verdict}.")
    sentences += _against_random(trained, scores[scores["model"] == "gaussian"])
    return sentences


def _against_random(trained: pd.DataFrame, random: pd.DataFrame) -> list[str]:
    both = trained.merge(random, on=["rank", "layer"], suffixes=("", "_random"))
    if both.empty:
        return []
    above = both[both["probe_low"] > both["probe_high_random"]]
    below = both[both["probe_high"] < both["probe_low_random"]]
    verdict = f"the trained adapter's probe is better at {at(above['layer'])} and worse at {at(below['layer'])}"
    if above.empty and below.empty:
        verdict = "no clear difference at any depth"
    return [f"Against a random (gaussian) A of the same rank, {verdict}."]


def spectra_reading(folder: FinishedRun) -> list[str]:
    """Figure 3a to d: how many directions hold 90 % of the energy, trained against random."""
    summary = folder.table("spectra_summary")
    if summary is None:
        return []
    module = rank_space.main_module_first(summary)[0]
    summary = summary[summary["module"] == module]
    sentences = []
    for factor, quantity in spectra.PANELS:
        means = spectra.k90_means(summary, factor, quantity)
        if "trained" not in means:
            continue
        known = [
            f"{model} {means[model]:.1f}"
            for model in means.index
            if model != "trained" and means[model] == means[model]
        ]
        zero = [model for model in means.index if means[model] != means[model]]
        text = f"k90 of {factor} {quantity}s (mean over layers): trained {means['trained']:.1f}"
        text += f" vs {', '.join(known)}." if known else "."
        text += f" {', '.join(zero)}: exactly 0, no spectrum." if zero else ""
        sentences.append(text + _fewer_directions(summary, factor, quantity))
    return sentences


def _fewer_directions(summary: pd.DataFrame, factor: str, quantity: str) -> str:
    rows = summary[
        (summary["factor"] == factor) & (summary["quantity"] == quantity) & (summary["variant"] == "corrected")
    ]
    trained, random = (rows[rows["model"] == model] for model in ("trained", "gaussian"))
    both = trained.merge(random, on="layer", suffixes=("", "_random")).set_index("layer")
    if both.empty:
        return ""
    if both["k90_low"].isna().all() or both["k90_low_random"].isna().all():
        return " No interval is computed for this matrix."
    fewer = both.index[both["k90_high"] < both["k90_low_random"]]
    more = both.index[both["k90_low"] > both["k90_high_random"]]
    if len(fewer) + len(more) == 0:
        return " No clear difference from gaussian at any layer."
    return f" Clearly fewer than gaussian at {at(fewer)}, clearly more at {at(more)}."


def cka_reading(folder: FinishedRun) -> list[str]:
    """Figure 3e and f: how alike A and B are, against chance and against a random adapter."""
    table = folder.table("cka")
    if table is None:
        return []
    table = table[table["module"] == rank_space.main_module_first(table)[0]]
    sentences = []
    for quantity, words in (("activation", "Forward"), ("gradient", "Backward")):
        if quantity not in set(table["quantity"]):
            continue  # gradients of an adapter without a head
        rows = cka.select(table, cka.TRAINED, quantity, "corrected").dropna(subset="value")
        if rows.empty:
            sentences.append(f"{words}: CKA of A and B could not be computed.")
            continue
        above = rows[rows["ci_low"] > rows["null_high"]]
        text = (
            f"{words}: debiased CKA of the trained A and B is {rows['value'].mean():.2f} on average over layers "
            f"({rows['value'].min():.2f} to "
            f"{rows['value'].max():.2f}), clearly above chance at {at(above['layer'])}."
        )
        random = cka.select(table, "A~B:gaussian", quantity, "corrected")
        both = rows.merge(random, on="layer", suffixes=("", "_random")).dropna(subset="value_random").set_index("layer")
        if len(both):
            apart = both.index[(both["ci_high"] < both["ci_low_random"]) | (both["ci_low"] > both["ci_high_random"])]
            text += f" A random (gaussian) A and B give {both['value_random'].mean():.2f}: "
            text += f"clearly different at {at(apart)}." if len(apart) else "no clear difference at any layer."
        sentences.append(text)
        sentences += _bias(cka.select(table, cka.TRAINED, quantity, "paper"), words.lower())
    return sentences


def _bias(paper: pd.DataFrame, words: str) -> list[str]:
    paper = paper.dropna(subset=["value", "null_high"])
    if paper.empty:
        return []
    return [
        f"The paper's biased estimate ({words}) is {paper['value'].mean():.2f} on average; with the clips shuffled, "
        "when nothing is left to find, it "
        f"still gives up to {paper['null_high'].mean():.2f}."
    ]


def _probe(row: dict[str, Any]) -> str:
    return f"{row['probe_uar']:.2f} [{row['probe_low']:.2f}, {row['probe_high']:.2f}]"


def _verdict(new: dict[str, Any], old: dict[str, Any], higher: str, lower: str) -> str:
    if new["probe_low"] > old["probe_high"]:
        return higher
    return lower if new["probe_high"] < old["probe_low"] else "no clear difference"
