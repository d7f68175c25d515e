"""A user's statements, from a YAML file: treated as the built-in ones are, by tables, filters and expressions."""

from __future__ import annotations

import ast
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ...errors import LorascopeError
from .expressions import evaluated, parsed
from .setting import SHUFFLED, TRAINED, Setting, Unit
from .statement import ONE_WAY, Lacking, Part, Statement

KEYS = ("name", "sentence", "table", "filter", "statistic", "direction", "control", "family", "date")
NEEDED = ("name", "sentence", "table", "statistic", "direction")
SIGNS = {">": 1, "<": -1}


def read_statements(path: str | Path, taken: Sequence[str] = ()) -> tuple[Statement, ...]:
    """The statements of a YAML file; `taken` are names that others have.

    At its top stands `statements`, a list, and maybe `date`, that of all which have none. Raises `LorascopeError`
    naming the file, the statement and the key.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise LorascopeError(f"{path}: {error.strerror}; give the path of a YAML file of statements") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LorascopeError(f"{path}: not YAML ({' '.join(str(error).split())}); mend the file") from error
    listed = data.get("statements") if isinstance(data, dict) else None
    if not isinstance(listed, list) or not listed or set(data) - {"statements", "date"}:
        raise LorascopeError(f"{path}: expected `statements:`, a list, and maybe `date:`, and nothing else at the top")
    found: list[Statement] = []
    for number, given in enumerate(listed, 1):
        where = f"{path}: statement {number}"
        names = [*taken, *(statement.name for statement in found)]
        found.append(_statement(given, data.get("date"), where, names))
    return tuple(found)


def _statement(given: Any, date: Any, where: str, taken: Sequence[str]) -> Statement:
    if not isinstance(given, dict):
        raise LorascopeError(f"{where}: expected keys and values, among them {', '.join(NEEDED)}")
    unknown = [str(key) for key in given if key not in KEYS]
    if unknown:
        raise LorascopeError(f"{where}: no key {', '.join(unknown)}; there are {', '.join(KEYS)}")
    missing = [key for key in NEEDED if not str(given.get(key, "")).strip()]
    if missing:
        raise LorascopeError(f"{where}: {', '.join(missing)} is missing; add it")
    name = str(given["name"])
    where = f"{where} ({name})"
    if name in taken:
        raise LorascopeError(f"{where}: another statement is called so; give it another name")
    sign = SIGNS.get(str(given["direction"]).replace("0", "").strip())
    if sign is None:
        raise LorascopeError(f'{where}: direction is {given["direction"]!r}; give ">" or "<", in quotes')
    table, control = str(given["table"]), given.get("control")
    rows = parsed(str(given["filter"]), f"{where}: filter") if given.get("filter") is not None else None
    number = parsed(str(given["statistic"]), f"{where}: statistic")
    own = _Own(table, rows, number, where)
    words = str(given["statistic"])
    parts = [Part(words, sign, "none", lambda setting, unit, _: own.of(setting, unit))]
    if control is not None:
        other = str(control)
        parts.append(
            Part(
                f"{words}, − {other}'s",
                sign,
                other,
                lambda setting, unit, _: own.of(setting, unit) - own.of(setting, unit, other),
            )
        )
    dated = given.get("date", date)
    if dated is not None and not isinstance(dated, datetime.date):
        raise LorascopeError(f"{where}: date is {dated!r}; give a day, as 2026-11-26")
    family = f"own: {given.get('family', 'statements')}"
    return Statement(name, family, str(given["sentence"]), tuple(parts), (table,), ONE_WAY, dated, own=True)


class _Own:
    """A user's statistic: an expression over the rows of one table that a filter keeps."""

    def __init__(self, table: str, rows: ast.expr | None, number: ast.expr, where: str) -> None:
        self._table, self._rows, self._number, self._where = table, rows, number, where

    def of(self, setting: Setting, unit: Unit, control: str | None = None) -> float:
        """The number of one adapter, or of what it is held against: the control trained on shuffled labels, or another
        `model` of the same table in the place of the trained one.
        """
        table = setting.table(unit, self._table, SHUFFLED if control == SHUFFLED else TRAINED)
        if control not in (None, SHUFFLED):
            table = self._of_model(table, str(control), unit)
        names: dict[str, Any] = {str(column): table[column].to_numpy() for column in table}
        fixed = {"layers": float(setting.layers), "top": float(setting.third)}
        if self._rows is not None:
            mask = np.asarray(evaluated(self._rows, names | fixed, f"{self._where}: filter"))
            if mask.dtype != bool or mask.shape != (len(table),):
                raise LorascopeError(f"{self._where}: filter: it doesn't say yes or no of every row; mend it")
            names = {column: values[mask] for column, values in names.items()}
        if not len(next(iter(names.values()))):
            raise Lacking(f"{unit.words}: its filter leaves no row of `{self._table}`")
        return self._single(names | fixed)

    def _single(self, names: Mapping[str, Any]) -> float:
        found = np.asarray(evaluated(self._number, names, f"{self._where}: statistic"))
        if found.size != 1 or found.dtype.kind not in "fiub":
            raise LorascopeError(
                f"{self._where}: statistic: it gives {found.size} values where one number is needed; take their mean"
            )
        number = float(found.reshape(()))
        return number if np.isfinite(number) else float("nan")

    def _of_model(self, table: pd.DataFrame, control: str, unit: Unit) -> pd.DataFrame:
        if "model" not in table:
            raise LorascopeError(
                f"{self._where}: control is {control!r}, but `{self._table}` tells of no other model; give `shuffled`"
            )
        rows = table[table["model"] == control]
        if rows.empty:
            there = ", ".join(sorted(set(table["model"]) - {"trained"}))
            raise LorascopeError(f"{self._where}: control is {control!r}; give `shuffled` or one of {there}")
        return rows.assign(model="trained")
