"""Contributions of constructed tensors in closed form, and of a toy encoder against numpy on the stored parts."""

import copy

import numpy as np
import pytest
import torch

from lorascope.analysis.measure import Batch, Part
from lorascope.analysis.measures.contribution import Contribution
from lorascope.errors import LorascopeError

from ..streams import LAYERS, ToyModel, drive, make_batches, make_study


def cosine(x, y):
    return (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)


@pytest.fixture(scope="module")
def analysed():
    frozen, trained = ToyModel(0, adapted=False), ToyModel(3)
    models = {"frozen": frozen, "trained": trained, "gaussian": ToyModel(4)}
    batches = make_batches()
    study = make_study(models, batches)
    measure = Contribution(study)
    stored = drive(measure, models, batches)
    table = measure.compute()["contribution"]
    return models, study, stored, table


def row(table, *key):
    found = table.set_index(["model", "layer", "component", "variant", "frames"]).sort_index().loc[key]
    assert found.ndim == 1, "one row a key"
    return found


def feed(measure, batch, stream, attention, mlp):
    for name, tensor in (("resid_pre", stream), ("attn_out", attention), ("mlp_out", mlp)):
        measure.update(Part("trained", name, 0, None, tensor, batch, lambda x: x, lambda x: x))


def test_constructed_tensors_give_the_closed_form():
    """h = e1, a = 2 e2, m = 3 e1 - 2 e2 in every frame: every number can be written down."""
    clips, frames = 3, 4
    batch = Batch(
        torch.arange(clips),
        torch.zeros(clips, 1, 2 * frames),
        frames,
        torch.tensor([2, 4, 1]),
        torch.arange(clips),
        True,
    )
    stream, attention, mlp = (torch.zeros(clips, frames, 5) for _ in range(3))
    stream[..., 0] = 1
    attention[..., 1] = 2
    mlp[..., 0], mlp[..., 1] = 3, -2
    study = make_study({"trained": ToyModel(0)}, [batch], layers=1)
    measure = Contribution(study)
    feed(measure, batch, stream, attention, mlp)
    table = measure.compute()["contribution"]
    expected = {
        ("attn", "paper"): (2, 0),
        ("mlp", "paper"): (13**0.5, 3 / 13**0.5),
        ("block", "paper"): (3, 1),
        ("attn", "corrected"): (2, 0),
        ("mlp", "corrected"): ((13 / 5) ** 0.5, -1 / 65**0.5),
        ("block", "corrected"): (3, 1),
    }
    for (component, variant), (ratio, cos) in expected.items():
        for which in ("all", "valid"):
            found = row(table, "trained", 0, component, variant, which)
            assert (found.ratio, found.cosine) == pytest.approx((ratio, cos), abs=1e-6)
            assert found.ratio_low == pytest.approx(ratio, abs=1e-6) and found.clips == clips


def test_padding_counts_only_in_all_frames():
    batch = Batch(torch.arange(2), torch.zeros(2, 1, 8), 4, torch.tensor([1, 2]), torch.arange(2), True)
    stream = torch.ones(2, 4, 3)
    attention = torch.ones(2, 4, 3)
    attention[0, 1:] = 5
    attention[1, 2:] = 5
    measure = Contribution(make_study({"trained": ToyModel(0)}, [batch], layers=1))
    feed(measure, batch, stream, attention, stream)
    table = measure.compute()["contribution"]
    assert row(table, "trained", 0, "attn", "paper", "valid").ratio == pytest.approx(1)
    assert row(table, "trained", 0, "attn", "paper", "all").ratio == pytest.approx(((1 + 15) / 4 + (2 + 10) / 4) / 2)


def test_an_empty_stream_is_clamped_not_divided_by():
    batch = Batch(torch.arange(1), torch.zeros(1, 1, 4), 2, torch.tensor([2]), torch.arange(1), True)
    measure = Contribution(make_study({"trained": ToyModel(0)}, [batch], layers=1))
    feed(measure, batch, torch.zeros(1, 2, 3), torch.full((1, 2, 3), 1.0), torch.zeros(1, 2, 3))
    found = row(measure.compute()["contribution"], "trained", 0, "attn", "paper", "all")
    assert (found.ratio, found.cosine) == pytest.approx((3**0.5 / 1e-6, 0))


@pytest.mark.parametrize("model", ["frozen", "trained", "gaussian"])
def test_toy_encoder_against_numpy(analysed, model):
    _, study, stored, table = analysed
    for layer in range(LAYERS):
        for frames, take in (("all", lambda key: stored.parts[key]), ("valid", lambda key: stored.valid(study, key))):
            h, a, m = (take((model, name, layer)) for name in ("resid_pre", "attn_out", "mlp_out"))
            u = [x + y for x, y in zip(h, a, strict=True)]
            for component, variant, added, base in (
                ("attn", "paper", a, h),
                ("mlp", "paper", m, h),
                ("mlp", "corrected", m, u),
            ):
                found = row(table, model, layer, component, variant, frames)
                pairs = list(zip(added, base, strict=True))
                ratio = np.mean([np.mean(np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)) for x, y in pairs])
                assert found.ratio == pytest.approx(ratio, rel=1e-9)
                assert found.cosine == pytest.approx(np.mean([cosine(x, y).mean() for x, y in pairs]), rel=1e-9)


def test_difference_is_trained_less_frozen(analysed):
    _, _, _, table = analysed
    for variant, against in (("paper", "paper"), ("corrected", "corrected"), ("same-input", "corrected")):
        for component in ("attn", "mlp", "block"):
            key = (1, component)
            difference = row(table, "difference", *key, variant, "valid")
            trained = row(table, "trained", *key, variant, "valid")
            frozen = row(table, "frozen", *key, against, "valid")
            assert difference.ratio == pytest.approx(trained.ratio - frozen.ratio)
            assert difference.cosine == pytest.approx(trained.cosine - frozen.cosine)
            assert difference.ratio_low <= difference.ratio <= difference.ratio_high


def test_same_input_runs_the_trained_block_on_the_frozen_stream(analysed):
    models, study, stored, table = analysed
    ratios = []
    for h, frames in zip(stored.parts["frozen", "resid_pre", 1], study.clips["frames"], strict=True):
        attention = models["trained"].blocks[1](torch.from_numpy(h)[None])[0][0].detach().numpy()
        ratios.append((np.linalg.norm(attention, axis=1) / np.linalg.norm(h, axis=1))[:frames].mean())
    assert row(table, "trained", 1, "attn", "same-input", "valid").ratio == pytest.approx(np.mean(ratios))


def test_an_adapter_in_the_first_layer_moves_the_second_only_through_its_input():
    """The same weights but for layer 0's adapter: at layer 1 the plain difference is not 0,
    with the same input it is.
    """
    trained = ToyModel(0)
    frozen = copy.deepcopy(trained)
    for model, layers in ((trained, (1,)), (frozen, (0, 1))):
        for layer in layers:
            model.blocks[layer].b.data.zero_()
    models = {"frozen": frozen, "trained": trained}
    batches = make_batches()
    measure = Contribution(make_study(models, batches))
    drive(measure, models, batches)
    table = measure.compute()["contribution"]
    assert abs(row(table, "difference", 1, "attn", "corrected", "valid").ratio) > 1e-4
    assert row(table, "difference", 1, "attn", "same-input", "valid").ratio == pytest.approx(0, abs=1e-12)
    assert abs(row(table, "difference", 0, "attn", "same-input", "valid").ratio) > 1e-4


def test_without_a_frozen_model_there_is_no_difference():
    models = {"trained": ToyModel(0)}
    batches = make_batches()
    measure = Contribution(make_study(models, batches))
    drive(measure, models, batches)
    table = measure.compute()["contribution"]
    assert not measure.replays("trained")
    assert set(table.model) == {"trained"} and set(table.variant) == {"paper", "corrected"}


def test_a_clip_that_never_arrives_is_an_error():
    models = {"trained": ToyModel(0)}
    batches = make_batches()
    measure = Contribution(make_study(models, batches))
    drive(measure, models, batches[1:])
    with pytest.raises(LorascopeError, match="clip000"):
        measure.compute()
