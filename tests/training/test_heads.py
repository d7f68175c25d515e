"""Heads on several depths of a frozen encoder: what each computes, on what it is chosen, and what is kept."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lorascope.corpora import load_corpus, make_folds
from lorascope.errors import LorascopeError
from lorascope.experiment.methods import FrozenConfig
from lorascope.experiment.planning import Cell
from lorascope.models.classifier import Head, initialise_head
from lorascope.models.families.whisper import WhisperClassifier
from lorascope.models.weights.backbone import load_backbone
from lorascope.store.folder import RunFolder
from lorascope.training.heads import LayerSum, load_head
from lorascope.training.inputs import Inputs
from lorascope.work.kinds.cell import run_cell
from lorascope.work.sources import prepare

from ..tiny import CLASSES

HEADS = ("layer_sum", "logistic", "best_layer", "concatenated")
LOGITS = [f"logit_{name}" for name in CLASSES]


def method(head, **settings):
    steps = {"learning_rate": 1e-2, "epochs": 1} if head in ("last", "layer_sum") else {"C": (0.01, 1.0)}
    return FrozenConfig(head=head, **(steps | settings))


@pytest.fixture(scope="module")
def setting(corpus, backbone_folder):
    table = load_corpus("csv", corpus)

    def load():
        return load_backbone(str(backbone_folder), CLASSES, 42, 16)

    clips = prepare(table, load())
    labels = {clip: CLASSES.index(emotion) for clip, emotion in table.clips["emotion"].items()}

    def inputs(**changes):
        speakers = table.clips["speaker"].to_dict()
        given = {"clips": clips, "labels": labels, "speakers": speakers, "load": load, "device": "cpu"}
        return Inputs(**given | changes)

    return inputs, make_folds(table)


def make(fold, head, **settings):
    return Cell(method(head, **settings), fold, "tiny", "trim", CLASSES, 16, "fp32", 42)


def run(cell, inputs, folder):
    return run_cell(cell, inputs, RunFolder(folder), inputs.backbone[1])


def kept(metrics, folder):
    cell = RunFolder(folder).cell(metrics["hash"])
    return load_head(cell / "adapter"), pd.read_parquet(cell / "predictions.parquet")


def stacked(inputs, ids):
    pooled = inputs.pooled("trim", 8)
    return np.stack([pooled[clip] for clip in ids])


def test_a_layer_sum_that_weighs_one_depth_is_the_paper_s_head_there():
    head = Head(32, 16, 4)
    initialise_head(head, 3)
    model, streams = LayerSum(4, head), torch.randn(5, 4, 32)
    torch.testing.assert_close(model(streams).logits, head(streams.mean(dim=1)).logits)  # the start: their mean
    with torch.no_grad():
        model.layer_weights[2] = 100.0
    torch.testing.assert_close(model(streams).logits, head(streams[:, 2]).logits)


def test_every_head_and_fold_together_encode_each_clip_once(setting, tmp_path, monkeypatch):
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "cache"))
    inputs, folds = setting
    passed = []
    encode = WhisperClassifier.encode

    def counting(self, features, valid=None):
        passed.append(len(features))
        return encode(self, features, valid)

    monkeypatch.setattr(WhisperClassifier, "encode", counting)
    shared = inputs()
    for fold in folds[:2]:
        for head in ("last", *HEADS):
            run(make(fold, head), shared, tmp_path / "one")
    assert sum(passed) == len(shared.clips)
    # a second run, in which something else is trained, reads what the first one left
    again = run(make(folds[2], "logistic"), inputs(), tmp_path / "two")
    assert sum(passed) == len(shared.clips) and again["clips"]["test"] > 0


@pytest.mark.parametrize("head", HEADS)
def test_what_is_saved_gives_the_same_logits(setting, tmp_path, head):
    inputs, folds = setting
    metrics = run(make(folds[0], head), inputs(), tmp_path)
    saved, predictions = kept(metrics, tmp_path)
    logits = saved.logits(stacked(inputs(), predictions["clip"]))
    np.testing.assert_array_equal(predictions[LOGITS].to_numpy(), logits)
    recalls = [np.mean(predictions["predicted"][predictions["emotion"] == name] == name) for name in CLASSES]
    assert metrics["uar"] == pytest.approx(np.mean(recalls))
    assert saved.about["head"] == head and tuple(saved.about["classes"]) == CLASSES
    folder = RunFolder(tmp_path).cell(metrics["hash"])
    names = {path.name for path in folder.iterdir()}
    assert names == {"adapter", "metrics.json", "predictions.parquet", "seal.json", "train.log"}
    assert all(json.loads(line) for line in (folder / "train.log").read_text().splitlines())


def test_parameters_are_counted_by_what_was_fitted(setting, tmp_path):
    inputs, folds = setting
    counts = {head: run(make(folds[0], head), inputs(), tmp_path)["trainable_parameters"] for head in ("last", *HEADS)}
    paper = 32 * 16 + 16 + 16 * 4 + 4
    assert counts == {
        "last": paper,
        "layer_sum": paper + 4,
        "logistic": 4 * 32 + 4,
        "best_layer": 4 * 32 + 4,
        "concatenated": 4 * 4 * 32 + 4,
    }


def reference(inputs, fold, depths, C, ids):
    """Probabilities of scikit-learn's own pipeline, [clips, classes]."""
    x, other = (stacked(inputs, part)[:, depths].reshape(len(part), -1).astype(float) for part in (fold.train, ids))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=5000))
    return pipeline.fit(x, [inputs.labels[clip] for clip in fold.train]).predict_proba(other)


def probabilities(logits):
    return torch.tensor(logits).softmax(dim=1).numpy()


@pytest.mark.parametrize(("head", "depths"), [("concatenated", [0, 1, 2, 3]), ("logistic", [3])])
def test_heads_are_scikit_learn_s_own_pipeline(setting, tmp_path, head, depths):
    inputs, folds = setting
    _, predictions = kept(run(make(folds[0], head, C=0.1), inputs(), tmp_path), tmp_path)
    expected = reference(inputs(), folds[0], depths, 0.1, predictions["clip"])
    np.testing.assert_allclose(probabilities(predictions[LOGITS].to_numpy()), expected, atol=1e-8)


def test_depth_and_strength_are_the_best_on_the_validation_speaker(setting, tmp_path):
    inputs, folds = setting
    metrics = run(make(folds[1], "best_layer"), inputs(), tmp_path)
    gold = np.array([inputs().labels[clip] for clip in folds[1].validation])
    scores = {}
    for depth in range(4):
        for C in (0.01, 1.0):
            found = reference(inputs(), folds[1], [depth], C, folds[1].validation)
            recalls = [np.mean(found[gold == label].argmax(axis=1) == label) for label in np.unique(gold)]
            loss = -np.log(found[np.arange(len(gold)), gold]).mean()
            scores[depth, C] = (round(float(np.mean(recalls)), 9), -float(loss))
    assert (metrics["chosen"]["depth"], metrics["chosen"]["C"]) == max(scores, key=scores.__getitem__)
    recorded = {(c["depth"], c["C"]): (c["validation_uar"], -c["validation_loss"]) for c in metrics["candidates"]}
    for key, expected in scores.items():
        assert recorded[key] == pytest.approx(expected, abs=1e-6)
    best = metrics["validation"]["uar"], -metrics["validation"]["loss"]
    assert best == pytest.approx(max(scores.values()), abs=1e-6)


@pytest.mark.parametrize("head", ["layer_sum", "best_layer", "concatenated"])
def test_test_clips_decide_nothing(setting, tmp_path, head):
    inputs, folds = setting
    metrics = run(make(folds[0], head), inputs(), tmp_path / "one")
    saved, _ = kept(metrics, tmp_path / "one")
    # the same cell, but its test clips have wrong labels and sound like nothing that was ever heard
    other = inputs()
    other.labels = {clip: 3 - label if clip in folds[0].test else label for clip, label in other.labels.items()}
    pooled = other.pooled("trim", 8)
    pooled |= {clip: 1000 * pooled[clip] + 7 for clip in folds[0].test}
    changed = run(make(folds[0], head), other, tmp_path / "two")
    assert changed["hash"] != metrics["hash"] and changed["loss"] != metrics["loss"]
    assert changed["chosen"] == metrics["chosen"] and changed["candidates"] == metrics["candidates"]
    again, _ = kept(changed, tmp_path / "two")
    assert again.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        np.testing.assert_array_equal(again.tensors[name], tensor)


def test_a_folder_without_a_head_is_refused(tmp_path):
    with pytest.raises(LorascopeError, match="cannot be read"):
        load_head(tmp_path)
