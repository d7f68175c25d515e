"""Which layers and which modules: from the dials."""

from __future__ import annotations

import pandas as pd

from ...statistics.sufficiency import as_good, least
from ...store.finished import records
from .answer import Answer, blocks, change, interval, listed
from .asked import MODULES, Asked

LAYERS, KINDS = "Which layers?", "Which modules?"


def layers(asked: Asked) -> Answer:
    """The fewest first or last blocks that are as good as all."""
    table = asked.table("dial")
    if table is None:
        return _untaken(asked, LAYERS)
    off = _row(table, dial="whole", alpha=0.0)
    whole = _row(table, dial="whole", alpha=1.0)
    if (chance := asked.at_chance(whole)) is not None:
        return Answer(LAYERS, None, (chance,), asked.more_clips())
    told = (
        f"All blocks on: UAR {interval(whole, 'uar')}; all off, under the same head: change {change(off, 'delta_uar')}"
    )
    if as_good(pd.DataFrame([off])).all():
        note = "what the adapter gains is in its head: try the frozen baseline"
        return Answer(LAYERS, "none is clearly needed", (told, note), lines=("# no layer was clearly needed",))
    ends = {way: least(table[table["dial"] == way], "at") for way in ("first", "last")}
    if not off["delta_uar_high"] < 0 or all(row is None for row in ends.values()):
        note = "whether the adapter gains anything at all is not clear" if off["delta_uar_high"] >= 0 else "no interval"
        return Answer(LAYERS, None, (told, note), asked.more_clips())
    adapted = sorted({int(at) for at in table[table["dial"] == "block"]["at"]})
    count = int(table[table["dial"] == "last"]["at"].max())
    kept = {way: _blocks(way, int(row["at"]), count, adapted) for way, row in ends.items() if row is not None}
    way = min(kept, key=lambda each: len(kept[each]))
    chosen = ends[way]
    assert chosen is not None
    evidence = [told, f"The {way} {int(chosen['at'])} of {count} blocks alone: change {change(chosen, 'delta_uar')}"]
    evidence += _one_fewer(table, way, int(chosen["at"]))
    evidence += _single(table)
    if len(kept[way]) == len(adapted):
        words = "all that are adapted: neither the first nor the last can be spared"
        lines = [] if len(adapted) == count else _lines(adapted)
        return Answer(LAYERS, words, tuple(evidence), lines=tuple(lines or ["# layers_to_transform: all are needed"]))
    return Answer(LAYERS, blocks(kept[way]), tuple(evidence), lines=tuple(_lines(kept[way])))


def modules(asked: Asked) -> Answer:
    """The kinds of linear layers that are needed."""
    table = asked.table("dial")
    if table is None:
        return _untaken(asked, KINDS) if len(asked.modules) != 1 else _one_kind(asked)
    alone, without = table[table["dial"] == "module-alone"], table[table["dial"] == "module"]
    if without.empty:
        return _one_kind(asked)
    if (chance := asked.at_chance(_row(table, dial="whole", alpha=1.0))) is not None:
        return Answer(KINDS, None, (chance,), asked.more_clips())
    names = [name for name in MODULES if name in set(without["module"])]
    evidence = [f"Without {row['module']}: change {change(row, 'delta_uar')}" for row in _in_order(without, names)]
    evidence += [f"{row['module']} alone: change {change(row, 'delta_uar')}" for row in _in_order(alone, names)]
    enough = alone[as_good(alone)]
    if len(enough):
        best = str(enough.sort_values("delta_uar")["module"].iloc[-1])
        return Answer(KINDS, f"{best} alone is enough", tuple(evidence), lines=_targets(asked, [best]))
    spared = without[as_good(without)]
    if spared.empty:
        if without["delta_uar_high"].isna().all():
            return Answer(KINDS, None, (*evidence, "no interval"), asked.more_clips())
        return Answer(KINDS, "all of them", tuple(evidence), lines=_targets(asked, names))
    gone = str(spared.sort_values("delta_uar")["module"].iloc[-1])
    if len(spared) > 1:
        evidence.append("each of several could go alone; going together was not measured, so one of them goes")
    kept = [name for name in names if name != gone]
    return Answer(KINDS, f"{', '.join(kept)}: {gone} can go", tuple(evidence), lines=_targets(asked, kept))


def _untaken(asked: Asked, question: str) -> Answer:
    why = asked.why_left_out("dial")
    if why is not None:
        return Answer(question, None, (f"the dial cannot be had: {why}",))
    return Answer(question, None, ("the dial was not taken",), asked.measuring("dial"))


def _one_kind(asked: Asked) -> Answer:
    """What a run says that adapted one kind of layers."""
    names = asked.modules
    told = f"only {', '.join(names)} is adapted" if names else "only one kind of linear layers is adapted"
    lacking = ("lorascope analyze: give an adapter of several kinds of linear layers",)
    if asked.trained:
        method = asked.method
        size = ", ".join(f"{key}: {method[key]}" for key in ("rank", "alpha") if key in method)
        targets = f"targets: [{', '.join(MODULES)}]"
        settings = ", ".join(text for text in ("kind: lora", size, targets) if text)
        lacking = ("methods:", f"  lora-all: {{{settings}}}", *asked.measuring("dial", more=["method: lora-all"]))
    lines = _targets(asked, names, "  # as trained; others can't be told") if names else ()
    return Answer(KINDS, None, (told,), lacking, lines)


def _targets(asked: Asked, names: list[str], comment: str = "") -> tuple[str, ...]:
    named = ", ".join(f'"{asked.peft_name(name)}"' for name in names)
    return (f"target_modules=[{named}],{comment}",)


def _lines(kept: list[int]) -> list[str]:
    return [f"layers_to_transform=[{listed(kept)}],", 'layers_pattern="layers",']


def _blocks(way: str, at: int, count: int, adapted: list[int]) -> list[int]:
    inside = range(at) if way == "first" else range(count - at, count)
    return [layer for layer in adapted if layer in inside]


def _one_fewer(table: pd.DataFrame, way: str, at: int) -> list[str]:
    fewer = table[(table["dial"] == way) & (table["at"] == at - 1)]
    return [f"The {way} {at - 1}: change {change(row, 'delta_uar')}" for row in records(fewer)]


def _single(table: pd.DataFrame) -> list[str]:
    gone = table[(table["dial"] == "block") & (table["alpha"] == 0)]
    needed = gone[gone["delta_uar_high"] < 0]
    if needed.empty:
        return ["No single block is clearly needed while the others are on"]
    rows = [f"{int(row['at'])} (change {change(row, 'delta_uar')})" for row in records(needed)]
    return [f"Clearly needed while the others are on: block{'' if len(rows) == 1 else 's'} {', '.join(rows)}"]


def _row(table: pd.DataFrame, dial: str, alpha: float) -> pd.Series:
    return table[(table["dial"] == dial) & (table["alpha"] == alpha)].iloc[0]


def _in_order(table: pd.DataFrame, names: list[str]) -> list[dict]:
    return sorted(records(table), key=lambda row: names.index(row["module"]))
