"""A search within a fold: which candidates go on, and that one ends with what it would have ended with alone."""

import json

import pytest

from lorascope.experiment.methods import LoraConfig, candidates_of
from lorascope.models.adapters.opening import open_adapted
from lorascope.store.folder import RunFolder
from lorascope.training import halving
from lorascope.work.kinds.cell import run_cell

from .test_cell import make, setting  # noqa: F401

METHOD = LoraConfig(
    rank=4,
    alpha=8,
    epochs=4,
    dropout=0.0,
    learning_rate=(1e-4, 2e-2),
    search={"targets": [["v_proj"], ["q_proj", "fc1"]]},
)


def test_the_better_half_goes_on_and_one_ends_as_it_would_alone(setting, tmp_path, monkeypatch):  # noqa: F811
    inputs, folds, fingerprint, load = setting
    run = RunFolder(tmp_path / "search")
    cell = make(folds[0], METHOD)
    said, original = [], halving.train_candidate

    def killed(cell, method, inputs, course, rate, folder):
        if course.until == 2:
            raise KeyboardInterrupt
        return original(cell, method, inputs, course, rate, folder)

    monkeypatch.setattr(halving, "train_candidate", killed)
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, inputs(), run, fingerprint, said.append)
    monkeypatch.setattr(halving, "train_candidate", original)
    first = [line for line in said if "to epoch" in line]
    said.clear()
    metrics = run_cell(cell, inputs(), run, fingerprint, said.append)
    later = [line for line in said if "to epoch" in line]
    assert [line.rpartition(" ")[2] for line in first] == ["1"] * 4 + ["2"]
    assert [line.rpartition(" ")[2] for line in later] == ["2", "2", "4"]
    told = metrics["candidates"]
    assert sorted(c["epochs_trained"] for c in told) == [1, 1, 2, 4]
    # at a rung the better ones have gone on
    lasting = [c for c in told if c["epochs_trained"] > 1]
    chosen = metrics["chosen"]
    assert chosen["epochs_trained"] == 4 and chosen["targets"] in ("v_proj", "q_proj+fc1")
    assert len(lasting) == 2 and metrics["rank"] == 4
    # alone, without a search, the chosen one is the same
    number = next(i for i, c in enumerate(told) if c["epochs_trained"] == 4)
    plain = make(folds[0], candidates_of(METHOD)[number])
    alone = run_cell(plain, inputs(), RunFolder(tmp_path / "alone"), fingerprint)
    for key in ("validation", "uar", "loss", "confusion"):
        assert metrics[key] == alone[key], key
    adapter = run.cell(metrics["hash"]) / "adapter"
    config = json.loads((adapter / "adapter_config.json").read_text())
    modules = {"v_proj": "self_attn.v_proj", "q_proj": "self_attn.q_proj", "fc1": "fc1"}
    assert set(config["target_modules"]) == {modules[name] for name in chosen["targets"].split("+")}
    assert open_adapted(load(), adapter).has_head
    assert not list(run.cell(metrics["hash"]).glob("candidate-*"))
