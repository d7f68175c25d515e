"""Heads that read all depths, on adapted encoders: trained, kept, opened again and analysed."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from lorascope.api import run
from lorascope.experiment.config import Experiment
from lorascope.experiment.loading import experiment_from
from lorascope.experiment.methods import KINDS, FrozenConfig, FullConfig
from lorascope.models.adapters.building import load_trained
from lorascope.models.adapters.opening import open_adapted
from lorascope.models.head_kinds import kind_of
from lorascope.store.folder import RunFolder
from lorascope.training.passes import predict_clips
from lorascope.work.kinds.cell import run_cell

from ..conftest import settings_of
from ..tiny import CLASSES
from .test_cell import make, setting  # noqa: F401

SMALL = {"lora": {"rank": 2}, "pissa": {"rank": 2}, "adalora": {"rank": 2}, "dora": {"rank": 2}}


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("lora", "layer_sum"),
        ("adalora", "concatenated"),
        ("full", "layer_sum"),
        *(
            pytest.param(kind, head, marks=pytest.mark.slow)
            for kind in ("lora", "pissa", "adalora", "dora", "ia3", "bitfit", "full")
            for head in ("layer_sum", "concatenated")
            if (kind, head) not in (("lora", "layer_sum"), ("adalora", "concatenated"), ("full", "layer_sum"))
            if not (kind in ("full", "bitfit") and head == "concatenated")
        ),
    ],
)
def test_what_is_opened_again_is_what_was_chosen(setting, tmp_path, kind, head):  # noqa: F811
    inputs, folds, fingerprint, load = setting
    method = KINDS[kind](head=head, epochs=2, learning_rate=0.02, **SMALL.get(kind, {}))
    run_folder = RunFolder(tmp_path)
    metrics = run_cell(make(folds[0], method), inputs(), run_folder, fingerprint)
    adapter = run_folder.cell(metrics["hash"]) / "adapter"
    assert json.loads((adapter / "lorascope.json").read_text())["head"] == head
    model = load_trained(load(), adapter, kind, head)
    gold = torch.tensor([inputs().labels[clip] for clip in folds[0].validation])
    logits = torch.tensor(predict_clips(model, folds[0].validation, inputs().clips, "trim", 4))
    assert float(torch.nn.functional.cross_entropy(logits, gold)) == pytest.approx(
        metrics["validation"]["loss"], abs=1e-4
    )
    # the same by the door for adapters that come from anywhere, from a backbone that knows of no such head
    backbone = load()
    opened = open_adapted(backbone, adapter).model if kind not in ("full", "bitfit") else model
    again = predict_clips(opened, folds[0].validation, inputs().clips, "trim", 4)
    np.testing.assert_allclose(again, logits, atol=1e-5)
    if head == "layer_sum":
        base = opened.get_base_model() if hasattr(opened, "get_base_model") else opened
        assert kind_of(base) == "layer_sum" and len(set(base.layer_weights.tolist())) > 1
        if kind == "lora":
            # under its own name, where plain PEFT puts it onto a stock model
            saved = load_file(adapter / "adapter_model.safetensors")["base_model.model.layer_weights"]
            assert torch.equal(saved, base.layer_weights.detach())


@pytest.mark.parametrize("head", ["layer_sum", "concatenated"])
def test_such_heads_start_where_the_frozen_ones_are(setting, tmp_path, head):  # noqa: F811
    inputs, folds, fingerprint, _ = setting
    still = KINDS["lora"](rank=2, epochs=1, learning_rate=1e-12, head=head, head_start="logistic")
    run_folder = RunFolder(tmp_path)
    adapted = run_cell(make(folds[0], still), inputs(), run_folder, fingerprint)
    if head == "concatenated":
        frozen = run_cell(make(folds[0], FrozenConfig(head=head)), inputs(), run_folder, fingerprint)
        assert adapted["loss"] == pytest.approx(frozen["loss"], abs=1e-4)
    else:
        # a regression on the mean of depths, computed here
        from lorascope.training.heads import choose_shallow

        pooled = inputs().pooled("trim", 8)
        data = [
            (np.stack([pooled[c].mean(0)[None] for c in ids]), np.array([inputs().labels[c] for c in ids]))
            for ids in (folds[0].train, folds[0].validation)
        ]
        choice = choose_shallow(FrozenConfig(head="logistic"), *data, 4)
        assert adapted["validation"]["loss"] == pytest.approx(choice.validation["loss"], abs=1e-4)


def test_no_stock_checkpoint_has_all_depths_side_by_side():
    with pytest.raises(ValueError, match="no head on all depths"):
        FullConfig(head="concatenated")


def analysed(corpus, backbone_folder, out, head) -> tuple[Experiment, object]:
    methods = {
        "frozen": {"kind": "frozen", "head": "layer_sum", "learning_rate": 0.05, "epochs": 2},
        "lora": {"rank": 2, "alpha": 4, "learning_rate": 0.02, "epochs": 1, "head": head},
    }
    measures = ["contribution", "lens", "erasure", "heads", "spectra"]
    settings = settings_of(
        corpus,
        backbone_folder,
        methods=methods,
        folds={"only": ["ann"]},
        analysis={"draws": 50, "measures": measures, "baselines": ["gaussian"], "clips_from": "test"},
    )
    experiment = experiment_from(settings)
    return experiment, run(experiment, out)


def test_the_lens_ends_at_each_models_own_answer(corpus, backbone_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("lorascope.report.write_all", lambda folder, _: folder)
    _, results = analysed(corpus, backbone_folder, tmp_path, "layer_sum")
    lens = results["lens"].query("variant == 'corrected'").set_index(["model", "layer"])
    assert lens.loc[("frozen", 3), "kl"] < 1e-6 and lens.loc[("trained", 3), "kl"] < 1e-6
    assert lens.loc[("frozen", 1), "kl"] > 1e-6
    # the frozen model is the frozen encoder with its own sum
    erased = results["erasure"].query("model == 'frozen' and layer == -1")
    assert len(erased) == 1
    notes = results["heads"].query("model == 'trained'")["note"].unique().tolist()
    assert notes == ["the model's head reads all depths: there is no direct contribution"]
    assert len(results["layer_weights"]) == 4


def test_a_head_on_all_depths_side_by_side_has_no_lens_and_all_else(corpus, backbone_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("lorascope.report.write_all", lambda folder, _: folder)
    _, results = analysed(corpus, backbone_folder, tmp_path, "concatenated")
    why = "Left out: lens; the head reads all depths side by side"
    assert any(why in note for note in results.manifest["analysis"]["notes"]) and "lens" not in results.names
    # blocks run one by one, then the head: the same as the model's own answers to the test speaker
    cell = next(path.parent for path in tmp_path.glob("cells/*/metrics.json") if '"lora"' in path.read_text())
    predictions = pd.read_parquet(cell / "predictions.parquet").set_index("clip")
    predictions = predictions.loc[results.manifest["analysis"]["clip_ids"]]
    gold = torch.tensor([CLASSES.index(name) for name in predictions["emotion"]])
    logits = torch.tensor(predictions[[f"logit_{name}" for name in CLASSES]].to_numpy())
    loss = float(torch.nn.functional.cross_entropy(logits, gold))
    erased = results["erasure"].query("model == 'trained'").set_index(["mode", "layer"])
    assert erased.loc[("none", -1), "loss"] == pytest.approx(loss, abs=1e-4)
    assert abs(erased.loc[("single", 1), "loss"] - loss) > 1e-4
    # no frozen head was trained on all depths side by side
    assert set(results["erasure"]["model"]) == {"trained"}
