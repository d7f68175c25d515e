"""Directions learnt again: planted ones are found between the adapters that have them, and others lie at the null."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorascope.findings.over_units import write_findings
from lorascope.findings.recurrence import recurrence
from lorascope.report import readings
from lorascope.report.figures import weights as figure
from lorascope.statistics.directions import directions
from lorascope.store.finished import FinishedRun

WIDTH, RANK, LAYERS = 96, 8, 2
FOLDS = ("ann", "bob", "cy")
SHARED = np.random.default_rng(99).normal(size=WIDTH)


def factors(number: int, layer: int, planted: bool) -> tuple[np.ndarray, np.ndarray]:
    """A and B of an adapter; in layer 1 of `planted` ones its strongest input direction is that of all the others."""
    random = np.random.default_rng([number, layer])
    a, b = random.normal(size=(RANK, WIDTH)), random.normal(size=(WIDTH, RANK)) * 0.1
    if planted and layer == 1:
        a[0], b[:, 0] = SHARED, 5 * random.normal(size=WIDTH)
    return a, b


def regauged(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(RA, BR⁻¹) for some R."""
    mixing = np.random.default_rng(7).normal(size=(RANK, RANK)) + 3 * np.eye(RANK)
    return mixing @ a, b @ np.linalg.inv(mixing)


def write(folder: Path, seeds: object = (1,), kind: str = "lora", folds=FOLDS, change=lambda a, b: (a, b)) -> Path:
    """A run of these folds, with a control, whose adapters begin apart where `seeds` is a list."""
    listed = []
    for number, fold in enumerate(folds):
        for name, control in (("lora", None), ("shuffled", "shuffled_labels")):
            place = folder / "analyses" / f"{name}-{fold}"
            place.mkdir(parents=True)
            (place / "about.json").write_text(json.dumps({"trained_on": 90, "tested_on": 10}))
            rows = []
            for layer in range(LAYERS):
                pair = change(*factors(number + 10 * bool(control), layer, control is None))
                vectors = directions(*pair).right.astype(np.float32)
                rows += [(layer, "v_proj", index, vector) for index, vector in enumerate(vectors, 1)]
            table = pd.DataFrame(rows, columns=["layer", "module", "index", "vector"])
            table.to_parquet(place / "weight_directions.parquet")
            told = {"hash": place.name, "name": name, "label": name, "control": control, "fold": fold, "seed": 1}
            listed.append(told | {"seconds": 1.0})
    cells = [{"hash": "x", "name": name, "method": kind, "label": name} for name in ("lora", "shuffled")]
    manifest = {"analyses": listed, "cells": cells, "seeds": {"training": seeds}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def rows_of(folder: Path) -> pd.DataFrame:
    found = recurrence(FinishedRun(folder))
    assert found is not None
    return found.set_index(["method", "other", "differ", "layer", "directions"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write(tmp_path_factory.mktemp("again") / "run", seeds=[1])


def test_a_shared_direction_is_found_and_unrelated_ones_lie_at_the_null(run):
    found = rows_of(run)
    again = found.loc[("lora", "lora", "folds", 1)]
    assert (again["pairs"] == 3).all() and (again["largest_cos"] > 0.95).all()
    assert (again[["above", "largest_above"]] == 1).all(axis=None)
    # one of four directions is the same, the others are as random ones
    assert again.loc["first 4", "mean_cos2"] == pytest.approx(1 / 4 + 3 / 4 * 3 / (WIDTH - 1), abs=0.03)
    for pair in (("lora", "lora", "folds", 0), ("lora", "shuffled", "folds", 1), ("shuffled", "shuffled", "folds", 0)):
        for words, size in (("first 4", 4), ("all", RANK)):
            row = found.loc[(*pair, words)]
            assert row["null"] == pytest.approx(size / WIDTH, rel=0.1) and row["dimensions"] == size
            assert row["mean_cos2"] == pytest.approx(row["null"], rel=0.4) and row["largest_cos"] < 0.8
    assert (found["lowest"] <= found["mean_cos2"]).all() and (found["mean_cos2"] <= found["highest"]).all()


def test_no_gauge_changes_anything(run, tmp_path):
    before, after = recurrence(FinishedRun(run)), recurrence(FinishedRun(write(tmp_path, [1], change=regauged)))
    pd.testing.assert_frame_equal(before, after, rtol=1e-4)


@pytest.mark.parametrize(
    ("seeds", "kind", "start", "with_control"),
    [
        ([1], "lora", "own", "shared"),
        (1, "lora", "shared", "shared"),
        ([1], "pissa", "shared", "shared"),
        ([1], "full", "none", "none"),
        (None, "lora", "unknown", "unknown"),
    ],
)
def test_whether_two_adapters_began_alike_is_told(seeds, kind, start, with_control, tmp_path):
    found = rows_of(write(tmp_path, seeds, kind, FOLDS[:2]))
    assert set(found.loc[("lora", "lora", "folds"), "start"]) == {start}
    # the control of the same fold and seed begins as the method does
    assert set(found.loc[("lora", "shuffled", ""), "start"]) == {with_control}


def test_findings_page_and_figure_tell_it(run):
    write_findings(run)
    assert not (run / "findings" / "weight_directions.parquet").exists()
    folder = FinishedRun(run)
    table = folder.table("recurrence")
    assert table is not None and set(table["other"]) == {"lora", "shuffled"}
    (sentence,) = readings.learnt_again_reading(folder)
    assert "of the 3 pairs of adapters of other folds, each with a start of its own" in sentence
    assert "(layer 1; random subspaces 0.04), in every pair more than random ones at layer 1." in sentence
    (drawn,) = figure.figures(folder).values()
    own = table[(table["other"] == "lora") & (table["directions"] == "first 4")].sort_values("layer")
    assert list(drawn.subfigs[0].axes[0].get_lines()[0].get_ydata()) == list(own["mean_cos2"])


def test_adapters_that_began_alike_are_not_said_to_learn_again(tmp_path):
    write_findings(write(tmp_path, 1))
    (sentence,) = readings.learnt_again_reading(FinishedRun(tmp_path))
    assert sentence.startswith("Learnt again? The 3 pairs") and "began with the same A" in sentence


def test_one_adapter_has_nothing_to_be_compared_with(tmp_path):
    write(tmp_path, folds=FOLDS[:1])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["analyses"] = manifest["analyses"][:1]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert recurrence(FinishedRun(tmp_path)) is None


def test_a_layer_without_directions_is_in_no_pair(tmp_path):
    folder = write(tmp_path, [1], folds=FOLDS[:2])
    file = folder / "analyses" / "lora-bob" / "weight_directions.parquet"
    table = pd.read_parquet(file)
    table[table["layer"] == 1].to_parquet(file)
    found = rows_of(folder)
    assert ("lora", "lora", "folds", 0, "all") not in found.index
    assert found.loc[("lora", "lora", "folds", 1, "all"), "pairs"] == 1
