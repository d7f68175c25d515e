"""What a statement is: a sentence, its statistics with their directions, and the tables that they are computed from.

A built-in statement stands in a file of `statements/`; `stated` makes the same of a user's YAML file.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .setting import Setting, Unit

#: When the built-in statements were fixed (docs/claims.md); one that came later has its own date.
FIXED = datetime.date(2026, 11, 26)
#: The variants of a measure that a statistic is computed in; the verdict is that of the first.
VARIANTS = ("corrected", "paper")
OF_CONTRIBUTIONS = (*VARIANTS, "same-input")
#: For measures that have one way of being taken.
ONE_WAY = ("corrected",)


class Lacking(Exception):
    """A statistic cannot be had from these tables: why, and the lines of a configuration by which it could."""

    def __init__(self, why: str, lines: tuple[str, ...] = ()) -> None:
        super().__init__(why)
        self.why, self.lines = why, lines


@dataclass(frozen=True)
class Part:
    """One statistic of a statement, in words, and the sign (1, -1) that its mean has where the statement holds.

    `statistic(setting, unit, variant)` is its number for one adapter; it raises `Lacking` where the tables don't have
    it. `control` says in words what the adapter is held against. `more` is a further test, of the adapters' numbers
    [units]: its p counts where it is the larger.
    """

    words: str
    sign: int
    control: str
    statistic: Callable[[Setting, Unit, str], float]
    more: Callable[[np.ndarray], float] | None = None

    @property
    def direction(self) -> str:
        """The side of 0 on which the mean lies where the statement holds."""
        return ">" if self.sign > 0 else "<"


@dataclass(frozen=True)
class Statement:
    """A statement that can be decided: it holds where all of its parts do.

    `family` names the statements that are corrected for together, within one corpus and encoder. `tables` are those of
    the analyses that it reads. `dated` is the day on which it was fixed, None where nobody says: it is exploratory
    then, as it is where results are older.
    """

    name: str
    family: str
    sentence: str
    parts: tuple[Part, ...]
    tables: tuple[str, ...]
    variants: tuple[str, ...] = VARIANTS
    dated: datetime.date | datetime.datetime | None = FIXED
    own: bool = False

    def is_exploratory(self, created: str) -> bool:
        """Whether results that were `created` then (ISO 8601, as a manifest has it) may have been known when the
        statement was fixed: it has no date, or one that isn't before them.
        """
        if self.dated is None or not created:
            return True
        results = datetime.datetime.fromisoformat(created)
        if isinstance(self.dated, datetime.datetime):
            dated = self.dated if self.dated.tzinfo else self.dated.replace(tzinfo=datetime.UTC)
            return dated >= (results if results.tzinfo else results.replace(tzinfo=datetime.UTC))
        return self.dated >= results.date()
