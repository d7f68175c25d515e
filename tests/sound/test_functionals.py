"""The classic baseline on tones: openSMILE's own values, computed once, and a support vector machine chosen
on the validation speaker.
"""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest

from lorascope.api import run
from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.sound import functionals as classic
from lorascope.sound.decoding import load_audio
from lorascope.statistics.stats import unweighted_average_recall
from lorascope.training import inputs
from lorascope.training.heads import load_head

from ..conftest import make_corpus, settings_of
from ..tiny import CLASSES, write_tone

opensmile = pytest.importorskip("opensmile")


@pytest.fixture
def tones(tmp_path):
    return {f"{hertz}": write_tone(tmp_path / f"{hertz}.wav", hertz, 0.5) for hertz in (150, 300)}


@pytest.fixture
def heard(monkeypatch, tmp_path):
    """Clips whose samples were asked for; with a cache of its own."""
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "cache"))
    return []


def functionals(features, tones, heard, hashes=None):
    def samples(clip):
        heard.append(clip)
        return load_audio(tones[clip])

    return classic.functionals(features, list(tones), hashes or {clip: f"hash of {clip}" for clip in tones}, samples)


@pytest.mark.parametrize(("features", "count"), [("egemaps", 88), ("compare", 6373)])
def test_features_are_opensmile_s_own_of_the_file(tones, heard, features, count):
    found = functionals(features, tones, heard)
    smile = opensmile.Smile(getattr(opensmile.FeatureSet, classic.SETS[features]), opensmile.FeatureLevel.Functionals)
    for clip, path in tones.items():
        assert found[clip].shape == (count,)
        np.testing.assert_allclose(found[clip], smile.process_file(str(path)).to_numpy()[0], rtol=1e-4, atol=1e-4)


def test_features_are_computed_once_for_a_content(tones, heard):
    first = functionals("egemaps", tones, heard)
    assert heard == ["150", "300"]
    again = functionals("egemaps", tones, heard, {"150": "hash of 300", "300": "other content"})
    assert heard == ["150", "300", "300"]
    np.testing.assert_array_equal(again["150"], first["300"])


def test_too_short_a_clip_is_named(tmp_path, heard):
    with pytest.raises(LorascopeError, match="clip click: openSMILE gives no value for 88 of 88"):
        functionals("egemaps", {"click": write_tone(tmp_path / "click.wav", 200, 0.02)}, heard)


def test_without_opensmile_a_run_stops_before_it_writes(corpus, backbone_folder, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "opensmile" else found(name, *a))
    methods = {"frozen": None, "lora": None, "classic": {}}
    with pytest.raises(LorascopeError, match=r"pip install 'lorascope\[classic\]'"):
        run(experiment_from(settings_of(corpus, backbone_folder, methods=methods)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_classic_and_frozen_heads(corpus, backbone_folder, tmp_path):
    methods = {
        "frozen": {"head": "logistic", "C": 1},
        "lora": None,
        "linear": {"kind": "classic", "C": [0.01, 1]},
        "rbf": {"kind": "classic", "kernel": "rbf", "C": [0.01, 1]},
    }
    experiment = experiment_from(settings_of(corpus, backbone_folder, methods=methods))
    results = run(experiment, tmp_path / "run")
    labels = ["frozen, logistic", "eGeMAPS, linear SVM", "eGeMAPS, rbf SVM"]
    assert list(results.table1["label"]) == labels
    comparison = pd.read_csv(tmp_path / "run" / "comparison.csv")
    assert set(zip(comparison["label"], comparison["reference"], strict=True)) == {(x, labels[0]) for x in labels[1:]}
    for file in (tmp_path / "run" / "cells").glob("*/metrics.json"):
        metrics = json.loads(file.read_text())
        if metrics["method"] != "classic":
            continue
        # tones of four pitches: what pitch tells is recognised
        assert metrics["uar"] > 0.7
        assert metrics["features"] == {"set": "eGeMAPSv02", "opensmile": opensmile.__version__}
        scores = [candidate["validation_uar"] for candidate in metrics["candidates"]]
        assert metrics["validation"]["uar"] == max(scores) and len(scores) == 2
        saved, predictions = load_head(file.parent / "adapter"), pd.read_parquet(file.parent / "predictions.parquet")
        features = np.stack(
            [
                classic.functionals(
                    "egemaps",
                    [clip],
                    results.manifest["clips"],
                    lambda clip: pytest.fail(f"{clip} is not in the cache"),
                )[clip]
                for clip in predictions["clip"]
            ]
        )
        logits = saved.logits(features)
        np.testing.assert_array_equal(predictions[[f"logit_{name}" for name in CLASSES]].to_numpy(), logits)
        gold = np.array([CLASSES.index(emotion) for emotion in predictions["emotion"]])
        assert unweighted_average_recall(gold, logits.argmax(axis=1), 4) == pytest.approx(metrics["uar"])


def test_a_sound_that_is_replaced_during_a_run_is_told_and_never_kept_as_the_old_one(
    tmp_path, backbone_folder, monkeypatch
):
    manifest = make_corpus(tmp_path / "corpus")
    methods = {"frozen": None, "lora": None, "linear": {"kind": "classic", "C": 1}}
    changes = {"methods": methods, "folds": {"only": ["ann"]}, "analysis": None}
    experiment = experiment_from(settings_of(manifest, backbone_folder, **changes))
    clip = next((tmp_path / "corpus").glob("ann-anger-0.wav"))
    before, original = clip.read_bytes(), inputs.functionals

    def late(*given):
        # minutes later in a real run: all clips have been hashed, openSMILE reads them now
        write_tone(clip, 1000, 0.5)
        return original(*given)

    def predictions(cache):
        monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / cache))
        return run(experiment, tmp_path / f"run-{cache}").predictions

    monkeypatch.setattr(inputs, "functionals", late)
    with pytest.raises(LorascopeError, match=r"ann-anger-0\.wav: was changed since it was first read; run the same"):
        predictions("disturbed")
    monkeypatch.setattr(inputs, "functionals", original)
    clip.write_bytes(before)
    pd.testing.assert_frame_equal(predictions("disturbed"), predictions("undisturbed"), check_exact=True)
