"""Several adapters of one backbone side by side: each analysed on the same clips and baselines, then their numbers in
one table, figure and page.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ..store.results import Results

TABLE = "side_by_side.csv"
COLUMNS = ["adapter", "layer", "measure", "quantity", "module", "value", "low", "high", "interval_of", "synthetic"]

#: (measure, quantity, table, rows, value, columns of its interval) of every number that is compared.
NUMBERS: tuple[tuple[str, str, str, dict[str, str], str, tuple[str, str]], ...] = (
    *(
        (
            "contribution",
            f"{component} {value}, trained − frozen",
            "contribution",
            {"model": "difference", "variant": "corrected", "frames": "valid", "component": component},
            value,
            (f"{value}_low", f"{value}_high"),
        )
        for component in ("attn", "mlp", "block")
        for value in ("ratio", "cosine")
    ),
    *(
        (
            "lens",
            quantity,
            "lens",
            {"model": "trained", "variant": "corrected"},
            quantity,
            (f"{quantity}_low", f"{quantity}_high"),
        )
        for quantity in ("kl", "overlap", "uar")
    ),
    *(
        (
            "spectra",
            f"k90 of {factor} activations",
            "spectra_summary",
            {"model": "trained", "variant": "corrected", "factor": factor, "quantity": "activation"},
            "k90",
            ("k90_low", "k90_high"),
        )
        for factor in "AB"
    ),
    (
        "cka",
        "A and B, activations",
        "cka",
        {"pair": "A~B:trained", "variant": "corrected", "kernel": "linear", "quantity": "activation"},
        "value",
        ("ci_low", "ci_high"),
    ),
    (
        "erasure",
        "change in UAR, one block skipped",
        "erasure",
        {"model": "trained", "mode": "single"},
        "delta_uar",
        ("delta_uar_low", "delta_uar_high"),
    ),
)  # fmt: skip


def side_by_side(results: Mapping[str, Results]) -> pd.DataFrame:
    """Every compared number of several analyses with its 95 % interval, one row each; what an adapter doesn't have has
    no row.
    """
    rows = []
    for name, result in results.items():
        for measure, quantity, stem, where, value, (low, high) in NUMBERS:
            if stem not in result.names:
                continue
            table = result[stem]
            table = table[(table[list(where)] == pd.Series(where)).all(axis=1)]
            part = pd.DataFrame(
                {
                    "adapter": name,
                    "layer": table["layer"],
                    "measure": measure,
                    "quantity": quantity,
                    "module": table.get("module", ""),
                    "value": table[value],
                    "low": table[low],
                    "high": table[high],
                    "interval_of": table.get("interval_of", ""),
                    "synthetic": bool(result.manifest["corpus"]["synthetic"]),
                }
            )
            rows.append(part)
    return pd.concat(rows, ignore_index=True)[COLUMNS]
