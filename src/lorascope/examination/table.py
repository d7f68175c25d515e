"""Examinations as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .examine import Examination
from .finding import all_checks

COLUMNS = ("adapter", "code", "state", "layers", "message", "mend")


def table_of(found: Sequence[Examination]) -> pd.DataFrame:
    """A row for every check, several where it found several things."""
    rows = []
    for one in found:
        for check in all_checks():
            own = [finding for finding in one.findings if finding.code == check.code]
            rows += [(one.adapter, check.code, each.level, each.layers, each.message, each.mend) for each in own]
            if own:
                continue
            if check.code in one.skipped:
                rows.append((one.adapter, check.code, "skipped", (), one.skipped[check.code], ""))
            elif check.code in one.explained:
                rows.append((one.adapter, check.code, "explained", (), f"follows from {one.explained[check.code]}", ""))
            elif check.code in one.inapplicable:
                rows.append((one.adapter, check.code, "inapplicable", (), one.inapplicable[check.code], ""))
            else:
                rows.append((one.adapter, check.code, "well", (), "", ""))
    return pd.DataFrame(rows, columns=list(COLUMNS))
