"""Measures that a config names, over folds: each table has a row a key, and its numbers are means of the folds'."""

import pandas as pd
import pytest

from lorascope.api import run
from lorascope.experiment.loading import experiment_from
from lorascope.store.finished import FinishedRun

from ..conftest import settings_of

pytestmark = [pytest.mark.slow, pytest.mark.figures]

METHODS = {
    "frozen": {"learning_rate": 1e-2, "epochs": 1},
    "lora": {"rank": 4, "alpha": 8, "learning_rate": 1e-2, "epochs": 1, "targets": ["q_proj", "v_proj"]},
}
MEASURES = ["dial", "rank_dial", "patching", "weights", "probes", "frame_lens", "heads"]
#: A number of each table.
VALUE = {
    "dial": "uar",
    "rank_dial": "loss",
    "patching": "moved",
    "weights": "intruders",
    "intruders": "count",
    "weight_angles": "mean_cos2",
    "probes": "score",
    "frame_profile": "share",
    "frame_focus": "focus",
    "heads": "ratio",
    "head_logits": "logit",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, corpus, backbone_folder):
    analysis = {"draws": 50, "measures": MEASURES, "baselines": ["gaussian"], "folds": "all"}
    settings = settings_of(corpus, backbone_folder, methods=METHODS, analysis=analysis)
    return FinishedRun(run(experiment_from(settings), tmp_path_factory.mktemp("depth") / "out").folder.root)


@pytest.mark.parametrize("stem", VALUE)
def test_a_row_is_the_mean_of_its_folds(folder, stem):
    found, value = folder.table(stem), VALUE[stem]
    keys = list(folder.analyses[0].about["keys"][stem])
    assert found is not None and not found.duplicated(keys).any() and (found["folds"] == 2).all()
    tables = pd.concat([unit.table(stem) for unit in folder.analyses])
    expected = tables.groupby(keys, dropna=False)[value].mean()
    assert len(expected) == len(found)
    mine = found.set_index(keys)[value].reindex(expected.index)
    pd.testing.assert_series_equal(mine, expected, check_dtype=False)


def test_adapters_of_two_folds_that_share_their_seed_are_told_as_begun_alike(folder):
    table = folder.table("recurrence")
    assert table is not None and set(table["start"]) == {"shared"} and (table["pairs"] == 1).all()
    # what a quarter of a second of training leaves of one and the same A
    assert (table["mean_cos2"] > table["null_high"]).all()


def test_the_report_draws_them(folder):
    drawn = {file.stem for file in (folder.path / "figures").glob("*.png")}
    assert {f"fig{number}" for number in range(5, 12)} | {"fig8-again"} <= drawn
    assert "Mean of 2 adapters" in (folder.path / "report.html").read_text()
