"""The lens against scipy on the stored residual stream, and what must hold of its last layer."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax
from sklearn.metrics import balanced_accuracy_score

from lorascope.analysis.measures.lens import COLUMNS, Lens

from ..streams import CLASSES, LAYERS, ToyModel, drive, make_batches, make_study


@pytest.fixture(scope="module", params=[True, False], ids=["pools valid", "pools all"])
def analysed(request):
    models = {"frozen": ToyModel(0, adapted=False), "trained": ToyModel(3), "gaussian": ToyModel(4)}
    batches = make_batches(pools_valid=request.param, clips=24)
    study = make_study(models, batches, headless=frozenset({"gaussian"}))
    measure = Lens(study)
    stored = drive(measure, models, batches)
    table = measure.compute()["lens"].set_index(["model", "layer", "variant"]).sort_index()
    return models["trained"], study, stored, table, request.param


def by_hand(analysed, layer, normed):
    """Probabilities of the lens, one clip at a time."""
    model, study, stored, _, pools_valid = analysed
    stream = stored.parts["trained", *(("resid_pre", layer) if layer < LAYERS else ("resid_post", LAYERS - 1))]
    rows = []
    for h, frames in zip(stream, study.clips["frames"], strict=True):
        h = torch.from_numpy(h[:frames] if pools_valid else h)
        projected = model.head[0](model.final_norm(h) if normed else h)
        rows.append(model.head[1](projected.mean(dim=0)).detach().numpy())
    return softmax(np.array(rows), axis=1)


@pytest.mark.parametrize("layer", range(LAYERS + 1))
def test_against_scipy_one_clip_at_a_time(analysed, layer):
    _, study, stored, table, _ = analysed
    final = softmax(np.array(stored.parts["trained", "logits", LAYERS]), axis=1)
    for variant, normed in (("paper", False), ("released", False), ("corrected", True)):
        p, found = by_hand(analysed, layer, normed), table.loc["trained", layer, variant]
        forward, backward = rel_entr(p, final).sum(1).mean(), rel_entr(final, p).sum(1).mean()
        assert found.kl == pytest.approx(backward if variant == "released" else forward, abs=1e-12)
        if found.jsd > 1e-12:  # below, scipy takes the root of a rounding error that may be negative
            assert found.jsd == pytest.approx(np.mean(jensenshannon(p, final, axis=1) ** 2), abs=1e-9)
        assert found.overlap == np.mean(p.argmax(1) == final.argmax(1))
        assert found.accuracy == np.mean(p.argmax(1) == study.labels)
        assert found.uar == pytest.approx(balanced_accuracy_score(study.labels, p.argmax(1)))
        assert found.entropy == pytest.approx(-(p * np.log(p)).sum(1).mean())
        assert found.kl_low <= found.kl <= found.kl_high


def test_last_layer_corrected_is_the_model_itself(analysed):
    *_, table, _ = analysed
    for model in ("frozen", "trained"):
        found = table.loc[model, LAYERS, "corrected"]
        assert found.kl == pytest.approx(0, abs=1e-12)
        assert found.jsd == pytest.approx(0, abs=1e-12)
        assert found.overlap == found.overlap_low == 1
        # without the LayerNorm it is not, which is part of the paper's "rebound"
        assert table.loc[model, LAYERS, "paper"].kl > 1e-4


def test_headless_models_are_left_out(analysed):
    _, study, _, table, _ = analysed
    assert set(table.index.get_level_values("model")) == {"frozen", "trained"}
    assert Lens(study).parts("gaussian") == frozenset()


def test_table_is_tidy(analysed):
    *_, table, _ = analysed
    assert list(table.reset_index().columns[:3]) == COLUMNS[:3]
    assert len(table) == 2 * (LAYERS + 1) * 3 and not table.index.duplicated().any()


def test_one_class_for_all_is_warned_of():
    model = ToyModel(0)
    model.head[1].weight.data.zero_()
    model.head[1].bias.data = torch.tensor([0.0, 5.0, 0.0], dtype=torch.float64)
    batches = make_batches()
    measure = Lens(make_study({"trained": model}, batches))
    drive(measure, {"trained": model}, batches)
    table = measure.compute()["lens"]
    assert (table.top_class_share == 1).all() and (table.top_class == CLASSES[1]).all()
    assert (table.chance_overlap == 1).all() and (table.overlap == 1).all()
    assert table.warning.str.contains(CLASSES[1]).all()


def test_balanced_lens_is_not_warned_of(analysed):
    *_, table, _ = analysed
    assert (table.warning[table.top_class_share < 0.95] == "").all()
    assert pd.Series(table.chance_overlap).between(0, 1).all()
