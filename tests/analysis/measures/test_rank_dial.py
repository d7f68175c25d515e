"""The rank dial: cuts are those of the merged weights, a planted rank is found, no gauge matters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lorascope.analysis.measures.rank_dial import cuts
from lorascope.models.interventions import cut, intervened
from lorascope.statistics.directions import balanced, directions, first, largest

from ..small import LAYERS, RANK, Small
from .test_dial import by_hand, rotated


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def tables(small):
    return small.tables("rank_dial")


def test_directions_are_the_svd_of_the_product():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(5, 30)), random.normal(size=(20, 5))
    found = directions(a, b, 0.5)
    u, sigma, v = np.linalg.svd(0.5 * b @ a)
    assert found.sigma == pytest.approx(sigma[:5])
    np.testing.assert_allclose(found.left * found.sigma @ found.right, 0.5 * b @ a, atol=1e-12)
    few_a, few_b = balanced(found, np.arange(2), 0.5)
    np.testing.assert_allclose(0.5 * few_b @ few_a, u[:, :2] * sigma[:2] @ v[:2], atol=1e-12)
    # the gauge is balanced: both factors share Σ
    np.testing.assert_allclose(few_a @ few_a.T, few_b.T @ few_b, atol=1e-12)
    assert len(directions(a, np.zeros_like(b)).sigma) == 0
    assert len(directions(np.vstack([a, a]), np.hstack([b, b])).sigma) == 5


def truncated(small, masks):
    """Logits with ΔW cut by a dense SVD and put into the base weights, the adapter off in PEFT's own way."""
    weights = {key: small.parts.linear(*key).base_layer.weight for key in masks}
    before = {key: weight.detach().clone() for key, weight in weights.items()}
    kept = {key: small.parts.factors(*key)[1].detach().clone() for key in masks}
    with torch.no_grad():
        for key, mask in masks.items():
            a, b, scale = small.parts.factors(*key)
            u, sigma, v = torch.linalg.svd(scale * (b @ a).double(), full_matrices=False)
            chosen = torch.from_numpy(np.flatnonzero(mask))
            weights[key] += (u[:, chosen] * sigma[chosen] @ v[chosen]).float()
        for key in masks:
            small.parts.factors(*key)[1].zero_()
        found = small.logits()
        for key in masks:
            weights[key].copy_(before[key])
            small.parts.factors(*key)[1].copy_(kept[key])
    return found


def found_of(small):
    return {
        key: directions(
            *(f.detach().double().numpy() for f in small.parts.factors(*key)[:2]), small.parts.factors(*key)[2]
        )
        for key in small.parts.adapted()
    }


@pytest.mark.parametrize(("way", "share"), [("global", 0.2), ("local", 0.5), ("global", 0.05), ("global", 0.0)])
def test_a_cut_is_the_model_with_the_truncated_update(small, tables, way, share):
    found, nominal = found_of(small), dict.fromkeys(small.parts.adapted(), RANK)
    choose = {"global": largest(found, share, nominal), "local": first(found, dict.fromkeys(nominal, share * RANK))}
    row = tables["rank_dial"].set_index(["way", "share", "draw"]).loc[(way, share, -1)]
    assert row["directions"] == sum(mask.sum() for mask in choose[way].values())
    for name, value in by_hand(small, truncated(small, choose[way])).items():
        assert row[name] == pytest.approx(value, abs=1e-4), name


def test_counts_and_energy(tables):
    table = tables["rank_dial"]
    total = 2 * LAYERS * RANK
    assert (table["of"] == total).all()
    by_way = table.set_index(["way", "share", "draw"]).sort_index()
    assert by_way.loc[("global", 0.2, -1), "directions"] == np.ceil(0.2 * total)
    assert by_way.loc[("local", 0.2, -1), "directions"] == 2 * LAYERS * np.ceil(0.2 * RANK)
    assert by_way.loc[("global", 1.0, -1), "energy"] == 1 and by_way.loc[("global", 0.0, -1), "energy"] == 0
    random = table[table["way"] == "random"]
    assert set(random.groupby("share").size()) == {5} and not {0.0, 1.0} & set(random["share"])
    for share, rows in random.groupby("share"):
        assert (rows["directions"] == by_way.loc[("global", share, -1), "directions"]).all()
        assert (rows["energy"] <= by_way.loc[("global", share, -1), "energy"]).all()


def test_no_gauge_changes_it(small, tables):
    turned = rotated(small, "rank_dial")
    columns = ["directions", "of", "energy", "uar", "loss", "kl", "flipped"]
    np.testing.assert_allclose(turned["rank_dial"][columns], tables["rank_dial"][columns], atol=1e-4)


def test_a_planted_rank_is_found(tmp_path):
    """Rank 1 a matrix in factors of rank 4: nothing but its six directions is ever kept, and they are the whole
    adapter.
    """
    small = Small(tmp_path)
    with torch.no_grad():
        for key in small.parts.adapted():
            small.parts.factors(*key)[1][:, 1:] = 0
    table = small.tables("rank_dial")["rank_dial"].set_index(["way", "share", "draw"])
    assert (table["of"] == 2 * LAYERS).all()
    for way, share in (("global", 0.5), ("local", 0.02)):
        assert table.loc[(way, share, -1), "kl"] < 1e-9
    assert table.loc[("global", 0.05, -1), "kl"] > 1e-6


def test_an_adapter_of_zeros_has_no_least_share(tmp_path):
    small = Small(tmp_path)
    with torch.no_grad():
        for key in small.parts.adapted():
            small.parts.factors(*key)[1].zero_()
    least = small.tables("rank_dial")["rank_dial_least"]
    assert least["share"].isna().all() and least["note"].str.contains("changes nothing").all()


def test_random_cuts_are_the_same_every_time_and_of_all_directions():
    random = np.random.default_rng(1)
    found = {
        (layer, "v_proj"): directions(random.normal(size=(8, 20)), random.normal(size=(20, 8))) for layer in (0, 1)
    }
    nominal = dict.fromkeys(found, 8)
    one, two = (dict(cuts(found, nominal, 7)) for _ in range(2))
    for setting, masks in one.items():
        assert all((masks[key] == two[setting][key]).all() for key in masks)
    kept = [
        sum(masks[0, "v_proj"]) for setting, masks in one.items() if setting.way == "random" and setting.share == 0.5
    ]
    assert len(set(kept)) > 1 and 0 < np.mean(kept) < 8


def test_a_cut_leaves_the_model_as_it_was(small):
    before = small.logits()
    with intervened(
        small.parts,
        cut(
            found_of(small),
            first(found_of(small), dict.fromkeys(found_of(small), 1)),
            dict.fromkeys(found_of(small), 2.0),
        ),
    ):
        assert not torch.equal(small.logits(), before)
    assert torch.equal(small.logits(), before)
