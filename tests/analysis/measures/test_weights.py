"""The weights of an adapter against dense arithmetic on W and ΔW, on every family; the same in every gauge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoHaConfig, LoraConfig, OFTConfig

from lorascope.statistics.updates import mean_squared_cosine

from ...waveforms import KINDS
from ..small import LAYERS, RANK, Small
from .test_dial import rotated


def dense(small, key):
    """W and ΔW [width_out, width_in], float64, from PEFT's own delta."""
    linear = small.parts.linear(*key)
    return [x.detach().double().numpy() for x in (linear.base_layer.weight, linear.get_delta_weight("default"))]


@pytest.mark.parametrize(("family", "layout"), [("whisper", ""), *KINDS[:1], *KINDS[-1:]])
def test_against_dense_arithmetic(tmp_path, family, layout):
    small = Small(tmp_path, family, layout)
    tables = small.tables("weights")
    weights = tables["weights"].set_index(["layer", "module"])
    assert list(weights.index) == small.parts.adapted()
    for key in ((0, "v_proj"), (LAYERS - 1, "fc1")):
        weight, update = dense(small, key)
        row, sigma = weights.loc[key], np.linalg.svd(update, compute_uv=False)[:RANK]
        assert row["norm"] == pytest.approx(np.linalg.norm(update), rel=1e-5)
        assert row["relative_norm"] == pytest.approx(np.linalg.norm(update) / np.linalg.norm(weight), rel=1e-5)
        assert row["relative_spectral"] == pytest.approx(sigma[0] / np.linalg.norm(weight, 2), rel=1e-5)
        assert row["stable_rank"] == pytest.approx((sigma**2).sum() / sigma[0] ** 2, rel=1e-5)
        assert (row["rank"], row["nominal_rank"]) == (RANK, RANK)
        u, _, v = np.linalg.svd(weight, full_matrices=False)
        assert row["left_share"] == pytest.approx(
            np.linalg.norm(u[:, :RANK].T @ update) ** 2 / row["norm"] ** 2, rel=1e-4
        )
        assert row["right_share"] == pytest.approx(
            np.linalg.norm(update @ v[:RANK].T) ** 2 / row["norm"] ** 2, rel=1e-4
        )
        changed = np.linalg.svd(weight + update)[0][:, :10]
        curve = tables["intruders"].set_index(["layer", "module", "epsilon"]).sort_index().loc[key]
        for epsilon in (0.3, 0.5, 0.9):
            assert curve.loc[epsilon, "count"] == (np.abs(u.T @ changed).max(0) < epsilon).sum()
        spectrum = tables["weight_spectra"].set_index(["layer", "module"]).loc[key]
        assert spectrum["sigma"].to_numpy() == pytest.approx(sigma, rel=1e-5)
    angles = tables["weight_angles"].set_index(["module", "layer", "other"])
    v = [np.linalg.svd(dense(small, (layer, "v_proj"))[1])[2][:RANK] for layer in (0, 1)]
    assert angles.loc[("v_proj", 0, 1), "mean_cos2"] == pytest.approx(
        np.linalg.norm(v[0] @ v[1].T) ** 2 / RANK, abs=1e-5
    )
    assert len(angles) == 2 * LAYERS * (LAYERS - 1) / 2


def test_a_stranger_among_the_directions_is_an_intruder_and_a_known_one_is_none(tmp_path):
    small = Small(tmp_path, targets=("v_proj",))
    torch.manual_seed(1)
    with torch.no_grad():
        for key in small.parts.adapted():
            a, b, _ = small.parts.factors(*key)
            u, s, v = torch.linalg.svd(small.parts.linear(*key).base_layer.weight)
            if key[0] == 1:
                stranger = torch.linalg.qr(torch.randn(32, 1))[0]
                a.copy_(torch.linalg.qr(torch.randn(32, RANK))[0].T * 1e-3)
                b.zero_()
                a[:1], b[:, :1] = torch.linalg.qr(torch.randn(32, 1))[0].T, 4 * s[0] * stranger
            else:
                a.copy_(v[:RANK])
                b.copy_(u[:, :RANK] * s[:RANK])
    tables = small.tables("weights")
    row = tables["weights"].set_index("layer")
    assert row["intruders"].tolist() == [0, 1, 0]
    assert row["rank"].tolist() == [RANK, 1, RANK]
    assert row["left_share"][0] == pytest.approx(1, abs=1e-5)
    assert row["left_share"][0] > row["left_null_high"][0]
    # the same input directions were put into layers 0 and 2 only if their weights have them
    assert (tables["intruders"]["count"] <= tables["intruders"]["leading"]).all()


def test_the_same_direction_in_two_layers_is_told(tmp_path):
    small = Small(tmp_path, targets=("v_proj",))
    with torch.no_grad():
        small.parts.factors(2, "v_proj")[0].copy_(small.parts.factors(0, "v_proj")[0])
    angles = small.tables("weights")["weight_angles"].set_index(["layer", "other"])
    assert angles.loc[(0, 2), "mean_cos2"] == pytest.approx(1, abs=1e-5)
    assert angles.loc[(0, 1), "mean_cos2"] < angles.loc[(0, 1), "null_high"] * 1.5
    assert angles.loc[(0, 1), "null"] == pytest.approx(RANK / 32, rel=0.2)


HEAD = ["projector", "classifier"]
KINDS_OF_PEFT = {
    "loha": LoHaConfig(r=2, target_modules=["v_proj", "fc1"], modules_to_save=HEAD),
    "oft": OFTConfig(oft_block_size=8, target_modules=["v_proj", "fc1"], modules_to_save=HEAD),
    "dora": LoraConfig(r=2, target_modules=["v_proj", "fc1"], use_dora=True, modules_to_save=HEAD),
}


@pytest.mark.parametrize("kind", KINDS_OF_PEFT)
def test_without_factors_it_is_that_of_the_matrix_that_peft_merges(tmp_path, kind):
    small = Small(tmp_path, config=KINDS_OF_PEFT[kind])
    keys = [(layer, module) for layer in range(LAYERS) for module in ("v_proj", "fc1")]
    before = {key: small.parts.linear(*key).base_layer.weight.detach().double().numpy() for key in keys}
    tables = small.tables("weights")
    merged = small.peft.merge_and_unload()
    weights = tables["weights"].set_index(["layer", "module"])
    assert list(weights.index) == keys and weights["nominal_rank"].isna().all()
    curves = tables["intruders"].set_index(["layer", "module", "epsilon"])["count"]
    for key in keys:
        linear = merged.encoder.layers[key[0]].get_submodule("self_attn.v_proj" if key[1] == "v_proj" else key[1])
        update = linear.weight.detach().double().numpy() - before[key]
        u, sigma, _ = np.linalg.svd(update, full_matrices=False)
        row = weights.loc[key]
        assert row["norm"] == pytest.approx(np.linalg.norm(update), rel=1e-5)
        assert row["stable_rank"] == pytest.approx((sigma**2).sum() / sigma[0] ** 2, rel=1e-4)
        assert row["k"] == 1 + (np.cumsum(sigma**2) < 0.9 * (sigma**2).sum()).sum()
        u, _, _ = np.linalg.svd(before[key], full_matrices=False)
        inside = np.linalg.norm(u[:, : int(row["k"])].T @ update) ** 2 / np.linalg.norm(update) ** 2
        assert row["left_share"] == pytest.approx(inside, rel=1e-4)
        changed = np.linalg.svd(before[key] + update)[0][:, :10]
        assert curves.loc[(*key, 0.5)] == (np.abs(u.T @ changed).max(0) < 0.5).sum()
    assert len(tables["weight_angles"]) == 2 * LAYERS * (LAYERS - 1) / 2


def test_no_gauge_changes_anything(tmp_path):
    small = Small(tmp_path)
    before, after = small.tables("weights"), rotated(small, "weights")
    for stem, table in before.items():
        numbers = [name for name in table.select_dtypes("number") if "null" not in name]
        np.testing.assert_allclose(after[stem][numbers], table[numbers], rtol=1e-3, atol=1e-4, err_msg=stem)
    spans = [each["weight_directions"].groupby(["layer", "module"])["vector"] for each in (before, after)]
    for (_, one), (_, other) in zip(*spans, strict=True):
        assert mean_squared_cosine(np.stack(list(one)), np.stack(list(other)))[0] == pytest.approx(1, abs=1e-4)


def test_an_update_of_zeros_has_no_directions(tmp_path):
    small = Small(tmp_path, targets=("v_proj",))
    with torch.no_grad():
        small.parts.factors(1, "v_proj")[1].zero_()
    row = small.tables("weights")["weights"].set_index("layer").loc[1]
    assert row["rank"] == 0 and row["norm"] == 0 and "no directions" in row["note"]
    assert np.isnan(row["stable_rank"]) and np.isnan(row["left_share"]) and np.isnan(row["intruders"])
