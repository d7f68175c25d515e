"""The statement on where the adapter works, by turning it off elsewhere."""

from __future__ import annotations

from ..setting import Setting, Unit
from ..statement import ONE_WAY, Lacking, Part, Statement


def upper_alone(setting: Setting, unit: Unit, variant: str) -> float:
    """UAR with only the top third of adapters on, less that with only the bottom third on."""
    table = setting.table(unit, "dial")
    kept = {}
    for way in ("last", "first"):
        rows = table[(table["dial"] == way) & (table["at"] == setting.third)]
        if len(rows) != 1:
            raise Lacking(f"{unit.words}: the dial lacks the {way} {setting.third} blocks alone")
        kept[way] = float(rows["uar"].iloc[0])
    return kept["last"] - kept["first"]


STATEMENTS = (
    Statement(
        "l",
        "dial",
        "Delayed specialisation is causal: the upper adapters do it",
        (Part("UAR with only the top third on − only the bottom third on", 1, "bottom third", upper_alone),),
        ("dial",),
        ONE_WAY,
    ),
)
