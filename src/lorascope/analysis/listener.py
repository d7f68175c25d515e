"""A measure's ear in a pass of its own (`Pass`): hands on what it hears, and has no table of its own."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from .measure import Part, Replay


class Listener:
    """Asks for the parts that `parts(model)` names and hands each to `update`."""

    def __init__(self, parts: Callable[[str], frozenset[str]], update: Callable[[Part], None]) -> None:
        self._parts, self._update = parts, update

    def parts(self, model: str) -> frozenset[str]:
        """Names of the parts wanted of this model."""
        return self._parts(model)

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Hand it on."""
        self._update(part)

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """Nothing: the numbers are the measure's."""
        return {}
