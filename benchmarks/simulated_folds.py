"""What is printed of several folds, and of the check of sentences, on simulated data, for `coverage.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from simulations import Design, Ends, cross_validated

from lorascope.corpora.checking.giveaway import giveaway
from lorascope.findings.scores import pooled_differences, pooled_scores
from lorascope.statistics import stats
from lorascope.statistics.aggregation import aggregate

#: Shuffles of a null.
DRAWS = 199


def folds(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """Nearest centroids cross-validated over speakers: the mean difference over folds, and the pooled
    numbers of trained models.
    """
    number = min(design.speakers, 5) if design.speakers > 4 else design.speakers
    mine, theirs, by_fold = cross_validated(design.draw(rng), rng, number)
    found = stats.corrected_resampled_t(by_fold, number - 1, 1)
    yield Ends("mean difference over folds, corrected t", found.low, found.high, math.nan, float(by_fold.mean()))
    scores = pooled_scores(mine, design.classes)
    low, high = (scores.get(f"pooled_uar_{end}", math.nan) for end in ("low", "high"))
    yield Ends("pooled UAR, cross-validated", low, high, math.nan, scores["pooled_uar"])
    row = pooled_differences(mine, theirs, design.classes)["uar"]
    low, high = (row.get(f"pooled_{end}", math.nan) for end in ("low", "high"))
    yield Ends("pooled difference, cross-validated", low, high, math.nan, row["pooled_difference"])


def units(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """Leave one speaker out, two seeds a fold: a number that a test speaker moves and every training speaker a little.

    A fold's number is 1 + the mean of its training speakers' effects + its test speaker's + one of each seed. The
    columns are folds.
    """
    n = design.speakers
    training, test = rng.normal(size=(2, n))
    trained = (training.sum() - training) / (n - 1)
    cases = {"both move it alike": (1.0, 1.0), "test speakers alone": (0.0, 1.0), "training speakers alone": (1.0, 0.0)}
    index = {"fold": np.repeat(np.arange(n), 2), "seed": np.tile([0, 1], n)}
    of_seed = 0.3 * rng.normal(size=2 * n)
    table = pd.DataFrame(index)
    for case, (of_training, of_test) in cases.items():
        table[case] = 1 + np.repeat(of_training * trained + of_test * test, 2) + of_seed
    row = aggregate(table, [], list(cases)).iloc[0]
    for case in cases:
        # told, and not counted: the corrected t is made for the first
        name = f"mean over folds and seeds, {case}" if case == "both move it alike" else f"(the same, {case})"
        yield Ends(name, row[f"{case}_low"], row[f"{case}_high"], 1.0)


def sentences(design: Design, rng: np.random.Generator) -> Iterator[Ends]:
    """Null of the check whether sentences tell the emotion, where each clip's is drawn from ten."""
    clips = design.draw(rng).table
    found = giveaway(clips.assign(text=[f"t{number}" for number in rng.integers(10, size=len(clips))]), DRAWS)
    assert found is not None
    yield Ends("null of the sentences", 0.05, math.inf, found.p)
