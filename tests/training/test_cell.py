"""One cell on a real (tiny) model: what it keeps, what it chooses, and that it can be interrupted."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from lorascope.corpora import load_corpus, make_folds
from lorascope.experiment.methods import FrozenConfig, LoraConfig
from lorascope.experiment.planning import Cell
from lorascope.experiment.trainer import PLAIN, TrainerConfig
from lorascope.models.adapters.folder import load_adapter
from lorascope.models.weights.backbone import load_backbone
from lorascope.store.folder import RunFolder
from lorascope.training import cell as cells
from lorascope.training import fit as fits
from lorascope.training.inputs import Inputs
from lorascope.training.passes import predict_clips
from lorascope.work.kinds.cell import run_cell
from lorascope.work.sources import prepare

from ..tiny import CLASSES


@pytest.fixture(scope="module")
def setting(corpus, backbone_folder):
    table = load_corpus("csv", corpus)

    def load():
        return load_backbone(str(backbone_folder), CLASSES, 42, 16)

    backbone = load()
    clips = prepare(table, backbone)
    labels = {clip: CLASSES.index(emotion) for clip, emotion in table.clips["emotion"].items()}

    def inputs():
        return Inputs(clips, labels, table.clips["speaker"].to_dict(), load, "cpu")

    return inputs, make_folds(table), backbone.fingerprint, load


def make(fold, method, **changes):
    return Cell(
        method=method,
        fold=fold,
        backbone="tiny",
        context="trim",
        classes=CLASSES,
        projection=16,
        precision="fp32",
        seed=42,
        **changes,
    )


LORA = LoraConfig(rank=4, alpha=8, learning_rate=1e-3, epochs=2)
FROZEN = FrozenConfig(learning_rate=(1e-4, 1e-2), epochs=4)


@pytest.mark.parametrize("method", [LORA, FROZEN])
def test_what_is_kept_is_what_was_measured(setting, tmp_path, method):
    inputs, folds, fingerprint, load = setting
    cell, run = make(folds[0], method), RunFolder(tmp_path)
    metrics = run_cell(cell, inputs(), run, fingerprint)
    folder = run.cell(metrics["hash"])
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert set(predictions["clip"]) == set(folds[0].test) and set(predictions["speaker"]) == set(folds[0].test_speakers)
    model = load_adapter(load(), folder / "adapter")
    logits = predict_clips(model, list(predictions["clip"]), inputs().clips, "trim", 4)
    np.testing.assert_allclose(predictions[[f"logit_{name}" for name in CLASSES]], logits, atol=1e-4)
    recalls = [np.mean(predictions["predicted"][predictions["emotion"] == name] == name) for name in CLASSES]
    assert metrics["uar"] == pytest.approx(np.mean(recalls))
    assert metrics["war"] == pytest.approx((predictions["predicted"] == predictions["emotion"]).mean())
    assert np.array(metrics["confusion"]).sum() == len(predictions)
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter",
        "metrics.json",
        "predictions.parquet",
        "seal.json",
        "train.log",
    ]
    assert all(json.loads(line) for line in (folder / "train.log").read_text().splitlines())


def test_the_best_epoch_and_rate_are_chosen_on_the_validation_speaker(setting, tmp_path):
    inputs, folds, fingerprint, load = setting
    cell, run = make(folds[0], FROZEN), RunFolder(tmp_path)
    metrics = run_cell(cell, inputs(), run, fingerprint)
    scores = [(c["validation_uar"], -c["validation_loss"]) for c in metrics["candidates"]]
    assert metrics["chosen"]["learning_rate"] == FROZEN.learning_rate[max(range(2), key=lambda i: scores[i])]
    # the kept weights are those of the best epoch: on the validation clips they give the numbers that it was chosen for
    model = load_adapter(load(), run.cell(metrics["hash"]) / "adapter")
    gold = np.array([inputs().labels[clip] for clip in folds[0].validation])
    logits = torch.tensor(predict_clips(model, folds[0].validation, inputs().clips, "trim", 4))
    assert float(torch.nn.functional.cross_entropy(logits, torch.tensor(gold))) == pytest.approx(
        metrics["validation"]["loss"], abs=1e-4
    )


def test_lora_keeps_the_best_epoch_too(setting, tmp_path):
    inputs, folds, fingerprint, load = setting
    # so large a rate that the last epoch is not the best one
    cell, run = (
        make(folds[1], LoraConfig(rank=4, alpha=8, learning_rate=0.05, epochs=4, dropout=0.0)),
        RunFolder(tmp_path),
    )
    metrics = run_cell(cell, inputs(), run, fingerprint)
    model = load_adapter(load(), run.cell(metrics["hash"]) / "adapter")
    gold = np.array([inputs().labels[clip] for clip in folds[1].validation])
    logits = predict_clips(model, folds[1].validation, inputs().clips, "trim", 4)
    assert float(torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(gold))) == pytest.approx(
        metrics["validation"]["loss"], abs=1e-3
    )


def test_a_whole_cell_is_not_redone_and_settings_change_its_name(setting, tmp_path, monkeypatch):
    inputs, folds, fingerprint, _ = setting
    cell, run = make(folds[0], FROZEN), RunFolder(tmp_path)
    first = run_cell(cell, inputs(), run, fingerprint)
    monkeypatch.setattr(cells, "train_and_test", None)
    assert run_cell(cell, inputs(), run, fingerprint) == first
    clips, labels = inputs().clips, inputs().labels
    swapped = {clip: 3 - label for clip, label in labels.items()}
    names = {
        cell.address(fingerprint, clips, labels),
        make(folds[1], FROZEN).address(fingerprint, clips, labels),
        make(folds[0], LORA).address(fingerprint, clips, labels),
        make(folds[0], FrozenConfig(learning_rate=(1e-4, 1e-2), epochs=5)).address(fingerprint, clips, labels),
        cell.address("other weights", clips, labels),
        cell.address(fingerprint, clips, swapped),
    }
    assert len(names) == 6


def test_a_method_with_another_name_is_not_trained_again(setting, tmp_path, monkeypatch):
    inputs, folds, fingerprint, _ = setting
    run = RunFolder(tmp_path)
    first = run_cell(make(folds[0], FROZEN, name="frozen"), inputs(), run, fingerprint)
    files = {file: file.stat() for file in run.cell(first["hash"]).rglob("*")}
    monkeypatch.setattr(cells, "train_and_test", None)
    again = run_cell(make(folds[0], FROZEN, name="plain", ambiguous=True), inputs(), run, fingerprint)
    assert again == first | {"name": "plain", "label": "frozen (plain)"}
    # what a cell is called is the experiment's business: its folder is not written to again
    assert {file: file.stat() for file in run.cell(first["hash"]).rglob("*")} == files
    assert not {"name", "label", "role"} & set(json.loads((run.cell(first["hash"]) / "metrics.json").read_text()))


@pytest.mark.parametrize(
    "recipe", [{}, pytest.param({"recipe": "robust", "average": 2, "patience": 3}, marks=pytest.mark.slow)]
)
def test_an_interrupted_cell_continues_and_ends_with_the_same_numbers(setting, tmp_path, monkeypatch, recipe):
    inputs, folds, fingerprint, _ = setting
    cell = make(folds[0], LoraConfig(rank=4, alpha=8, learning_rate=1e-3, epochs=3, **recipe))
    undisturbed = run_cell(cell, inputs(), RunFolder(tmp_path / "a"), fingerprint)

    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            if state.epoch and state.epoch >= 1:
                raise KeyboardInterrupt

    trainer = fits.LengthTrainer
    original = trainer.__init__

    def interrupted(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.add_callback(Stop())

    monkeypatch.setattr(trainer, "__init__", interrupted)
    run = RunFolder(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, inputs(), run, fingerprint)
    assert not list((run.root / "cells").glob("[!.]*"))
    assert list((run.root / "cells").glob(".partial-*/candidate-0/trainer/checkpoint-*"))
    monkeypatch.setattr(trainer, "__init__", original)
    continued = run_cell(cell, inputs(), run, fingerprint)
    for key in ("uar", "war", "confusion", "candidates", "loss"):
        assert continued[key] == undisturbed[key], key


def test_the_same_cell_gives_the_same_numbers(setting, tmp_path):
    inputs, folds, fingerprint, _ = setting
    one, two = (run_cell(make(folds[0], LORA), inputs(), RunFolder(tmp_path / name), fingerprint) for name in "ab")
    assert one["loss"] == two["loss"] and one["candidates"] == two["candidates"]


def test_compiled_blocks_train_alike_are_another_cell_and_run_as_they_are_afterwards(setting, tmp_path, monkeypatch):
    inputs, folds, fingerprint, _ = setting
    plain, eager = (
        make(folds[0], LoraConfig(rank=4, alpha=8, learning_rate=1e-3, epochs=1, dropout=0.0), trainer=trainer)
        for trainer in (PLAIN, TrainerConfig(torch_compile=True, torch_compile_backend="eager"))
    )
    compiled, found = [], torch.nn.Module.compile

    def watched(block, *args, **kwargs):
        compiled.append(block)
        return found(block, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "compile", watched)
    one, two = (run_cell(cell, inputs(), RunFolder(tmp_path), fingerprint) for cell in (plain, eager))
    assert one["hash"] != two["hash"] and one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    assert compiled and all(block._compiled_call_impl is None for block in compiled)
    # a head alone has nothing to compile
    heads = [make(folds[0], FROZEN, trainer=cell.trainer).settings for cell in (plain, eager)]
    assert heads[0] == heads[1]


def test_a_training_whose_factors_did_not_move_is_told(setting, tmp_path, monkeypatch):
    """For any cause: here an optimiser that is given the head alone."""
    inputs, folds, fingerprint, _ = setting

    def head_alone(trainer):
        named = [p for name, p in trainer.model.named_parameters() if "modules_to_save" in name and p.requires_grad]
        trainer.optimizer = torch.optim.AdamW(named, lr=1e-3)

    monkeypatch.setattr(fits.LengthTrainer, "create_optimizer", head_alone)
    said = []
    metrics = run_cell(make(folds[0], LORA), inputs(), RunFolder(tmp_path), fingerprint, said.append)
    assert any("every parameter of the adapter is what it began with" in text for text in said)
    assert len(metrics["warnings"]) == 1 and "learning rate 0.001" in metrics["warnings"][0]
    monkeypatch.undo()
    moved = run_cell(make(folds[1], LORA), inputs(), RunFolder(tmp_path), fingerprint, said.append)
    assert "warnings" not in moved
    frozen = run_cell(make(folds[0], FROZEN), inputs(), RunFolder(tmp_path), fingerprint, said.append)
    assert "warnings" not in frozen
