"""Streaming spectra against a full SVD of everything stored, and what a change of gauge may and may not change."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from lorascope.analysis.measures.spectra import Spectra, balanced_gauge

from ..streams import LAYERS, RANK, ToyModel, drive, make_batches, make_study


def regauged(model, seed=5):
    """The same adapters as (RA, BR⁻¹)."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for block in model.blocks:
        change = torch.randn(RANK, RANK, generator=generator, dtype=torch.float64) + 2 * torch.eye(RANK)
        block.a.data = change @ block.a.data
        block.b.data = block.b.data @ torch.linalg.inv(change)
    return model


@pytest.fixture(scope="module")
def analysed():
    trained = ToyModel(0)
    zero = copy.deepcopy(trained)
    for block in zero.blocks:
        block.b.data.zero_()
    models = {"frozen": ToyModel(0, adapted=False), "trained": trained, "gauge": regauged(trained), "peft-init": zero}
    batches = make_batches()
    study = make_study(models, batches)
    measure = Spectra(study)
    stored = drive(measure, models, batches)
    return study, stored, measure.compute()


def curve(tables, model, layer, factor, quantity, variant):
    t = tables["spectra"]
    keep = (t.model == model) & (t.layer == layer) & (t.factor == factor)
    return t[keep & (t.quantity == quantity) & (t.variant == variant)].sort_values("index").energy.to_numpy()


def svd_energy(rows, length):
    power = np.linalg.svd(np.concatenate(rows), compute_uv=False) ** 2
    return (np.cumsum(power) / power.sum())[:length]


PARTS = {
    ("A", "activation"): "lora_a",
    ("B", "activation"): "lora_b",
    ("A", "gradient"): "grad_lora_a",
    ("B", "gradient"): "grad_lora_b",
}


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize(("factor", "quantity"), list(PARTS))
def test_equals_the_svd_of_all_stored_rows(analysed, layer, factor, quantity):
    study, stored, tables = analysed
    key = ("trained", PARTS[factor, quantity], layer)
    for variant, rows in (("paper", stored.parts[key]), ("corrected", stored.valid(study, key))):
        ours = curve(tables, "trained", layer, factor, quantity, variant)
        np.testing.assert_allclose(ours, svd_energy(rows, len(ours)), atol=1e-5)
    everything, valid = (curve(tables, "trained", layer, factor, quantity, v) for v in ("paper", "corrected"))
    assert np.abs(everything - valid).max() > 1e-4, "padding must make a difference here, or the test shows nothing"


def test_float32_parts_agree_to_1e_5():
    models = {"trained": ToyModel(1)}
    batches = make_batches(seed=4)
    measure = Spectra(make_study(models, batches))
    stored = drive(measure, models, batches, dtype=torch.float32)
    tables = measure.compute()
    for (factor, quantity), part in PARTS.items():
        ours = curve(tables, "trained", 1, factor, quantity, "paper")
        np.testing.assert_allclose(ours, svd_energy(stored.parts["trained", part, 1], len(ours)), atol=1e-5)


def test_released_shows_the_gradients_of_a_as_those_of_b(analysed):
    _, _, tables = analysed
    released = curve(tables, "trained", 0, "B", "gradient", "released")
    np.testing.assert_array_equal(released, curve(tables, "trained", 0, "A", "gradient", "paper"))
    assert len(released) != len(curve(tables, "trained", 0, "B", "gradient", "paper"))


@pytest.mark.parametrize("quantity", ["activation", "gradient"])
def test_a_change_of_gauge_moves_only_the_raw_spectrum_of_a(analysed, quantity):
    _, _, tables = analysed
    for layer in range(LAYERS):
        for factor, variant in (
            ("B", "corrected"),
            ("B", "paper"),
            ("A", "corrected-balanced"),
            ("B", "corrected-balanced"),
        ):
            mine, other = (curve(tables, m, layer, factor, quantity, variant) for m in ("trained", "gauge"))
            np.testing.assert_allclose(mine, other, atol=1e-9)
        mine, other = (curve(tables, m, layer, "A", quantity, "corrected") for m in ("trained", "gauge"))
        assert np.abs(mine - other).max() > 1e-3


def test_balanced_rows_are_those_of_an_svd_of_the_update(analysed):
    study, stored, tables = analysed
    factors = study.factors["trained"][0, "v_proj"]
    a, b = factors.a.numpy(), factors.b.numpy()
    u, s, vt = np.linalg.svd(b @ a)
    a_bal, b_bal = np.sqrt(s[:RANK, None]) * vt[:RANK], u[:, :RANK] * np.sqrt(s[:RANK])
    pseudo_inverse = np.linalg.pinv(a)
    # x itself is not stored; its part in A's row space is, and A_bal sees no other
    a_rows = [x @ pseudo_inverse.T @ a_bal.T for x in stored.valid(study, ("trained", "lora_a", 0))]
    g_rows = [x @ b_bal for x in stored.valid(study, ("trained", "grad_lora_b", 0))]
    for quantity, rows in (("activation", a_rows), ("gradient", g_rows)):
        ours = curve(tables, "trained", 0, "A", quantity, "corrected-balanced")
        np.testing.assert_allclose(ours, svd_energy(rows, RANK), atol=1e-9)
    m, ours_b = balanced_gauge(factors)
    np.testing.assert_allclose(ours_b @ m @ a, b @ a, atol=1e-12)


def test_an_adapter_that_does_nothing_says_so(analysed):
    _, _, tables = analysed
    summary = tables["spectra_summary"].set_index(["model", "layer", "factor", "quantity", "variant"]).sort_index()
    for factor, quantity in (("B", "activation"), ("A", "gradient")):
        for variant in ("paper", "corrected", "corrected-balanced"):
            row = summary.loc["peft-init", 0, factor, quantity, variant]
            assert np.isnan(row.k90) and "B is 0" in row.note
    assert summary.loc["peft-init", 0, "A", "activation", "corrected"].k90 >= 1
    assert summary.loc["peft-init", 0, "B", "gradient", "corrected"].k90 >= 1


def test_summary_has_intervals_and_ratios(analysed):
    _, _, tables = analysed
    summary = tables["spectra_summary"]
    assert set(summary.model) == {"trained", "gauge", "peft-init"}
    assert (summary["rank"] == RANK).all()
    assert (summary[summary.model == "trained"].trained_ratio.dropna() == 1).all()
    rows = summary[(summary.variant == "corrected") & (summary.factor == "A") & (summary.model == "trained")]
    assert (rows.k90_low <= rows.k90).all() and (rows.k90 <= rows.k90_high + 1).all()
    gauge = summary[(summary.model == "gauge") & (summary.factor == "B") & (summary.variant == "corrected")]
    assert (gauge.trained_ratio == 1).all()


@pytest.mark.parametrize(("factor", "quantity"), [("A", "activation"), ("B", "activation"), ("A", "gradient")])
def test_the_interval_leaves_out_one_speaker_at_a_time(analysed, factor, quantity):
    """Against the spectra of all stored rows but one speaker's."""
    study, stored, tables = analysed
    rows = stored.valid(study, ("trained", PARTS[factor, quantity], 1))
    speakers = study.clips["speaker"].to_numpy()

    def crossing(kept):
        power = np.linalg.svd(np.concatenate(kept), compute_uv=False)[:RANK] ** 2
        energy = np.concatenate([[0], np.cumsum(power) / power.sum()])
        return np.interp(0.9, energy, np.arange(len(energy)))

    without = [
        crossing([row for row, who in zip(rows, speakers, strict=True) if who != name]) for name in set(speakers)
    ]
    changed, value = np.log(without), np.log(crossing(rows))
    n = len(changed)
    assert n == 4
    centre = n * value - (n - 1) * changed.mean()
    reach = scipy_stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * ((changed - changed.mean()) ** 2).sum())
    low, high = np.exp([min(centre - reach, value), max(centre + reach, value)])
    key = {"model": "trained", "layer": 1, "factor": factor, "quantity": quantity, "variant": "corrected"}
    summary = tables["spectra_summary"].set_index(list(key)).sort_index().loc[tuple(key.values())]
    assert summary.interval_of == "speakers"
    assert (summary.k90_low, summary.k90_high) == (max(1, np.ceil(low)), min(RANK, np.ceil(high)))


def test_frozen_needs_nothing(analysed):
    study, _, _ = analysed
    assert Spectra(study).parts("frozen") == frozenset()
    assert Spectra(study).parts("trained") == {"lora_a", "grad_lora_b"}
