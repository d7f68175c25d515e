"""A trained model asked about clips: the answers that the run stored for the same clips, by the cell that is said."""

from __future__ import annotations

import io
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

import lorascope
from lorascope.cli import main
from lorascope.errors import LorascopeError

from ..tiny import CLASSES, write_tone


@pytest.fixture(scope="module")
def run(finished):
    return finished[1].folder.root


def _stored(run, cell):
    table = pd.read_parquet(run / "cells" / cell / "predictions.parquet").set_index("clip")
    return softmax(table[[f"logit_{name}" for name in CLASSES]].to_numpy(), axis=1), table


@pytest.mark.parametrize("method", ["frozen", "lora"])
def test_the_probabilities_are_those_that_the_run_stored(run, corpus, method):
    clips = sorted(corpus.parent.glob("cy-*.wav"))
    found = lorascope.predict(run, clips, method=method, fold="cy")
    assert (found.model["name"], found.model["fold"]) == (method, "cy")
    expected, table = _stored(run, found.model["cell"])
    order = [table.index.get_loc(next(clip for clip in table.index if file.stem in clip)) for file in clips]
    got = found.table[[f"p_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(got, expected[order], atol=1e-6)
    assert list(found.table["predicted"]) == list(table["predicted"].iloc[order])
    assert set(found.table["heard"]) == {"test"}


def test_the_cell_is_chosen_without_the_test_clips_and_said(run, corpus, finished):
    found = lorascope.predict(run, corpus.parent / "bob-anger-0.wav")
    cells = [json.loads(file.read_text()) for file in run.glob("cells/*/metrics.json")]
    cells = [cell for cell in cells if cell.get("rank") in (None, 4)]
    scores = {
        kind: np.mean([c["validation"]["uar"] for c in cells if c["method"] == kind]) for kind in ("frozen", "lora")
    }
    assert scores[found.model["name"]] == max(scores.values())
    assert "highest mean UAR on the selection clips" in found.model["chosen"] and found.model["fold"] == "ann"
    # bob is no test speaker of this fold
    assert "trained or chosen on it" in found.notes[0]
    # one cell's folder says all of that itself
    alone = lorascope.predict(run / "cells" / found.model["cell"], corpus.parent / "bob-anger-0.wav")
    assert alone.model["cell"] == found.model["cell"] and alone.model["chosen"] == "given"


def test_a_folder_and_a_strange_clip_are_heard(run, corpus, tmp_path):
    write_tone(tmp_path / "sub" / "new.wav", seed=99)
    shutil.copy(corpus.parent / "ann-anger-0.wav", tmp_path / "again.wav")
    table = lorascope.predict(run, tmp_path, fold="ann").table
    assert list(table["heard"]) == ["test", ""]
    assert table[[f"p_{name}" for name in CLASSES]].sum(axis=1).to_numpy() == pytest.approx([1, 1])


def test_the_command_line_reads_standard_input_and_prints(run, corpus, capsys, monkeypatch):
    clip = corpus.parent / "ann-anger-0.wav"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(clip.read_bytes())))
    with pytest.raises(SystemExit):
        main(["predict", str(run), "-", "--json", "--quiet", "--method", "lora"])
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert said.err == "" and [row["clip"] for row in told["clips"]] == ["-"]
    assert sum(told["clips"][0]["probabilities"].values()) == pytest.approx(1)
    with pytest.raises(SystemExit):
        main(["predict", str(run), str(clip), "--method", "lora"])
    shown = capsys.readouterr().out
    assert shown.startswith("LoRA r=4 v_proj, fold ann") and "of this fold's test clips" in shown


def test_bad_input_is_one_line(run, corpus, tmp_path):
    clip = corpus.parent / "ann-anger-0.wav"
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty").mkdir()
    for place, clips, options, told in (
        (run, tmp_path / "none.wav", {}, "none.wav: No such file or directory; leave it out"),
        (run, tmp_path / "text.wav", {}, "text.wav"),
        (run, tmp_path / "empty", {}, r"empty: no \.wav.*; give sound files$"),
        (run, [], {}, "no clips"),
        (run, clip, {"method": "lor"}, "--method lor: not in this run; there are frozen, lora"),
        (run, clip, {"fold": "zoe"}, "--fold zoe: not in this run; there are ann, cy"),
        (run, clip, {"seed": 7}, "--seed 7"),
        (tmp_path, clip, {}, "no such file"),
    ):
        with pytest.raises(LorascopeError, match=told):
            lorascope.predict(place, clips, **options)
