"""Statements on how many directions pass through A and B (the paper's Figure 3a-d)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..setting import SHUFFLED, TRAINED, Setting, Unit
from ..statement import Part, Statement

RANDOM = "norm-matched"


def concentration(factor: str, quantity: str, shuffled: bool) -> Callable[[Setting, Unit, str], float]:
    """Mean over blocks of log k90 of the random adapter, or of the control, less that of the trained one."""

    def logs(setting: Setting, unit: Unit, variant: str, model: str, adapter: str) -> np.ndarray:
        table = setting.table(unit, "spectra_summary", adapter)
        where = {"model": model, "factor": factor, "quantity": quantity, "variant": variant}
        return setting.curve(unit, table, "k90", setting.layers, change=np.log, **where)

    def statistic(setting: Setting, unit: Unit, variant: str) -> float:
        other = ("trained", SHUFFLED) if shuffled else (RANDOM, TRAINED)
        return float((logs(setting, unit, variant, *other) - logs(setting, unit, variant, "trained", TRAINED)).mean())

    return statistic


def _statement(name: str, sentence: str, factor: str, quantity: str, sign: int) -> Statement:
    what = f"{factor}-out" if quantity == "activation" else f"gradients at {factor}-out"
    parts = tuple(
        Part(f"{what}: mean of log k90({other}) − log k90(trained)", sign, other, concentration(factor, quantity, last))
        for other, last in ((RANDOM, False), ("shuffled", True))
    )
    return Statement(name, "spectra", sentence, parts, ("spectra_summary",))


STATEMENTS = (
    _statement("h1", "A's activations concentrate on few directions", "A", "activation", 1),
    _statement("h2", "A's gradients concentrate on few directions", "A", "gradient", 1),
    _statement("h3", "B's activations concentrate on few directions", "B", "activation", 1),
    _statement("h4", "B's gradients spread over many directions", "B", "gradient", -1),
)
