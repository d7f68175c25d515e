"""Probes on a small model: what is planted in the clips is read off, what isn't there scores at its control."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lorascope.analysis.measure import Batch, Part, Study
from lorascope.analysis.measures.probes import COLUMNS, TARGETS, Probes, asked_of
from lorascope.statistics.intervals import SPEAKERS

from ..small import LAYERS, Small

WIDTH, DEPTHS = 24, 2


def made(speakers=4, clips=48, seed=0, **planted):
    """A study of one block and its probes' table on made-up streams; `planted[column]` names a column that depth 1
    shows, for the trained model only.
    """
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "clip": [f"c{i}" for i in range(clips)],
            "speaker": [f"s{i % speakers}" for i in range(clips)],
            "label": random.permutation(np.arange(clips) % 4),
            "text": [f"t{i // speakers % 6}" for i in range(clips)],
            "gender": ["f" if i % speakers % 2 else "m" for i in range(clips)],
            "frames": 1,
            "rate": random.normal(size=clips),
        }
    )
    study = Study(table, tuple("abcd"), ("frozen", "trained"), DEPTHS - 1, WIDTH, (), {})
    probes = Probes(study)
    rows = torch.arange(clips)
    batch = Batch(rows, torch.zeros(clips, 1), 1, torch.ones(clips, dtype=torch.int64), rows, True)
    noise = {depth: random.normal(size=(clips, WIDTH)) for depth in range(DEPTHS)}
    for model in ("frozen", "trained"):
        for depth in range(DEPTHS):
            values = noise[depth].copy()
            if model == "trained" and depth == 1:
                for column in planted:
                    codes = table[column].to_numpy() if column == "rate" else pd.factorize(table[column])[0]
                    shown = codes[:, None] if column == "rate" else np.eye(codes.max() + 1)[codes]
                    values[:, : shown.shape[1]] += planted[column] * shown
            name = "resid_pre" if depth < DEPTHS - 1 else "final_norm"
            probes.update(Part(model, name, depth, None, torch.from_numpy(values)[:, None], batch, None, None))
    return probes.compute()


def rows(tables, target):
    return tables["probes"].set_index(["target", "model", "depth"]).sort_index().loc[target]


@pytest.mark.parametrize("column", ["label", "speaker", "text", "gender", "rate"])
def test_what_is_planted_is_read_and_the_control_is_not(column):
    name = {"label": "emotion", "text": "sentence"}.get(column, column)
    found = rows(made(**{column: 6.0}), name)
    planted, frozen = found.loc[("trained", 1)], found.loc[("frozen", 1)]
    assert planted["score"] > 0.85 and planted["score_low"] <= planted["score"] <= planted["score_high"]
    assert planted["control_task"] < planted["chance"] + 0.25 and planted["selectivity"] > 0.5
    assert frozen["score"] < 0.6
    difference = found.loc[("difference", 1)]
    assert difference["score"] == pytest.approx(planted["score"] - frozen["score"])
    assert difference["score_low"] > 0
    # depth 0 is the same noise in both models
    assert found.loc[("difference", 0)]["score"] == 0


def test_a_target_that_is_not_there_scores_at_its_control():
    scores = [rows(made(seed=seed), "emotion").loc[("trained", 0)] for seed in range(6)]
    selectivity = np.array([row["selectivity"] for row in scores])
    assert abs(selectivity.mean()) < 2.5 * selectivity.std() / np.sqrt(len(selectivity))
    assert np.mean([row["control_task"] for row in scores]) == pytest.approx(0.25, abs=0.05)


def test_what_is_held_out_and_what_intervals_speak_of():
    found = made()["probes"].set_index("target")
    assert found.loc["emotion", "held_out"].unique() == ["speaker"]
    assert found.loc["speaker", "held_out"].unique() == ["sentence"]
    assert found.loc["speaker", "interval_of"].unique() == ["sentences"]
    assert found.loc["gender", "interval_of"].unique() == [SPEAKERS]
    assert set(found.loc["rate", "metric"]) == {"r2"}


def test_a_target_that_the_clips_have_not_is_told():
    tables = made()
    reasons = tables["probe_reasons"].set_index("target")["reason"]
    assert set(reasons.index) == set(TARGETS) - {"emotion", "speaker", "sentence", "gender", "rate"}
    assert "no acoustics" in reasons["f0_mean"] and "no language" in reasons["language"]
    clips = pd.DataFrame({"speaker": ["a"] * 20, "label": [0, 1] * 10, "text": ["x", "y"] * 10, "gender": ["f"] * 20})
    assert "held out (speaker)" in asked_of(clips, TARGETS["emotion"])
    assert "two classes" in asked_of(clips, TARGETS["gender"])
    few = pd.DataFrame({"speaker": list("abab"), "label": [0, 0, 1, 1]})
    assert "too few" in asked_of(few, TARGETS["emotion"])


def test_clips_without_a_value_are_left_out_of_that_target_alone():
    clips = pd.DataFrame({"speaker": list("ab") * 10, "label": [0, 0, 1, 1] * 5, "text": ["x", None] * 10})
    clips["f0_mean"] = [float(i) if i % 5 else np.nan for i in range(20)]
    assert len(asked_of(clips, TARGETS["f0_mean"])) == 16
    assert len(asked_of(clips, TARGETS["emotion"])) == 20


def test_on_a_traced_model(tmp_path):
    """Depths, means over valid frames and the encoder's output, against hooks."""
    small = Small(tmp_path)
    small.clips["text"] = [f"t{i % 2}" for i in range(len(small.clips))]
    found = small.tables("probes")["probes"]
    assert list(found.columns) == COLUMNS
    assert set(found["depth"]) == set(range(LAYERS + 1)) and set(found["model"]) == {"frozen", "trained", "difference"}
    # nothing is adapted below block 0: what enters it is the same in both models
    assert (found[(found["model"] == "difference") & (found["depth"] == 0)]["score"] == 0).all()
