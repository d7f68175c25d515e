"""Skipping blocks: a block that adds nothing isn't missed, and others are as missed as
running the rest by hand says.
"""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from lorascope.analysis.measures.erasure import COLUMNS, Erasure

from ..streams import LAYERS, ToyModel, drive, make_batches, make_study


def analyse(models, **changes):
    batches = make_batches(clips=24)
    study = make_study(models, batches, **changes)
    measure = Erasure(study)
    stored = drive(measure, models, batches)
    return study, stored, measure.compute()["erasure"].set_index(["model", "layer", "mode"]).sort_index()


def test_identity_block_is_not_missed():
    model = ToyModel(0)
    for linear in (model.blocks[1].o_proj, model.blocks[1].down):
        linear.weight.data.zero_()
        linear.bias.data.zero_()
    _, _, table = analyse({"trained": model})
    erased = table.loc["trained", 1, "single"]
    deltas = [name for name in COLUMNS if name.startswith("delta_")]
    assert erased[deltas].to_numpy(float) == pytest.approx(np.zeros(len(deltas)), abs=1e-12)
    assert abs(table.loc["trained", 0, "single"].delta_loss) > 1e-3


def test_against_running_the_rest_by_hand():
    model = ToyModel(3)
    study, stored, table = analyse({"trained": model})
    embedding = stored.parts["trained", "resid_pre", 0]

    def logits(blocks):
        rows = []
        for h, frames in zip(embedding, study.clips["frames"], strict=True):
            h = torch.from_numpy(h)[None]
            for block in blocks:
                attention, mlp, _, _ = block(h)
                h = h + attention + mlp
            rows.append(model.head(model.final_norm(h)[0, :frames].mean(dim=0)).detach().numpy())
        return torch.tensor(np.array(rows))

    kept = {
        ("none", -1): model.blocks,
        ("single", 0): model.blocks[1:],
        ("single", 1): model.blocks[:1],
        ("progressive", 0): model.blocks[1:],
        ("progressive", 1): [],
    }
    assert len(table) == len(kept)
    intact = logits(model.blocks).softmax(1)
    for (mode, layer), blocks in kept.items():
        p, found = logits(blocks).softmax(1).numpy(), table.loc["trained", layer, mode]
        assert found.accuracy == pytest.approx(accuracy_score(study.labels, p.argmax(1)))
        assert found.uar == pytest.approx(balanced_accuracy_score(study.labels, p.argmax(1)))
        assert found.loss == pytest.approx(log_loss(study.labels, p))
        assert found.confidence == pytest.approx(float(p.max(axis=1).mean()))
        assert found.delta_loss == pytest.approx(found.loss - log_loss(study.labels, intact.numpy()))
        assert found.delta_loss_low <= found.delta_loss <= found.delta_loss_high


def test_progressive_is_cumulative():
    _, _, table = analyse({"trained": ToyModel(3)})
    same = ["accuracy", "loss", "confidence"]
    single, progressive = table.loc["trained", 0, "single"], table.loc["trained", 0, "progressive"]
    assert progressive[same].tolist() == single[same].tolist()
    last = LAYERS - 1
    assert table.loc["trained", last, "progressive"].loss != table.loc["trained", last, "single"].loss


def test_only_models_with_a_trained_head():
    models = {"frozen": ToyModel(0, adapted=False), "trained": ToyModel(1), "gaussian": ToyModel(2)}
    _, _, table = analyse(models)
    assert set(table.index.get_level_values("model")) == {"frozen", "trained"}
    _, _, table = analyse(models, headless=frozenset({"frozen", "gaussian"}))
    assert set(table.index.get_level_values("model")) == {"trained"}
