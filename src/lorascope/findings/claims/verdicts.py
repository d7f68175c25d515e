"""From the adapters' numbers to a verdict: mean over folds, corrected t, Holm within a family, agreement in sign; and
one verdict over all settings (docs/claims.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...statistics.aggregation import aggregate
from ...statistics.decisions import LEVEL, holm, least_difference
from ...statistics.stats import corrected_resampled_t
from .setting import Setting
from .statement import VARIANTS, Lacking, Statement

SUPPORTED, CONTRADICTED, UNDECIDED, UNTESTABLE = "supported", "contradicted", "undecided", "not testable here"
MIXED = "mixed"
#: Folds that a verdict needs, and the share of adapters that must have the mean's sign.
FEWEST_FOLDS, SAME_SIGN = 5, 0.8

#: The columns of `claims.parquet`, a row a part of a statement in a variant and a setting.
COLUMNS = ["statement", "family", "corpus", "encoder", "adapter", "variant", "part", "direction", "control", "value"]
COLUMNS += ["low", "high", "p", "same_sign", "size", "sd_folds", "sd_seeds", "folds", "seeds", "units", "least"]
COLUMNS += ["p_statement", "p_adjusted", "verdict", "reason", "lines", "dated", "exploratory", "created", "synthetic"]
#: The columns of the verdicts over all settings.
OVERALL = ["statement", "sentence", "verdict", "settings", SUPPORTED, CONTRADICTED, UNDECIDED, UNTESTABLE]
OVERALL += ["paper", "dated", "exploratory"]


def decided(statements: Sequence[Statement], settings: Sequence[Setting]) -> pd.DataFrame:
    """Every part of every statement in every setting and variant, with the statement's verdict there: `COLUMNS`."""
    rows = [row for setting in settings for row in _of_setting(statements, setting)]
    order = {statement.name: place for place, statement in enumerate(statements)}
    rows.sort(key=lambda row: order[row["statement"]])
    return pd.DataFrame(rows, columns=COLUMNS)


def numbers(statement: Statement, setting: Setting, variant: str) -> pd.DataFrame:
    """Each part's number of each adapter: statement, part (its place), fold, seed, value. Raises `Lacking` where one
    cannot be had, or no adapter has any.
    """
    units = setting.units
    values = np.array([[part.statistic(setting, unit, variant) for unit in units] for part in statement.parts])
    if np.isnan(values).all(axis=1).any():
        raise Lacking("its number is undefined for every adapter")
    parts = len(statement.parts)
    columns = {"statement": statement.name, "part": np.repeat(np.arange(parts), len(units))}
    columns |= {"fold": [unit.fold for unit in units] * parts, "seed": [unit.seed for unit in units] * parts}
    return pd.DataFrame({**columns, "value": values.reshape(-1)})


def _of_setting(statements: Sequence[Statement], setting: Setting) -> Iterator[dict[str, Any]]:
    """The rows of one setting, statement by statement."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for variant in dict.fromkeys(variant for statement in statements for variant in statement.variants):
        asked = [statement for statement in statements if variant in statement.variants]
        told = _measured(asked, setting, variant)
        for family in dict.fromkeys(statement.family for statement in asked):
            _judge([told[statement.name] for statement in asked if statement.family == family], setting)
        found |= {(name, variant): rows for name, rows in told.items()}
    for statement in statements:
        for variant in statement.variants:
            yield from found[statement.name, variant]


def _measured(statements: Sequence[Statement], setting: Setting, variant: str) -> dict[str, list[dict[str, Any]]]:
    """By statement a row a part, with what its adapters' numbers say of it alone; with the reason where they cannot be
    had.
    """
    rows, tables = {}, []
    for statement in statements:
        rows[statement.name] = _begun(statement, setting, variant)
        try:
            tables.append(numbers(statement, setting, variant))
        except Lacking as lack:
            rows[statement.name] = [row | _untestable(lack.why, lack.lines) for row in rows[statement.name]]
    if not tables:
        return rows
    table = pd.concat(tables, ignore_index=True)
    by = ["statement", "part"]
    over = aggregate(table, by, ["value"], test_over_train=setting.test_over_train)
    told = {(row["statement"], row["part"]): row for row in over.to_dict(orient="records")}
    values = {key: of["value"].dropna().to_numpy() for key, of in table.groupby(by)}
    means = table.groupby([*by, "fold"])["value"].mean().dropna().groupby(level=by)
    folds = {key: of_part.to_numpy() for key, of_part in means}
    for statement in statements:
        of_parts = rows[statement.name]
        if of_parts[0]["verdict"]:
            continue
        for place, (row, part) in enumerate(zip(of_parts, statement.parts, strict=True)):
            key = statement.name, place
            row |= _numbers_of(told[key], folds[key], setting)
            if part.more is not None:
                row["p"] = max(row["p"], part.more(values[key]))
        fewest = min(row["folds"] for row in of_parts)
        if fewest < FEWEST_FOLDS:
            why = f"{fewest} fold{'' if fewest == 1 else 's'}; a verdict needs {FEWEST_FOLDS} at least"
            rows[statement.name] = [row | _untestable(why, ("analysis:", "  folds: all")) for row in of_parts]
    return rows


def _begun(statement: Statement, setting: Setting, variant: str) -> list[dict[str, Any]]:
    """The rows of a statement with all that needs no table."""
    shared = {
        "statement": statement.name,
        "family": statement.family,
        "corpus": setting.corpus,
        "encoder": setting.encoder,
        "adapter": setting.adapter,
        "variant": variant,
        "verdict": "",
        "reason": "",
        "lines": "",
        "dated": "" if statement.dated is None else str(statement.dated),
        "exploratory": statement.is_exploratory(setting.created),
        "created": setting.created,
        "synthetic": setting.synthetic,
    }
    return [
        shared | {"part": part.words, "direction": part.direction, "control": part.control} for part in statement.parts
    ]


def _numbers_of(told: dict[Any, Any], means: np.ndarray, setting: Setting) -> dict[str, Any]:
    """What the adapters' numbers say of a part: `told` by `aggregate`, of the folds' `means` [folds]."""
    row = {"value": told["value"], "low": told["value_low"], "high": told["value_high"]}
    row |= {name: told[f"value_{name}"] for name in ("same_sign", "sd_folds", "sd_seeds")}
    row |= {name: int(told[f"value_{name}"]) for name in ("folds", "seeds", "units")}
    sd = float(means.std(ddof=1)) if len(means) > 1 else float("nan")
    row |= {"p": corrected_resampled_t(means, 1.0, setting.test_over_train).p, "sd": sd}
    return row | {"size": float(means.mean() / sd) if sd > 0 else float("nan")}


def _untestable(why: str, lines: Sequence[str]) -> dict[str, Any]:
    return {"verdict": UNTESTABLE, "reason": why, "lines": "\n".join(lines)}


def _judge(family: Sequence[list[dict[str, Any]]], setting: Setting) -> None:
    """Put verdicts into the rows of one family of statements; those that have one already are not tested."""
    tested = [rows for rows in family if not rows[0]["verdict"]]
    signs = [_sign(rows) for rows in tested]
    # all parts must hold: the statement's p is that of the one that is least sure, and 1 where they disagree
    own = np.array([max(row["p"] for row in rows) if sign else 1.0 for rows, sign in zip(tested, signs, strict=True)])
    for rows, sign, p, adjusted in zip(tested, signs, own, holm(own), strict=True):
        agree = min(row["same_sign"] for row in rows)
        sure = adjusted < LEVEL and agree >= SAME_SIGN - 1e-9
        verdict = UNDECIDED if not sure else SUPPORTED if sign > 0 else CONTRADICTED
        reason = _reason(sign, adjusted, agree)
        for row in rows:
            sd = row.pop("sd")
            row["least"] = least_difference(sd, row["folds"], setting.test_over_train, len(tested))
            row |= {"p_statement": p, "p_adjusted": adjusted, "verdict": verdict, "reason": reason}


def _sign(rows: Sequence[dict[str, Any]]) -> int:
    """1 where every part's mean lies on the stated side, -1 where every one lies on the other, else 0."""
    signs = {int(np.sign(row["value"])) * (1 if row["direction"] == ">" else -1) for row in rows}
    return signs.pop() if len(signs) == 1 else 0


def _reason(sign: int, adjusted: float, agree: float) -> str:
    if not sign:
        return "its parts point to different sides"
    side = "the stated side" if sign > 0 else "the other side"
    sure = f"p adjusted {adjusted:.3g}" + (f" < {LEVEL}" if adjusted < LEVEL else f", not below {LEVEL}")
    return f"on {side}; {sure}; {agree:.0%} of adapters have the sign, {SAME_SIGN:.0%} are needed"


def overall(statements: Sequence[Statement], table: pd.DataFrame) -> pd.DataFrame:
    """Each statement's verdict over all settings: `OVERALL`; `paper` is that of the paper's variant, where it has one.

    Supported: in two thirds of the settings at least, in one on each corpus, contradicted in none. Contradicted: in
    half of them at least, supported in none. Else mixed. A setting where it is not testable counts as one.
    """
    rows = []
    for statement in statements:
        own = table[table["statement"] == statement.name]
        by_setting = own.drop_duplicates(["corpus", "encoder", "variant"])
        main = by_setting[by_setting["variant"] == statement.variants[0]]
        paper = by_setting[by_setting["variant"] == VARIANTS[1]]
        counts = {
            name: int((main["verdict"] == name).sum()) for name in (SUPPORTED, CONTRADICTED, UNDECIDED, UNTESTABLE)
        }
        rows.append(
            {"statement": statement.name, "sentence": statement.sentence, "verdict": _over(main)}
            | {"settings": len(main), **counts, "paper": _over(paper) if len(paper) else ""}
            | {"dated": "" if statement.dated is None else str(statement.dated)}
            | {"exploratory": bool(main["exploratory"].any())}
        )
    return pd.DataFrame(rows, columns=OVERALL)


def _over(main: pd.DataFrame) -> str:
    verdicts, settings = main["verdict"], len(main)
    supported, contradicted = verdicts == SUPPORTED, verdicts == CONTRADICTED
    if (verdicts == UNTESTABLE).all():
        return UNTESTABLE
    everywhere = set(main.loc[supported, "corpus"]) == set(main["corpus"])
    if 3 * supported.sum() >= 2 * settings and everywhere and not contradicted.any():
        return SUPPORTED
    if 2 * contradicted.sum() >= settings and not supported.any():
        return CONTRADICTED
    return MIXED
