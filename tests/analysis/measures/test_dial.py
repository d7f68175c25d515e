"""Dials against scaled weights, on every family; planted adapters are found where they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import IA3Config, LoHaConfig
from sklearn.metrics import balanced_accuracy_score

from lorascope.analysis.measures.dial import Dial
from lorascope.statistics.curves import half_way

from ...waveforms import KINDS
from ..small import LAYERS, Small


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def tables(small):
    return small.tables("dial")


def scaled(small, gain):
    """Logits with each adapted layer's scale times gain(layer, module), by PEFT's own forward."""
    keys = small.parts.adapted()
    before = {key: small.parts.linear(*key).scaling["default"] for key in keys}
    try:
        for key in keys:
            small.parts.linear(*key).scaling["default"] = before[key] * gain(*key)
        return small.logits()
    finally:
        for key in keys:
            small.parts.linear(*key).scaling["default"] = before[key]


GAINS = {
    ("whole", -1, "", 0.3): lambda layer, module: 0.3,
    ("whole", -1, "", 1.5): lambda layer, module: 1.5,
    ("block", 1, "", 0.25): lambda layer, module: 0.25 if layer == 1 else 1,
    ("alone", 2, "", 1.0): lambda layer, module: float(layer == 2),
    ("first", 2, "", 1.0): lambda layer, module: float(layer < 2),
    ("last", 1, "", 1.0): lambda layer, module: float(layer >= LAYERS - 1),
    ("module", -1, "fc1", 0.0): lambda layer, module: float(module != "fc1"),
    ("module-alone", -1, "fc1", 1.0): lambda layer, module: float(module == "fc1"),
}


def by_hand(small, logits):
    """Loss, UAR, KL from the intact answer and share of flips, by other libraries."""
    intact, log_p = small.logits().log_softmax(1), logits.log_softmax(1)
    return {
        "loss": float(torch.nn.functional.cross_entropy(logits, small.labels)),
        "uar": balanced_accuracy_score(small.labels, logits.argmax(1)),
        "kl": float(torch.nn.functional.kl_div(intact, log_p, log_target=True, reduction="batchmean")),
        "flipped": float((intact.argmax(1) != log_p.argmax(1)).double().mean()),
    }


@pytest.mark.parametrize("setting", list(GAINS), ids=str)
def test_a_turn_is_the_model_with_that_scale(small, tables, setting):
    row = tables["dial"].set_index(["dial", "at", "module", "alpha"]).sort_index().loc[setting]
    for name, value in by_hand(small, scaled(small, GAINS[setting])).items():
        assert row[name] == pytest.approx(value, abs=1e-5), name
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert row["kl"] > 1e-3


@pytest.mark.parametrize("kind", ["loha", "ia3"])
def test_other_kinds_are_turned_between_the_two_weights(tmp_path, kind):
    """α of any kind of adapter is the model with W + α ΔW, ΔW from what PEFT merges."""
    chosen = {"target_modules": ["v_proj", "fc1"], "modules_to_save": ["projector", "classifier"]}
    config = LoHaConfig(r=2, **chosen) if kind == "loha" else IA3Config(feedforward_modules=[], **chosen)
    small = Small(tmp_path, config=config)
    keys = [(layer, module) for layer in range(LAYERS) for module in ("v_proj", "fc1")]
    table = small.tables("dial")["dial"].set_index(["dial", "at", "module", "alpha"]).sort_index()
    linears = {key: small.parts.linear(*key).base_layer for key in keys}
    before = {key: [p.detach().clone() for p in linears[key].parameters()] for key in keys}
    small.peft.merge_adapter()
    after = {key: [p.detach().clone() for p in linears[key].parameters()] for key in keys}
    for setting in (("whole", -1, "", 0.3), ("block", 1, "", 0.25), ("alone", 2, "", 1.0), ("first", 2, "", 1.0)):
        for key in keys:
            gain = GAINS[setting](*key)
            for parameter, old, new in zip(linears[key].parameters(), before[key], after[key], strict=True):
                parameter.data = old + gain * (new - old)
        log_p = small.logits().log_softmax(1)
        loss = float(torch.nn.functional.nll_loss(log_p, small.labels))
        assert table.loc[setting]["loss"] == pytest.approx(loss, abs=1e-4), setting
    assert table.loc[("whole", -1, "", 0.0)]["kl"] > 1e-3


@pytest.mark.parametrize(("family", "layout"), KINDS)
def test_on_waveforms(tmp_path, family, layout):
    small = Small(tmp_path, family, layout)
    table = small.tables("dial")["dial"].set_index(["dial", "at", "module", "alpha"]).sort_index()
    for setting in (("block", 1, "", 0.25), ("alone", 2, "", 1.0), ("module", -1, "fc1", 0.0)):
        for name, value in by_hand(small, scaled(small, GAINS[setting])).items():
            assert table.loc[setting][name] == pytest.approx(value, abs=1e-4), (setting, name)


def test_all_on_is_the_model_itself_and_all_off_is_the_same_from_either_end(tables):
    table = tables["dial"].set_index(["dial", "at", "module", "alpha"]).sort_index()
    for setting in (
        ("whole", -1, "", 1.0),
        ("first", LAYERS, "", 1.0),
        ("last", LAYERS, "", 1.0),
        ("block", 0, "", 1.0),
    ):
        assert table.loc[setting][["kl", "kl_high", "flipped", "flipped_high", "delta_uar", "delta_loss"]].eq(0).all()
    off = [("whole", -1, "", 0.0), ("first", 0, "", 1.0), ("last", 0, "", 1.0)]
    assert len({tuple(table.loc[setting][["loss", "uar", "kl"]]) for setting in off}) == 1
    one = table.loc[("first", 1, "", 1.0)]["loss"]
    assert one == table.loc[("alone", 0, "", 1.0)]["loss"]


def test_an_adapter_in_the_upper_blocks_alone_is_found_there(tmp_path):
    small = Small(tmp_path, targets=("v_proj",))
    with torch.no_grad():
        small.parts.factors(0, "v_proj")[1].zero_()
    dial = small.tables("dial")["dial"].set_index(["dial", "at", "alpha"]).sort_index()
    assert dial.loc["block", 0, 0.0]["kl"] == pytest.approx(0, abs=1e-9)
    assert dial.loc["alone", 0, 1.0]["loss"] == pytest.approx(dial.loc["whole", -1, 0.0]["loss"])
    assert (dial.loc["block"].xs(0.0, level="alpha")["kl"].iloc[1:] > 1e-3).all()
    assert "module" not in dial.index


def test_changing_the_factors_gauge_changes_nothing(small, tables):
    turned = rotated(small, "dial")
    for stem, table in tables.items():
        numbers = table.select_dtypes("number").to_numpy()
        np.testing.assert_allclose(turned[stem].select_dtypes("number").to_numpy(), numbers, atol=1e-4, equal_nan=True)


def rotated(small, *names):
    """The tables with (RA, BR⁻¹) for every (A, B), R any invertible matrix."""
    generator = torch.Generator().manual_seed(3)
    kept = {key: [factor.detach().clone() for factor in small.parts.factors(*key)[:2]] for key in small.parts.adapted()}
    try:
        with torch.no_grad():
            for key, (a, b) in kept.items():
                r = torch.randn(len(a), len(a), generator=generator) + 3 * torch.eye(len(a))
                small.parts.factors(*key)[0].copy_(r @ a)
                small.parts.factors(*key)[1].copy_(b @ torch.linalg.inv(r))
        return small.tables(*names)
    finally:
        with torch.no_grad():
            for key, (a, b) in kept.items():
                small.parts.factors(*key)[0].copy_(a)
                small.parts.factors(*key)[1].copy_(b)


def test_half_of_the_gain():
    curve = np.array([[0.2, 1.0, 0.3], [0.2, 0.9, 0.3], [0.6, 0.5, 0.3], [0.8, 0.0, 0.3]])
    assert half_way(curve) == pytest.approx([1.75, 2.0, np.nan], nan_ok=True)


def test_the_depth_of_half_the_gain(small):
    """Answers made up block by block: the gain comes with the third of four blocks."""
    study = small_study(layers=4)
    measure = Dial(study)
    right = torch.eye(4)[torch.tensor(study.labels)] * 4
    for setting in measure._settings:
        off = {key[0] for key, gain in setting.gains if gain == 0}
        logits = right if 2 not in off else torch.zeros_like(right)
        if not measure._answers.settings or setting.gains not in measure._answers.settings:
            measure._answers.put(setting.gains, logits, whole_batch(study))
    depth = measure.compute()["dial_depth"].set_index(["quantity", "from"])
    assert depth.loc[("loss", "first"), "blocks"] == pytest.approx(2.5)
    assert depth.loc[("loss", "last"), "blocks"] == pytest.approx(1.5)
    assert depth.loc[("uar", "first"), "gain"] == pytest.approx(0.75)
    # nothing gained: no half of it
    flat = Dial(study)
    for gains in {setting.gains for setting in flat._settings}:
        flat._answers.put(gains, right, whole_batch(study))
    none = flat.compute()["dial_depth"]
    assert none["blocks"].isna().all() and none["note"].str.contains("no half").all()


def small_study(layers):
    import pandas as pd

    from lorascope.analysis.measure import Factors, Study

    labels = [i % 4 for i in range(24)]
    clips = pd.DataFrame(
        {"clip": range(24), "speaker": [f"s{i // 4}" for i in range(24)], "label": labels, "frames": 1}
    )
    factors = {(layer, "v_proj"): Factors(torch.ones(2, 8), torch.ones(8, 2), 1.0) for layer in range(layers)}
    models = ("frozen", "trained")
    return Study(clips, tuple("abcd"), models, layers, 8, ("v_proj",), {"trained": factors}, turnable=tuple(factors))


def whole_batch(study):
    from lorascope.analysis.measure import Batch

    rows = torch.arange(len(study.clips))
    return Batch(rows, torch.zeros(len(rows), 1), 1, torch.ones(len(rows)), rows, True)
