"""CKA of stored parts, straight from the published formulas; and the properties that must hold between pairs."""

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from lorascope.analysis.kept_frames import Space
from lorascope.analysis.measures.cka import COLUMNS, Cka, halves_of

from ..streams import LAYERS, RANK, WIDTH, ToyModel, drive, make_batches, make_study

CLIPS = 16


@pytest.fixture(scope="module")
def analysed():
    trained = ToyModel(0)
    zero, turned = copy.deepcopy(trained), copy.deepcopy(trained)
    rotation, _ = torch.linalg.qr(torch.randn(RANK, RANK, dtype=torch.float64))
    for block, other in zip(zero.blocks, turned.blocks, strict=True):
        block.b.data.zero_()
        other.a.data = 3 * rotation @ other.a.data
        other.b.data = other.b.data @ rotation.T / 3
    models = {
        "frozen": ToyModel(0, adapted=False),
        "trained": trained,
        "gaussian": ToyModel(8),
        "peft-init": zero,
        "turned": turned,
    }
    batches = make_batches(clips=CLIPS)
    study = make_study(models, batches)
    measure = Cka(study)
    stored = drive(measure, models, batches)
    keys = ["layer", "pair", "quantity", "kernel", "variant"]
    return study, stored, measure.compute()["cka"].set_index(keys).sort_index()


PART = {("A", "activation"): "lora_a", ("B", "activation"): "lora_b", ("A", "gradient"): "grad_lora_a"}
PART["B", "gradient"] = "grad_lora_b"


def pooled(analysed, model, factor, quantity, layer):
    study, stored, _ = analysed
    return np.array([x.mean(0) for x in stored.valid(study, (model, PART[factor, quantity], layer))])


def flattened(analysed, model, factor, quantity, layer):
    rows = analysed[1].parts[model, PART[factor, quantity], layer]
    longest = max(len(x) for x in rows)
    return np.array([np.pad(x, ((0, longest - len(x)), (0, 0))).ravel() for x in rows])


def hsic_biased(k, m):
    h = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ h @ m @ h)


def hsic_unbiased(k, m):
    """Song et al. (2012), eq. 5."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    middle = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return np.trace(k @ m) + middle - 2 / (n - 2) * (one @ k @ m @ one)


def cka(hsic, k, m):
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def sides(pair):
    """The two (model, factor) of a pair's name."""
    left, right = pair.split("~")
    return (
        ((right.split(":")[1], "A"), (right.split(":")[1], "B"))
        if left == "A"
        else (("trained", left[0]), (right, left[0]))
    )


PAIRS = ["A~B:trained", "A~B:gaussian", "A:trained~gaussian", "B:trained~gaussian"]


@pytest.mark.parametrize("quantity", ["activation", "gradient"])
@pytest.mark.parametrize("pair", PAIRS)
def test_corrected_from_the_formula(analysed, pair, quantity):
    for layer in range(LAYERS):
        x, y = (pooled(analysed, *side, quantity, layer) for side in sides(pair))
        found = analysed[2].loc[layer, pair, quantity]
        linear = cka(hsic_unbiased, x @ x.T, y @ y.T)
        assert found.loc["linear", "corrected"].value == pytest.approx(linear, rel=1e-8)
        kernels = []
        for view in (x, y):
            distances = [np.linalg.norm(p - q) for i, p in enumerate(view) for q in view[:i]]
            kernels.append(rbf_kernel(view, gamma=1 / (2 * np.median(distances) ** 2)))
        assert found.loc["rbf", "corrected"].value == pytest.approx(cka(hsic_unbiased, *kernels), rel=1e-4)


@pytest.mark.parametrize("quantity", ["activation", "gradient"])
@pytest.mark.parametrize("pair", PAIRS)
def test_paper_from_the_formula_on_flattened_clips(analysed, pair, quantity):
    for layer in range(LAYERS):
        x, y = (flattened(analysed, *side, quantity, layer) for side in sides(pair))
        value = analysed[2].loc[layer, pair, quantity].loc["linear", "paper"].value
        assert value == pytest.approx(cka(hsic_biased, x @ x.T, y @ y.T), rel=1e-5)


def test_released_are_the_four_curves(analysed):
    table = analysed[2].xs("released", level="variant").reset_index()
    assert len(table) == 4 * LAYERS and (table.estimator == "biased").all()
    for row in table.itertuples():
        x, y = (flattened(analysed, *side, row.quantity, row.layer) for side in sides(row.pair))
        kernels = (x @ x.T, y @ y.T) if row.kernel == "linear" else (rbf_kernel(x), rbf_kernel(y))
        assert row.value == pytest.approx(cka(hsic_biased, *kernels), rel=1e-4), row.note
    assert set(table.note) == {
        f"released figure: {way}, {which}" for way in ("forward", "backward") for which in ("trained", "untrained")
    }


def test_columns_of_the_released_gamma(analysed):
    """sklearn's default γ is 1/columns, so the comparison above hangs on the number of columns being frames × width."""
    assert flattened(analysed, "trained", "A", "gradient", 0).shape[1] == 9 * RANK
    assert flattened(analysed, "trained", "B", "gradient", 0).shape[1] == 9 * WIDTH


def test_a_rotated_and_scaled_adapter_is_the_same(analysed):
    for layer in range(LAYERS):
        for pair in ("A:trained~turned", "B:trained~turned"):
            for quantity in ("activation", "gradient"):
                for kernel in ("linear", "rbf"):
                    row = analysed[2].loc[layer, pair, quantity, kernel, "corrected"]
                    assert row.value == pytest.approx(1, abs=1e-9)
                    assert row.null_high < 0.9


def test_an_adapter_that_does_nothing_has_no_cka_and_says_so(analysed):
    table = analysed[2]
    for quantity, factor in (("activation", "B"), ("gradient", "A")):
        row = table.loc[0, "A~B:peft-init", quantity, "linear", "corrected"]
        assert np.isnan(row.value) and row.note.startswith(f"{factor} of peft-init is the same")
    assert not np.isnan(table.loc[0, "A:trained~peft-init", "activation", "linear", "corrected"].value)


def test_flattened_only_where_asked(analysed):
    pairs = analysed[2].xs("paper", level="variant").index.get_level_values("pair")
    assert set(pairs) == set(PAIRS)


def test_intervals_and_nulls(analysed):
    study, _, table = analysed
    found = table[table.value.notna()]
    assert (found.ci_low <= found.ci_high).all() and (found.null_low <= found.null_high).all()
    assert (found.clips == CLIPS).all() and (found.draws == study.draws).all()
    assert not table.index.duplicated().any()
    assert list(table.reset_index()[COLUMNS].columns[:2]) == ["layer", "module"]


def test_the_variance_over_halves_of_the_clips_from_the_formula(analysed):
    halves = halves_of(CLIPS, analysed[0].seed).astype(bool)
    assert (halves.sum(axis=1) == CLIPS // 2).all() and len(np.unique(halves, axis=0)) > 50
    x, y = (pooled(analysed, *side, "gradient", 0) for side in sides("A~B:trained"))
    values = [cka(hsic_unbiased, x[half] @ x[half].T, y[half] @ y[half].T) for half in halves]
    found = analysed[2].loc[0, "A~B:trained", "gradient"].loc["linear", "corrected"].half_variance
    assert found == pytest.approx(np.var(values, ddof=1), rel=1e-6)


def test_seven_clips_are_too_few():
    models = {"trained": ToyModel(0)}
    batches = make_batches(clips=7)
    measure = Cka(make_study(models, batches))
    drive(measure, models, batches)
    table = measure.compute()["cka"]
    assert table.value.isna().all() and table.note.str.contains("7 clips are too few").all()


def test_clips_that_are_all_alike_give_no_warning():
    models = {"trained": ToyModel(0)}
    batches = make_batches(lengths=(5,))
    for batch in batches:
        batch.features[:] = 1.0
        batch.valid[:] = 4
        batch.labels[:] = 1
    measure = Cka(make_study(models, batches))
    drive(measure, models, batches)
    with np.errstate(all="raise"):
        table = measure.compute()["cka"]
    assert table.value.isna().all() and (table.note != "").all()


def test_a_small_budget_goes_to_disk_and_changes_nothing():
    models = {"trained": ToyModel(0), "gaussian": ToyModel(1)}
    batches = make_batches(clips=8)
    tables = []
    for budget in (1 << 30, 3000):
        study = make_study(models, batches, space=Space(budget))
        measure = Cka(study)
        drive(measure, models, batches)
        tables.append(measure.compute()["cka"])
    assert study.space._folder is not None
    np.testing.assert_array_equal(tables[0].value, tables[1].value)


def test_nobody_is_asked_for_the_wide_side(analysed):
    assert Cka(analysed[0]).parts("trained") == {"lora_a", "grad_lora_b"}
    assert Cka(analysed[0]).parts("frozen") == frozenset()
