"""Which numbers of the analyses bf16 autocast moves, and by how much of their intervals.

    python benchmarks/half_precision.py [--backbone whisper-tiny.en] [--clips 40] [--context trim]

The same models and clips are analysed in float32 and under bf16 autocast, as `analysis.precision: bf16` does it. A
number with an interval is told where bf16 puts it outside of float32's; of the others the largest difference is. bf16
is slow on processors without it: this is no measurement of time.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from analysed import Analysed
from measure import arguments

#: Columns with an interval: table -> column -> its two ends.
INTERVALS = {
    "contribution": {name: (f"{name}_low", f"{name}_high") for name in ("ratio", "cosine")},
    "lens": {name: (f"{name}_low", f"{name}_high") for name in ("kl", "overlap", "accuracy", "uar")},
    "rank_scores": {"probe_uar": ("probe_low", "probe_high")},
    "spectra_summary": {"k90": ("k90_low", "k90_high")},
    "cka": {"value": ("ci_low", "ci_high")},
}
#: Numbers without one.
OTHERS = {
    "lens": ("jsd", "entropy"),
    "rank_scores": ("silhouette", "knn"),
    "spectra": ("energy",),
    "spectra_summary": ("participation", "entropy_rank"),
}
#: What tells rows apart, beside the variant.
PLACE = ("model", "pair", "layer", "module", "component", "frames", "factor", "quantity", "kernel", "index")


def compare(single: pd.DataFrame, half: pd.DataFrame, table: str) -> tuple[int, int]:
    """Print how a table's numbers differ; how many have an interval, and how many of these bf16 puts outside of it."""
    keys = ["variant", *(name for name in PLACE if name in single)]
    both = single.merge(half, on=keys, suffixes=("", "_half"), validate="one_to_one")
    assert len(both) == len(single) == len(half)
    known = outside = 0
    for variant, rows in both.groupby("variant", sort=False):
        for column, (low, high) in INTERVALS.get(table, {}).items():
            here = rows[rows[[column, low, high, f"{column}_half"]].notna().all(axis=1)]
            if here.empty:
                continue
            moved = here[f"{column}_half"]
            # an interval over few clips may be but a point, and beside its own number: that one is always within
            ends = here[[column, low, high]]
            beyond = here[(moved < ends.min(axis=1)) | (moved > ends.max(axis=1))]
            width = (moved - here[column]).abs() / (here[high] - here[low]).clip(lower=1e-12)
            known, outside = known + len(here), outside + len(beyond)
            print(
                f"{table}, {variant}, {column}: {len(beyond)} of {len(here)} outside their interval; "
                f"moved by {width.median():.2g} of its width (median), at most {(moved - here[column]).abs().max():.2g}"
            )
            for _, row in beyond.head(4).iterrows():
                place = ", ".join(f"{name} {row[name]}" for name in PLACE if name in row)
                print(
                    f"    {place}: {row[column]:.4g} [{row[low]:.4g}, {row[high]:.4g}], bf16 "
                    f"{row[column + '_half']:.4g}"
                )
        for column in OTHERS.get(table, ()):
            gap = (rows[f"{column}_half"] - rows[column]).abs()
            print(f"{table}, {variant}, {column}: moved by {gap.median():.2g} (median), at most {gap.max():.2g}")
    return known, outside


def main(argv: Sequence[str] | None = None) -> None:
    """Analyse twice and compare."""
    found = arguments(__doc__ or "", argv, clips=40, draws=500, memory_mib=512)
    of = Analysed.of(found, found.context)
    single, half = of.analysed(), of.analysed("bf16")
    counts = [compare(single[table], half[table], table) for table in dict.fromkeys((*INTERVALS, *OTHERS))]
    known, outside = (sum(column) for column in zip(*counts, strict=True))
    print(f"all: bf16 moves {outside} of {known} numbers ({outside / known:.1%}) out of their float32 interval")


if __name__ == "__main__":
    main()
