"""The tab "Rank space"."""

from __future__ import annotations

from ...store.finished import FinishedRun
from .. import readings
from ..section import Part, Section, Table, table


def _score_table(folder: FinishedRun) -> list[Table]:
    scores = folder.table("rank_scores")
    if scores is None:
        return []
    columns = ["model", "rank", "layer", "module", "variant", "silhouette", "silhouette_null", "knn", "knn_null"]
    columns += ["probe_uar", "probe_low", "probe_high"]
    return [table(scores[columns], "Separation of the classes in rank space, beside what shuffled labels give (null)")]


PART = Part(
    "rank-space",
    "Rank space",
    "Where the clips lie in the adapter's own directions.",
    (
        Section(
            "ranks",
            "Figure 2b: rank space",
            "fig2b",
            "Each clip as a point in the adapter's rank space, a row a rank, a column a depth, coloured by class.",
            ("ranks", "rank_scores"),
            (readings.ranks_reading,),
            tables=_score_table,
        ),
    ),
)
