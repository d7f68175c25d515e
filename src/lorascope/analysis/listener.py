"""A measure's ear in a pass of its own (`Pass`): hands on what it hears, and has no table of its own."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from .measure import Part, Replay


class Listener:
    """Asks for the parts that `parts(model)` names and hands each to `update`; with `replay` also for the streams that
    `replays(model)` names.
    """

    def __init__(
        self,
        parts: Callable[[str], frozenset[str]],
        update: Callable[[Part], None],
        replays: Callable[[str], frozenset[str]] = lambda model: frozenset(),
        replay: Callable[[Replay], None] = lambda replay: None,
    ) -> None:
        self._parts, self._update, self._replays, self._replay = parts, update, replays, replay

    def parts(self, model: str) -> frozenset[str]:
        """Names of the parts wanted of this model."""
        return self._parts(model)

    def replays(self, model: str) -> frozenset[str]:
        """The streams wanted of this model."""
        return self._replays(model)

    def update(self, part: Part) -> None:
        """Hand it on."""
        self._update(part)

    def replay(self, replay: Replay) -> None:
        """Hand it on."""
        self._replay(replay)

    def compute(self) -> dict[str, pd.DataFrame]:
        """Nothing: the numbers are the measure's."""
        return {}
