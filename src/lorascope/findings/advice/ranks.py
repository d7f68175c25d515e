"""Which rank: from the rank dial, the spectra of ΔW and its effective rank."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from ...statistics.directions import rounded_up
from ...statistics.sufficiency import as_good, least
from .answer import Answer, change
from .asked import MODULES, Asked

RANK = "Which rank?"


def rank(asked: Asked) -> Answer:
    """The least directions that are as good as all, and the rank of each matrix that they amount to."""
    table = asked.table("rank_dial")
    if table is None:
        why = asked.why_left_out("rank_dial")
        if why is not None:
            return Answer(RANK, None, (f"the rank dial cannot be had: {why}",))
        return Answer(RANK, None, ("the rank dial was not taken",), asked.measuring("rank_dial", "weights"))
    if not table["of"].max():
        return Answer(RANK, None, ("the adapter changes nothing: all its directions are 0",))
    largest = table[table["way"] == "global"].sort_values("share").iloc[-1]
    if (chance := asked.at_chance(largest)) is not None:
        return Answer(RANK, None, (chance,), asked.more_clips())
    found = least(table[table["way"] == "global"], "share")
    if found is None:
        return Answer(RANK, None, ("the change of UAR has no interval on these clips",), asked.more_clips())
    evidence = [
        f"{found['directions']:.0f} of {found['of']:.0f} directions, those with the largest σ of all matrices "
        f"({found['share']:.4g} of the rank): change of UAR {change(found, 'delta_uar')}",
        *_random(table, float(found["share"])),
        *_effective(asked),
    ]
    if not found["directions"]:
        evidence.append("even none of them is as good: what is good here is the head")
        return Answer(RANK, "none is clearly needed", tuple(evidence), lines=("# r: no direction was clearly needed",))
    own = least(table[table["way"] == "local"], "share")
    nominal = _nominal(asked)
    if own is not None and nominal:
        evidence.append(
            f"Each matrix' own first {rounded_up(float(own['share']) * nominal)} of {nominal}: change of UAR "
            f"{change(own, 'delta_uar')}"
        )
    return _with_lines(asked, found, own, nominal, evidence)


def _with_lines(
    asked: Asked, found: pd.Series, own: pd.Series | None, nominal: int | None, evidence: list[str]
) -> Answer:
    spectra = asked.table("weight_spectra")
    if spectra is None:
        evidence.append("which matrix needs which rank is not known without the measure weights")
        lacking = asked.measuring("rank_dial", "weights")
        if own is None or not nominal:
            return Answer(RANK, f"{found['share']:.4g} of what it has", tuple(evidence), lacking)
        same = max(rounded_up(float(own["share"]) * nominal), 1)
        return Answer(RANK, f"{same} in each matrix", tuple(evidence), lacking, tuple(_size(asked, same)))
    counts = _counts(spectra, round(float(found["directions"])))
    most = max(counts.values())
    told = ", ".join(f"block {layer} {module} {count}" for (layer, module), count in counts.items())
    lines = _size(asked, most)
    smaller = {key: count for key, count in counts.items() if 0 < count < most}
    if smaller:
        lines.append(_pattern(asked, "rank_pattern", smaller))
        if (scale := _scale(asked)) is not None:
            lines.append(_pattern(asked, "alpha_pattern", {key: _tidy(scale * n) for key, n in smaller.items()}))
    empty = [key for key, count in counts.items() if not count]
    if empty:
        names = "|".join(_path(asked, key) for key in empty)
        lines.append(f'exclude_modules=r".*({names})",  # none of their directions is among them')
    return Answer(RANK, f"{most} at most ({told})", tuple(evidence), lines=tuple(lines))


def _counts(spectra: pd.DataFrame, directions: int) -> dict[tuple[int, str], int]:
    """How many of the largest directions lie in each matrix."""
    largest = spectra.sort_values("sigma", ascending=False, kind="stable").head(directions)
    keys = [(int(layer), str(module)) for layer, module in zip(spectra["layer"], spectra["module"], strict=True)]
    of = [(int(layer), str(module)) for layer, module in zip(largest["layer"], largest["module"], strict=True)]
    ordered = sorted(dict.fromkeys(keys), key=lambda key: (key[0], MODULES.index(key[1])))
    return {key: of.count(key) for key in ordered}


def _random(table: pd.DataFrame, share: float) -> list[str]:
    draws = table[(table["way"] == "random") & ((table["share"] - share).abs() < 1e-9)]
    if draws.empty:
        return []
    good = int(as_good(draws).sum())
    return [
        f"{good} of {len(draws)} random draws of as many are as good (mean UAR {draws['uar'].mean():.3f})"
        + (": which directions are kept hardly matters" if 2 * good > len(draws) else "")
    ]


def _effective(asked: Asked) -> list[str]:
    weights = asked.table("weights")
    known = None if weights is None else weights[weights["rank"] > 0]
    if known is None or known.empty:
        return []
    low, high = known["entropy_rank"].min(), known["entropy_rank"].max()
    return [f"Entropy rank of ΔW: {low:.1f} to {high:.1f} of {known['nominal_rank'].max():.0f} (no interval: a matrix)"]


def _nominal(asked: Asked) -> int | None:
    weights = asked.table("weights")
    found = asked.method.get("rank") if weights is None else weights["nominal_rank"].max()
    return None if found is None else int(found)


def _scale(asked: Asked) -> float | None:
    method = asked.method
    if "alpha" not in method or not method.get("rank"):
        return None
    root = method.get("kind") == "rslora"
    return method["alpha"] / (math.sqrt(method["rank"]) if root else method["rank"])


def _size(asked: Asked, count: int) -> list[str]:
    scale = _scale(asked)
    return [f"r={count},", *([] if scale is None else [f"lora_alpha={_tidy(scale * count)},  # the scale as trained"])]


def _pattern(asked: Asked, name: str, values: Mapping[tuple[int, str], float]) -> str:
    inside = ", ".join(f'r"{_path(asked, key)}": {value}' for key, value in values.items())
    return f"{name}={{{inside}}},"


def _path(asked: Asked, key: tuple[int, str]) -> str:
    """A regular expression for one matrix, whatever stands between a block and its linear layers."""
    return rf"encoder\.layers\.{key[0]}\.(.*\.)?{asked.peft_name(key[1])}"


def _tidy(value: float) -> float:
    return int(value) if float(value).is_integer() else round(float(value), 6)
