"""An adapter kept and measured at moments of its training: the training is what it would be without, and what was on
the way is told by epoch.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lorascope.api import run
from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.findings.along_training import half_way_at

from ..conftest import settings_of

pytestmark = pytest.mark.figures

METHODS = {
    "frozen": {"learning_rate": 1e-2, "epochs": 1},
    "lora": {"rank": 4, "alpha": 8, "learning_rate": 1e-2, "epochs": 1, "batch_size": 2},
}


def _settings(corpus, backbone, trajectory, **changes):
    analysis = {"draws": 50, "measures": ["contribution"], "baselines": ["gaussian"], "trajectory": trajectory}
    if "methods" not in changes:
        # the whole analysis waits for the cell of this rank, and those of moments come first
        analysis |= {"ranks": [2]}
    return settings_of(corpus, backbone, **({"methods": METHODS, "analysis": analysis} | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("trajectory")


@pytest.fixture(scope="module")
def followed(folder, corpus, backbone_folder):
    said = []
    settings = _settings(corpus, backbone_folder, [1, 0, 0.5], folds={"only": ["ann"]})
    results = run(experiment_from(settings), folder / "a", said.append)
    # the first analysis is drawn while others are to come
    assert [line for line in said if "a first picture, of one adapter alone (fold ann)" in line]
    return results


def _factors(results, epoch):
    cell = next(listed["hash"] for listed in results.manifest["cells"] if listed["method"] == "lora")
    place = results.folder.cell(cell)
    return load_file(
        (place / "adapter" if epoch is None else place / "trajectory" / epoch) / "adapter_model.safetensors"
    )


def test_the_training_is_what_it_would_be_without(followed, folder, corpus, backbone_folder):
    without = _settings(corpus, backbone_folder, [], folds={"only": ["ann"]}, analysis=None)
    plain = run(experiment_from(without), folder / "plain")
    for name, tensor in _factors(plain, None).items():
        assert torch.equal(tensor, _factors(followed, None)[name])
    own, others = (
        pd.read_parquet(results.folder.cell(results.manifest["cells"][1]["hash"]) / "predictions.parquet")
        for results in (followed, plain)
    )
    pd.testing.assert_frame_equal(own, others)


def test_the_last_moment_of_one_epoch_is_the_adapter_that_was_kept(followed):
    for name, tensor in _factors(followed, "epoch-1").items():
        assert torch.equal(tensor, _factors(followed, None)[name])
    start, middle = (_factors(followed, f"epoch-{epoch}") for epoch in ("0", "0.5"))
    b = [name for name in start if "lora_B" in name]
    assert b and all(not start[name].any() for name in b) and all(middle[name].any() for name in b)


def test_every_moment_is_a_unit_and_told_by_its_epoch(followed):
    listed = followed.manifest["analyses"]
    assert [unit.get("epoch") for unit in listed] == [None, 0, 0.5, 1]
    # what is shown as the run's analysis is that of the adapter that was kept
    assert followed.manifest["analysis"]["hash"] == listed[0]["hash"]
    weights = followed.findings("trajectory_weights")
    norms = weights.groupby("epoch")["norm"].mean()
    assert norms[0] == 0 < norms[0.5] < norms[1]
    direction = followed.findings("trajectory_direction").groupby("epoch")["cosine"]
    assert (direction.max()[0], direction.min()[1]) == (0, pytest.approx(1))
    own = followed.findings("trajectory_contribution").query("model == 'difference' and variant == 'same-input'")
    # before the first step the adapter does nothing at all
    ratios = [own.query(f"epoch == {epoch}")["ratio"].abs() for epoch in (0, 1)]
    assert ratios[0].max() < 1e-6 < ratios[1].min()


def test_the_direction_is_that_of_the_dense_update(followed):
    told = followed.findings("trajectory_direction").query("epoch == .5").iloc[0]
    updates = []
    for epoch in ("epoch-0.5", "epoch-1"):
        factors = _factors(followed, epoch)
        prefix = next(n for n in factors if f"layers.{told['layer']}." in n and told["module"] in n and "lora_A" in n)
        updates.append((factors[prefix.replace("lora_A", "lora_B")] @ factors[prefix]).double())
    expected = (updates[0] * updates[1]).sum() / updates[0].norm() / updates[1].norm()
    assert told["cosine"] == pytest.approx(float(expected), abs=1e-6)


def test_the_report_shows_the_way_and_the_single_analysis_stays_first(followed):
    page = followed.report.read_text()
    assert "Figure 12: along the training" in page and "Half way to its last value" in page
    assert (followed.folder.root / "figures" / "fig12.png").is_file()
    # what wasn't asked for isn't missed
    assert "Figure 2a" not in page and "lens.parquet" not in page
    half = followed.findings("trajectory_half")
    assert set(half["quantity"]) == {"norm", "direction", "contribution", "lens"}
    assert half["half"].dropna().between(0, 1).all() and half.query("quantity == 'norm'")["half"].notna().all()


def test_nothing_is_computed_twice(followed, folder, corpus, backbone_folder):
    said = []
    again = _settings(corpus, backbone_folder, [0, 0.5, 1], folds={"only": ["ann"]})
    run(experiment_from(again), folder / "a", said.append)
    assert not [line for line in said if "learning rate" in line or "clips," in line]


def test_what_cannot_be_followed_is_refused(corpus, backbone_folder):
    with pytest.raises(LorascopeError, match=r"trajectory: 3 is after the last epoch of lora, 1"):
        experiment_from(_settings(corpus, backbone_folder, [0, 3]))
    whole = METHODS | {"lora": None, "full": {"learning_rate": 1e-3, "epochs": 1}}
    with pytest.raises(LorascopeError, match=r"trajectory: full .* leaves a whole model behind"):
        experiment_from(_settings(corpus, backbone_folder, [0, 1], methods=whole))
    with pytest.raises(LorascopeError, match="trajectory"):
        experiment_from(_settings(corpus, backbone_folder, [-1, 1]))


def test_half_way_is_found_on_the_first_crossing():
    epochs = np.array([0.0, 1.0, 2.0, 4.0])
    assert half_way_at(epochs, np.array([0.0, 1.0, 2.0, 4.0])) == 2
    assert half_way_at(epochs, np.array([5.0, 3.0, 3.0, 1.0])) == 1
    # beyond the end and back: the first time counts
    assert half_way_at(epochs, np.array([0.0, 4.0, 0.0, 2.0])) == 0.25
    assert np.isnan(half_way_at(epochs, np.array([1.0, 2.0, 3.0, 1.0])))
    assert np.isnan(half_way_at(epochs, np.array([0.0, 1.0, 2.0, np.nan])))
