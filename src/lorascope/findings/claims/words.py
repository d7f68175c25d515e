"""What was decided, in words: a line a part for the terminal, a sentence a setting for the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ...store.finished import records
from .verdicts import UNDECIDED, UNTESTABLE

#: The heads of the table, in the order of `lines`.
HEADS = ("", "setting", "statistic", "mean [95 %]", "sign", "size", "p adj.", "control", "verdict", "could show")


def of_variant(table: pd.DataFrame, variant: str = "corrected") -> pd.DataFrame:
    """The rows of a variant; of statements that have it not, none."""
    return table[table["variant"] == variant]


def lines(table: pd.DataFrame) -> list[tuple[str, ...]]:
    """A row of `HEADS` for every part of every statement in every setting, of the variant that decides; what a row
    has in common with the one above it is left out. Verdicts of other variants stand behind where they are others.
    """
    found: list[tuple[str, ...]] = []
    before: tuple[str, ...] = ("", "", "")
    for row in records(of_variant(table)):
        setting = f"{row['corpus']} × {row['encoder']}"
        key = row["statement"], setting, row["verdict"]
        same = key == before
        before = key
        found.append(
            (
                "" if same else _named(row),
                "" if same else setting,
                f"{row['part']} {row['direction']} 0",
                interval(row),
                share(row["same_sign"]),
                number(row["size"], "+.2f"),
                "" if same else number(row["p_adjusted"], ".3g"),
                row["control"],
                "" if same else verdict(row) + parting(table, row),
                number(row["least"], ".3g") if row["verdict"] == UNDECIDED else "",
            )
        )
    return found


def _named(row: dict[str, Any]) -> str:
    return f"{row['statement']}{' (exploratory)' if row['exploratory'] else ''}"


def verdict(row: dict[str, Any]) -> str:
    """The verdict, with the reason where there is none."""
    return f"{row['verdict']}: {row['reason']}" if row["verdict"] == UNTESTABLE else str(row["verdict"])


def parting(table: pd.DataFrame, row: dict[str, Any]) -> str:
    """Where other variants of a statement in a setting part from a row's verdict: " (paper: supported)"."""
    same = (table["statement"] == row["statement"]) & (table["corpus"] == row["corpus"])
    own = table[same & (table["encoder"] == row["encoder"]) & (table["variant"] != row["variant"])]
    others = own.drop_duplicates("variant")
    told = [f"{each['variant']}: {each['verdict']}" for each in records(others) if each["verdict"] != row["verdict"]]
    return f" ({'; '.join(told)})" if told else ""


def interval(row: dict[str, Any]) -> str:
    """A mean with its interval over folds."""
    if _missing(row["value"]):
        return "—"
    ends = "no interval" if _missing(row["low"]) else f"{row['low']:+.3g}, {row['high']:+.3g}"
    return f"{row['value']:+.3g} [{ends}]".replace("-", "−")


def number(value: Any, form: str) -> str:
    """A number, or nothing where there is none."""
    return "" if _missing(value) else f"{value:{form}}".replace("-", "−")


def share(value: Any) -> str:
    """A share in per cent."""
    return "" if _missing(value) else f"{value:.0%}"


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def sentence(rows: Sequence[dict[str, Any]]) -> str:
    """What was measured of a statement in a setting, whose parts these are in one variant, and why that verdict."""
    first = rows[0]
    where = f"{first['corpus']} × {first['encoder']}"
    if first["verdict"] == UNTESTABLE:
        measured = _measured(rows)
        return f"{where}: {UNTESTABLE}, since {first['reason']}{f' ({measured})' if measured else ''}."
    over = f"over {first['folds']} folds"
    if first["units"] > first["folds"]:
        over += f" and {first['units']} adapters"
    told = f"{where}: {_measured(rows)} {over}; {first['verdict']}, since it is {first['reason']}"
    if first["verdict"] != UNDECIDED:
        return f"{told}."
    least = " and ".join(number(row["least"], ".2g") for row in rows)
    return f"{told}; these folds would have shown {least} in 80 % of draws."


def _measured(rows: Sequence[dict[str, Any]]) -> str:
    told = [f"{row['part']} {interval(row)}" for row in rows if not _missing(row["value"])]
    return "; ".join(told)


def over_all(row: dict[str, Any]) -> str:
    """A statement's verdict over all settings, with how many there are of each."""
    kinds = ("supported", "contradicted", "undecided", "not testable here")
    counts = ", ".join(f"{row[kind]} {kind}" for kind in kinds if row[kind])
    paper = f"; in the paper's variant {row['paper']}" if row["paper"] not in ("", row["verdict"]) else ""
    return f"{row['verdict']} ({counts} of {row['settings']}{paper})"


def lacking(table: pd.DataFrame) -> dict[str, list[str]]:
    """The lines of configuration that would make statements testable, each with the statements that they serve."""
    found: dict[str, list[str]] = {}
    main = of_variant(table).drop_duplicates(["statement", "corpus", "encoder"])
    for row in records(main):
        if row["verdict"] == UNTESTABLE and row["lines"]:
            found.setdefault(row["lines"], []).append(f"{row['statement']} ({row['corpus']} × {row['encoder']})")
    return found
