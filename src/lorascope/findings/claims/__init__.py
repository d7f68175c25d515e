"""Statements decided from runs' tables: the paper's, and anybody's own.

Nothing is computed anew but means and tests: what a run lacks makes a statement "not testable here", with the lines
of configuration by which another run would have it. The statements were fixed before any result (docs/claims.md).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ...by_name import modules_in
from .gathering import gather
from .setting import Setting
from .stated import read_statements
from .statement import Statement
from .verdicts import decided, overall

__all__ = ["Claims", "Setting", "Statement", "built_in", "decide", "decide_settings"]

#: The order in which the paper has them; what isn't named here comes behind.
ORDER = ("a", "b", "c", "d", "e", "f", "g", "g'", "h1", "h2", "h3", "h4", "i", "j", "k", "k'", "l", "m")


@dataclass(frozen=True)
class Claims:
    """What was decided: `table` has a row a part of a statement in a variant and a setting (`verdicts.COLUMNS`),
    `overall` a row a statement (`verdicts.OVERALL`).
    """

    statements: tuple[Statement, ...]
    settings: tuple[Setting, ...]
    table: pd.DataFrame
    overall: pd.DataFrame

    @property
    def marks(self) -> list[str]:
        """What must stand wherever a number of this is shown (synthetic speech, optimistic scores)."""
        return list(dict.fromkeys(mark for setting in self.settings for mark in setting.marks))

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        settings = [
            {"corpus": each.corpus, "encoder": each.encoder, "adapter": each.adapter, "folds": each.folds}
            | {"units": len(each.units), "layers": each.layers, "third": each.third, "created": each.created}
            | {"marks": list(each.marks), "notes": list(each.notes)}
            for each in self.settings
        ]
        tables = {name: json.loads(table.to_json(orient="records")) for name, table in self._tables()}
        return {"settings": settings, **tables}

    def _tables(self) -> tuple[tuple[str, pd.DataFrame], ...]:
        return ("overall", self.overall), ("claims", self.table)


def built_in() -> tuple[Statement, ...]:
    """The statements of `statements/`, a file of which may hold several, in the paper's order."""
    found = [each for _, module in modules_in(f"{__name__}.statements", "STATEMENTS") for each in module.STATEMENTS]
    places = {name: place for place, name in enumerate(ORDER)}
    return tuple(sorted(found, key=lambda statement: places.get(statement.name, len(ORDER))))


def decide(runs: Sequence[str | Path], statements: str | Path | None = None) -> Claims:
    """Decide the paper's statements, and those of a YAML file `statements`, on the adapters of some runs or sweeps.

    Runs may be of several corpora and encoders, and hold different folds, seeds and measures of each; every verdict is
    of one corpus and encoder, and one of all together. Raises `LorascopeError` as `gathering.gather` and
    `stated.read_statements` do.
    """
    own = built_in()
    more = () if statements is None else read_statements(statements, [statement.name for statement in own])
    return decide_settings((*own, *more), gather(runs))


def decide_settings(statements: Sequence[Statement], settings: Sequence[Setting]) -> Claims:
    """The same of settings that were gathered."""
    table = decided(statements, settings)
    return Claims(tuple(statements), tuple(settings), table, overall(statements, table))
