"""What a newcomer asks first, each question answered in a sentence or two with its numbers, a small drawing and a way
to the place in the page where it is told in full.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..findings.advice import advice_of
from ..findings.advice.answer import interval
from ..findings.scores import UNADAPTED, compare, summarise
from ..statistics.stats import outer_third
from ..store.finished import FinishedRun, records
from .figures import contribution
from .figures.lens import CONSTANT_SHARE
from .readings.hearing import recognition_reading
from .readings.words import at, signed
from .small_plots import Drawing, Value, drawing

#: The causal measures' names in a configuration.
CAUSAL = "measures: [paper, causal]"


@dataclass(frozen=True)
class Finding:
    """A question, its `answer` in a few words, what it stands on, and the id of the section that tells more. `stop`
    says that whoever reads it need not go on; `lines` are to be typed; `meaning` is what the answer means for all that
    follows, where the page has to begin with it.
    """

    question: str
    answer: str
    evidence: tuple[str, ...]
    section: str
    drawing: Drawing | None = None
    stop: bool = False
    lines: tuple[str, ...] = ()
    meaning: str = ""


def findings(folder: FinishedRun, cautions: list[tuple[str, str]]) -> list[Finding]:
    """The first screen of a finished folder, whose weightiest caution comes first in `cautions`."""
    found = [_helped(folder), _where(folder), _why(folder), _cost(folder), _believed(folder, cautions), _next(folder)]
    return [each for each in found if each is not None]


# ------------------------------------------------------------------------------------------------ did it help


def _helped(folder: FinishedRun) -> Finding | None:
    return _of_runs(folder) if folder.table1_cells and folder.only is None else _of_answers(folder)


def _of_runs(folder: FinishedRun) -> Finding | None:
    """From Table 1: the first adapted method against the baseline that is strongest on the validation speakers."""
    table, comparison = summarise(folder.path), compare(folder.path)
    rows = records(comparison[comparison["main"].astype(bool) & (comparison["metric"] == "uar")])
    if table.empty or not rows:
        return None
    row, chance = rows[0], float(table["chance"].iloc[0])
    by_label = {each["label"]: each for each in records(table)}
    mine, theirs = by_label[row["label"]], by_label[row["reference"]]
    values = [
        Value(each["label"], each["pooled_uar"], each["pooled_uar_low"], each["pooled_uar_high"], each is mine)
        for each in by_label.values()
    ]
    shown = drawing("rows", values, chance, "guessing")
    told = f"{row['label']}: UAR {interval(mine, 'pooled_uar')}; {row['reference']}: {interval(theirs, 'pooled_uar')}."
    if mine["pooled_uar_low"] <= chance or mine["pooled_uar"] <= chance:
        return _at_chance("run", told, chance, "results", shown)
    low, high = row["low"], row["high"]
    over = f"{row['difference']:+.3f} over {row['folds']} fold{'' if row['folds'] == 1 else 's'}".replace("-", "−")
    over += f" [{low:+.3f}, {high:+.3f}]".replace("-", "−") if np.isfinite(low) else ", without an interval"
    answer = _verdict(low, high, row["difference"])
    meaning = ""
    if not low > 0:
        not_better = "no better than" if row["difference"] <= 0 else "not clearly better than"
        meaning = f"{row['label']} is {not_better} {row['reference']} here (UAR {mine['pooled_uar']:.3f} against "
        meaning += f"{theirs['pooled_uar']:.3f}): all that follows is what training changed, not what made it better."
    return Finding("Did it help?", answer, (told, f"Difference: {over}."), "results", shown, meaning=meaning)


def _of_answers(folder: FinishedRun) -> Finding | None:
    """From the lens' last depth, which is the model's own answer: the adapter against the frozen head."""
    table = folder.table("lens")
    if table is None:
        return None
    top = table[(table["variant"] == "corrected") & (table["layer"] == table["layer"].max())]
    by_model = {row["model"]: row for row in records(top) if row["model"] in ("trained", "frozen")}
    mine, theirs = by_model.get("trained"), by_model.get("frozen")
    if mine is None:
        return None
    chance = 1 / len(folder.manifest["corpus"]["classes"])
    names = {"trained": "the adapter", "frozen": "the frozen head"}
    values = [
        Value(names[model], row["uar"], row["uar_low"], row["uar_high"], model == "trained")
        for model, row in by_model.items()
    ]
    shown = drawing("rows", values, chance, "guessing")
    told = f"UAR on the analysed clips: {names['trained']} {interval(mine, 'uar')}"
    told += f", {names['frozen']} {interval(theirs, 'uar')}." if theirs else "; no frozen head was given."
    if mine["top_class_share"] >= CONSTANT_SHARE:
        constant = f"It answers {mine['top_class']} to {mine['top_class_share']:.0%} of the clips."
        return Finding("Did it help?", "It gives one answer: read nothing below", (told, constant), "lens", shown, True)
    if mine["uar_low"] <= chance or mine["uar"] <= chance:
        return _at_chance("adapter", told, chance, "lens", shown)
    if theirs is None:
        return Finding("Did it help?", "It is better than guessing", (told,), "lens", shown)
    apart = mine["uar_low"] > theirs["uar_high"] or mine["uar_high"] < theirs["uar_low"]
    words = ("Yes" if mine["uar"] > theirs["uar"] else "No, it is worse") if apart else "Not clearly"
    return Finding("Did it help?", words, (told,), "lens", shown)


def _at_chance(what: str, told: str, chance: float, section: str, shown: Drawing | None) -> Finding:
    words = f"The {what} is not clearly better than guessing ({chance:.3f}): read nothing below"
    return Finding("Did it help?", words, (told,), section, shown, True)


def _verdict(low: float, high: float, difference: float) -> str:
    if not np.isfinite(low):
        return "Higher here, one fold cannot tell" if difference > 0 else "No sign of it, though one fold cannot tell"
    return "Yes" if low > 0 else "No, it is worse" if high < 0 else "Not clearly"


# ------------------------------------------------------------------------------------------------ where, through what


def _where(folder: FinishedRun) -> Finding | None:
    """Thirds of the depth, by what attention and MLP together add more (or less) than in the frozen encoder."""
    table = folder.table("contribution")
    if table is None or contribution.shown(table)[0] != "difference":
        return None
    rows = contribution.shown(table)[1]
    rows = rows[(rows["component"] == "block") & (rows["variant"] == "corrected")].sort_values("layer")
    if rows.empty:
        return None
    shown = drawing("layers", _per_layer(rows, "layer", "ratio"), 0.0, "as frozen", signed=True)
    shares = thirds(rows["ratio"].abs().to_numpy())
    clear = rows[(rows["ratio_low"] > 0) | (rows["ratio_high"] < 0)]
    if clear.empty:
        told = "By the block's relative norm, no layer differs clearly from the frozen encoder."
        return Finding("Where?", "No layer stands out", (told,), "contribution", shown)
    parts = [f"{name} third {share:.0%}" for name, share in shares.items()]
    told = f"Of all change in the blocks' relative norm: {', '.join(parts)}."
    largest = records(rows.loc[[rows["ratio"].abs().idxmax()]])[0]
    more = f"Clear at {at(clear['layer'])}; largest {signed(largest, 'ratio')} at layer {largest['layer']}."
    top = max(shares, key=lambda name: shares[name])
    even = max(shares.values()) - min(shares.values()) < 0.15
    answer = "About evenly over the depth" if even else f"Most in the {top} third"
    return Finding("Where?", answer, (told, more), "contribution", shown)


def thirds(sizes: np.ndarray) -> dict[str, float]:
    """The shares of `sizes` [layers] in the bottom, middle and top third of the layers (`outer_third`); with fewer than
    three layers there is no middle.
    """
    outer = outer_third(len(sizes))
    total = sizes.sum() or 1.0
    parts = {"bottom": sizes[:outer], "middle": sizes[outer : len(sizes) - outer], "top": sizes[-outer:]}
    return {name: float(part.sum() / total) for name, part in parts.items() if len(part)}


def _why(folder: FinishedRun) -> Finding | None:
    """What the answer needs: from the dials where they were turned, else from skipped blocks."""
    dial = folder.table("dial")
    if dial is not None:
        rows = dial[(dial["dial"] == "block") & (dial["alpha"] == 0)].sort_values("at")
        whole = records(dial[(dial["dial"] == "whole") & (dial["alpha"] == 0)])[0]
        told = f"With the whole adapter off, under its own head, UAR changes by {signed(whole, 'delta_uar')}."
        return _needed(rows, "at", "dial", "turning off the adapter of one block", told)
    table = folder.table("erasure")
    if table is None:
        return None
    rows = table[(table["model"] == "trained") & (table["mode"] == "single")].sort_values("layer")
    told = f"What the adapter itself does there, its dials would tell ({CAUSAL})."
    return _needed(rows, "layer", "erasure", "skipping one block", told) if len(rows) else None


def _needed(rows: pd.DataFrame, layer: str, section: str, what: str, told: str) -> Finding:
    shown = drawing("layers", _per_layer(rows, layer, "delta_uar"), 0.0, "no change", signed=True)
    hurt = rows[rows["delta_uar_high"] < 0]
    if hurt.empty:
        return Finding("Through what?", "No single layer is clearly needed", (told,), section, shown)
    worst = records(hurt.loc[[hurt["delta_uar"].idxmin()]])[0]
    more = f"Of {len(rows)} layers, {what} lowers UAR clearly at {at(hurt[layer])}, "
    more += f"most at layer {int(worst[layer])} ({signed(worst, 'delta_uar')})."
    return Finding("Through what?", f"It needs {at(hurt[layer])}", (more, told), section, shown)


def _per_layer(rows: pd.DataFrame, layer: str, name: str) -> list[Value]:
    known = rows.rename(columns={layer: "l", name: "v", f"{name}_low": "lo", f"{name}_high": "hi"})
    return [
        Value(f"layer {int(row['l'])}", row["v"], row["lo"], row["hi"], row["lo"] > 0 or row["hi"] < 0)
        for row in records(known[["l", "v", "lo", "hi"]])
    ]


# ------------------------------------------------------------------------------------------------ cost, belief, next


def _cost(folder: FinishedRun) -> Finding | None:
    """What was trained, and what else can still be read off the encoder."""
    evidence: list[str] = []
    answers: list[str] = []
    adapted = [cell.metrics for cell in folder.table1_cells if cell.metrics["method"] not in UNADAPTED]
    if adapted and folder.only is None:
        evidence.append(f"{adapted[0]['label']}: {adapted[0]['trainable_parameters']:,} trained parameters.")
        answers.append(f"{adapted[0]['trainable_parameters']:,} parameters")
    probes = folder.table("probes")
    for target in ("speaker", "sentence"):
        if probes is None:
            break
        rows = probes[(probes["target"] == target) & (probes["depth"] == probes["depth"].max())]
        for row in records(rows[rows["model"] == "difference"]):
            less = "less" if row["score_high"] < 0 else "more" if row["score_low"] > 0 else "no clear change"
            evidence.append(f"What a probe reads of the {target} at the top: {less} ({signed(row, 'score')}).")
            answers.append(f"{target}: {less}")
    heard = recognition_reading(folder)[:1]
    if heard:
        evidence += heard
        answers.append("recognition: see below")
    if not evidence:
        return None
    lacking = [name for name, there in (("probes", probes is not None), ("recognition", bool(heard))) if not there]
    if lacking:
        evidence.append(f"Not measured: {' and '.join(lacking)}, which tell what it cost elsewhere.")
    section = "recognition" if heard else "probes" if probes is not None else "run"
    return Finding("At what cost?", "; ".join(answers), tuple(evidence), section)


def _believed(folder: FinishedRun, cautions: list[tuple[str, str]]) -> Finding:
    """What everything rests on, and what speaks most against it."""
    speakers = {name for names in (folder.analysis.get("speakers") or {}).values() for name in names}
    units = [] if folder.only else list(folder.shown)
    folds, seeds = ({unit.fold for unit in units}, {unit.seed for unit in units}) if units else (set(), set())
    weighty = [text for kind, text in cautions if kind != "Note"]
    if len(folds) > 2:
        answer = f"As far as {len(folds)} folds and {len(seeds)} seed{'' if len(seeds) == 1 else 's'} go"
    elif len(units) < 2:
        answer = "Only of this adapter"
    else:
        answer = "Little: two folds tell hardly more than one" if len(folds) > 1 else "Only of these speakers: one fold"
    control = "Shuffled labels stand beside it." if folder.control("contribution") is not None else ""
    clips = folder.analysis.get("clips")
    rests = f"Measured on {clips} clips of {_speakers(len(speakers))}" if clips else ""
    rests += f", of the first of {len(units)} adapters." if len(units) > 1 else "." if clips else ""
    told = [rests, *weighty[:1], control]
    return Finding("Can I believe it?", answer, tuple(text for text in told if text), "cautions")


def _speakers(count: int) -> str:
    return "1 speaker" if count == 1 else f"{count} speakers"


def _next(folder: FinishedRun) -> Finding | None:
    """What `lorascope advise` says first, and what would make it say more."""
    if folder.only is not None or not folder.analysis:
        return None
    advice = advice_of(folder)
    answered = [each for each in advice.answers if each.answer is not None]
    told = tuple(f"{each.question} {each.answer}." for each in answered[:3])
    lacking = next((each.lacking for each in advice.answers if each.answer is None and each.lacking), ())
    more = ("To be told more:",) if lacking else ()
    answer = "Try what lorascope advise says" if told else "Measure what would tell"
    return Finding("What next?", answer, (*told, *more), "data", lines=tuple(lacking))
