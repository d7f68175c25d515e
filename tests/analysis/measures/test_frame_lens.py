"""The frame lens: shares sum to the logit, a planted frame is pointed at, time that says nothing stays within its
null.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorascope.analysis.measures.frame_lens import BINS, FrameLens, binned, contributions, focus_of
from lorascope.errors import LorascopeError

from ...tiny import CLASSES
from ..small import FRAMES, LAYERS, Small
from ..streams import ToyModel, drive, make_batches, make_study

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("family", "layout"), [("whisper", ""), ("wav2vec2", "base"), ("hubert", "large"), ("wavlm", "base")]
)
def test_the_shares_of_the_top_sum_to_the_models_logits(tmp_path, family, layout):
    small = Small(tmp_path, family, layout)
    tables = small.tables("frame_lens")
    top = tables["frame_lens"].query("model == 'trained' and depth == @LAYERS")
    sums = top.groupby(["clip", "class"])["share"].sum().unstack()[list(CLASSES)]
    logits = small.logits().numpy()
    for clip in sums.index:
        row = int(clip[1:])
        np.testing.assert_allclose(sums.loc[clip], logits[row], atol=1e-4)
        assert len(top[top["clip"] == clip]) == FRAMES[row] * len(CLASSES)
    assert top.groupby(["clip", "frame"])["probability"].sum().to_numpy() == pytest.approx(1)
    profile = tables["frame_profile"].query("model == 'trained' and depth == @LAYERS")
    margins = [contributions(logits[row][None], label)[0] for row, label in enumerate(small.clips["label"])]
    assert profile["share"].sum() == pytest.approx(np.mean(margins), abs=1e-4)
    focus = tables["frame_focus"].set_index(["model", "depth"]).loc[("trained", LAYERS)]
    assert focus["margin"] == pytest.approx(np.mean(margins), abs=1e-4) and 0 < focus["focus"] <= 0.5


def test_all_frames_count_where_the_head_pools_over_all():
    batches = make_batches(pools_valid=False)
    model = ToyModel(0)
    study = make_study({"trained": model}, batches)
    measure = FrameLens(study)
    stored = drive(measure, {"trained": model}, batches)
    frames = measure.compute()["frame_lens"].query("depth == 2")
    sums = frames.groupby(["clip", "class"])["share"].sum().unstack()[list(study.classes)]
    for clip in sums.index:
        np.testing.assert_allclose(sums.loc[clip], stored.parts["trained", "logits", 2][int(clip[4:])], atol=1e-10)


def test_a_head_that_hears_one_frame_is_pointed_at():
    """What tells the class lies in the second tenth of every clip alone."""
    batches = make_batches(clips=24, lengths=(20, 30), pools_valid=False)
    model = ToyModel(1)
    study = make_study({"trained": model}, batches)
    measure = FrameLens(study)
    drive(measure, {"trained": model}, batches)
    for (_, depth), of_clips in measure._logits.items():
        for row, logits in of_clips.items():
            logits[:] = 0.01 * RANDOM.normal(size=logits.shape)
            if depth == 2:
                logits[len(logits) // 10, study.labels[row]] = 30
    tables = measure.compute()
    top = tables["frame_profile"].query("depth == 2").set_index("bin")
    assert top["share"].idxmax() == 1 and top.loc[1, "share_low"] > top.loc[1, "null_high"]
    assert (top["share"].drop(1) < 0.1 * top["null"].drop(1)).all()
    focus = tables["frame_focus"].set_index("depth")["focus"]
    assert focus[2] < 0.03 < focus[1]


def test_time_that_says_nothing_stays_within_its_null():
    outside = 0
    for seed in range(8):
        batches = make_batches(clips=24, lengths=(20, 30), seed=seed)
        model = ToyModel(seed)
        study = make_study({"trained": model}, batches)
        measure = FrameLens(study)
        drive(measure, {"trained": model}, batches)
        for of_clips in measure._logits.values():
            for logits in of_clips.values():
                logits[:] = RANDOM.normal(size=logits.shape)
        profile = measure.compute()["frame_profile"]
        outside += ((profile["share"] < profile["null_low"]) | (profile["share"] > profile["null_high"])).sum()
    # 3 depths of 10 bins, 8 times; 5 % of 240 are expected
    assert outside <= 26


def test_bins_and_focus():
    shares = RANDOM.normal(size=(3, 25))
    assert binned(shares).shape == (3, BINS)
    np.testing.assert_allclose(binned(shares).sum(axis=1), shares.sum(axis=1))
    np.testing.assert_allclose(binned(np.ones(25)), 2.5)
    np.testing.assert_allclose(binned(np.arange(1.0, 4.0)), [0.3, 0.3, 0.3, 0.5, 0.6, 0.6, 0.7, 0.9, 0.9, 0.9])
    assert focus_of(np.ones(10)) == pytest.approx(0.5)
    assert focus_of(np.array([0, 0, 0, -4.0])) == pytest.approx(0.125)
    assert np.isnan(focus_of(np.zeros(4)))


def test_a_broken_clip_is_named(tmp_path):
    small = Small(tmp_path)
    small.sounds[3] = small.sounds[3] * float("nan")
    with pytest.raises(LorascopeError, match="c03"):
        small.tables("frame_lens")


def test_without_a_frozen_head_the_frozen_model_is_left_out(tmp_path):
    assert set(Small(tmp_path).tables("frame_lens", head=False)["frame_focus"]["model"]) == {"trained"}
    assert torch.is_grad_enabled()
