"""Heads trained without Trainer: the same numbers as with it."""

import json

import numpy as np
import pytest
import torch

from lorascope.experiment.methods import FrozenConfig
from lorascope.models.classifier import Head, initialise_head
from lorascope.training.data import PooledDataset
from lorascope.training.fit import fit
from lorascope.training.head_steps import fit_head
from lorascope.training.heads import LayerSum

CLASSES, WIDTH, DEPTHS = 3, 12, 4


def pooled(clips, seed, depths):
    """Pooled streams that tell their class faintly."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, clips)
    shape = (clips, DEPTHS, WIDTH) if depths else (clips, WIDTH)
    streams = random.standard_normal(shape).astype(np.float32)
    streams[..., 0] += labels[:, None] if depths else labels
    return PooledDataset(streams, labels.tolist())


def model_of(depths):
    torch.manual_seed(0)
    head = Head(WIDTH, 8, CLASSES)
    initialise_head(head, 3)
    return LayerSum(DEPTHS, head) if depths else head


@pytest.mark.parametrize("depths", [False, True], ids=["last", "layer_sum"])
def test_takes_the_steps_that_trainer_takes(depths, tmp_path):
    # clipping that bites, decay that shows, a last batch that is smaller
    method = FrozenConfig(epochs=3, batch_size=4, weight_decay=0.1, max_grad_norm=0.05)
    data = pooled(22, 0, depths), pooled(15, 1, depths)
    plain, ours = model_of(depths), model_of(depths)
    wanted = fit(plain, *data, CLASSES, method, 2e-2, 5, "fp32", tmp_path / "trainer", tmp_path / "log")
    found = fit_head(ours, *data, CLASSES, method, 2e-2, 5, "fp32", tmp_path / "ours")
    assert (found.best_epoch, found.trained_parameters) == (wanted.best_epoch, wanted.trained_parameters)
    for one, other in zip(found.history, wanted.history, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert (found.uar, found.war, found.loss) == pytest.approx((wanted.uar, wanted.war, wanted.loss), abs=1e-5)
    for name, tensor in plain.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], tensor, atol=1e-5), name


def test_keeps_the_best_epoch_and_not_the_last(tmp_path):
    train, held_out = pooled(22, 0, False), pooled(15, 1, False)
    # labels of the held-out clips that training leads away from
    held_out.labels = [(label + 1) % CLASSES for label in held_out.labels]
    model = model_of(False)
    method = FrozenConfig(epochs=6, batch_size=4)
    found = fit_head(model, train, held_out, CLASSES, method, 3e-2, 5, "fp32", tmp_path / "log")
    scores = [(epoch["uar"], -epoch["loss"]) for epoch in found.history]
    assert found.best_epoch == 1 + scores.index(max(scores)) < 6
    with torch.no_grad():
        logits = model(pooled=torch.as_tensor(held_out.pooled)).logits
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(held_out.labels))
    assert float(loss) == pytest.approx(found.loss, abs=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_bf16_departs_from_fp32_by_its_rounding(tmp_path):
    data = pooled(22, 0, False), pooled(15, 1, False)
    method = FrozenConfig(epochs=2, batch_size=4)
    losses = {}
    for precision in ("fp32", "bf16"):
        found = fit_head(model_of(False), *data, CLASSES, method, 1e-2, 5, precision, tmp_path / precision)
        losses[precision] = found.loss
    assert losses["fp32"] != losses["bf16"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.02)
