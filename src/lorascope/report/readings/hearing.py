"""Readings of what the adapter listens to, and of what of speech recognition it leaves."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...store.finished import FinishedRun, records
from .words import capital, signed


def counterfactual_reading(folder: FinishedRun) -> list[str]:
    """Figure 13: which cue moves the answer."""
    table = folder.table("counterfactual")
    if table is None:
        return []
    if table["flipped"].isna().all():
        return [f"{capital(str(table['note'].iloc[0]))}."]
    first = {row["model"]: row for row in records(table[table["change"] == "resynthesis"])}
    sentences = []
    if table["unvoiced"].max() > 0:
        sentences.append(f"Clips without voicing, left out: {table['unvoiced'].max():g}.")
    told = [f"{model} {_interval(row, 'flipped')}" for model, row in first.items() if model != "difference"]
    sentences.append(f"The resynthesis alone, against the clips as they are, flips answers: {', '.join(told)}.")
    rows = table[table["change"] != "resynthesis"]
    for model in (name for name in ("trained", "frozen") if name in set(rows["model"])):
        own = rows[rows["model"] == model]
        hurt = own[own["delta_uar_high"] < 0].sort_values("delta_uar")
        named = ", ".join(f"{row['change']} ({signed(row, 'delta_uar')})" for row in records(hurt)) or "none"
        most = records(own.loc[[own["flipped"].idxmax()]])[0]
        sentences.append(
            f"{capital(model)}: changes that lower UAR clearly: {named}. Most answers flip under {most['change']}: "
            f"{_interval(most, 'flipped')}."
        )
    moved = rows[(rows["model"] == "difference") & ((rows["flipped_low"] > 0) | (rows["flipped_high"] < 0))]
    if (rows["model"] == "difference").any():
        named = ", ".join(f"{row['change']} ({signed(row, 'flipped')})" for row in records(moved)) or "none"
        sentences.append(f"Changes under which clearly more or fewer answers flip, trained less frozen: {named}.")
    return sentences


def recognition_reading(folder: FinishedRun) -> list[str]:
    """Figure 14: what of recognition is left."""
    table = folder.table("recognition")
    if table is None:
        return []
    words = table[(table["quantity"] == "wer") & (table["emotion"] == "")]
    rows = {(row["against"], row["model"]): row for row in records(words)}
    sentences = []
    told = rows.get(("text", "trained"))
    if told is not None and told["rate"] == told["rate"]:
        moved = rows["text", "difference"]
        verdict = "no clear change" if moved["rate_low"] <= 0 <= moved["rate_high"] else "clearly another"
        sentences.append(
            f"Word error rate against the text: bare encoder {_interval(rows['text', 'frozen'], 'rate')}, adapted "
            f"{_interval(told, 'rate')}; {verdict} ({signed(moved, 'rate')})."
        )
    elif told is not None:
        sentences.append(f"Against the text there is no rate: {told['note']}.")
    between = rows.get(("bare transcript", "trained"))
    if between is not None and between["rate"] == between["rate"]:
        sentences.append(
            f"Against the bare encoder's transcripts: {_interval(between, 'rate')}; {between['exact']:.0%} of the "
            "transcripts are the same, word for word."
        )
    worst = table[(table["quantity"] == "wer") & (table["model"] == "trained") & (table["emotion"] != "")]
    worst = worst[worst["against"] == ("text" if "text" in set(worst["against"]) else "bare transcript")]
    if len(worst) and worst["rate"].notna().any():
        row = records(worst.loc[[worst["rate"].idxmax()]])[0]
        sentences.append(f"Most errors with the adapted encoder: {row['emotion']}, {_interval(row, 'rate')}.")
    return sentences


def frontier_reading(folder: FinishedRun) -> list[str]:
    """Figure 15: what is gained against what it costs."""
    table, chosen = folder.table("frontier"), folder.table("frontier_chosen")
    if table is None:
        return []
    if table["wer"].isna().all():
        return [f"There is no frontier: {table['note'].iloc[0]}."]
    whole = records(table[(table["dial"] == "whole") & (table["alpha"] == 1)])[0]
    sentences = [
        f"The whole adapter: UAR {_interval(whole, 'uar')}, word error rate {_interval(whole, 'wer')} (against the "
        f"{whole['against']})."
    ]
    on = table[table["pareto"] >= 0.5].sort_values("wer")
    sentences.append(f"Of {len(table)} settings {len(on)} are beaten by no other in both.")
    words = {
        "spared": "Choosing on all other speakers the least errors at most .02 below the best UAR",
        "best UAR": "Choosing on all other speakers the best UAR",
        "by block, spared": "Choosing one α for each block on half of the speakers, step by step, for the other half",
    }
    for row in records(chosen) if chosen is not None else []:
        if row["wer"] != row["wer"]:
            sentences.append(f"{words[row['rule']]}: {row['note']}.")
            continue
        often = "" if row["rule"] == "by block, spared" else " most often"
        sentences.append(
            f"{words[row['rule']]} gives UAR {_interval(row, 'uar')} (against the whole adapter "
            f"{signed(row, 'delta_uar')}) and word error rate {_interval(row, 'wer')} ({signed(row, 'delta_wer')})"
            + (f"; chosen{often}: {row['most_chosen']}." if row["most_chosen"] else ".")
        )
    return sentences


def _interval(row: dict[str, Any] | pd.Series, name: str) -> str:
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]".replace("-", "−")
