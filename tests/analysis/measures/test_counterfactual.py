"""Counterfactual sound: a model that reads F0 alone flips under its changes and under no other; numbers are those of
the logits; what has no voicing is left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from lorascope.analysis.batches import BatchLimits, Heard
from lorascope.analysis.means import Means
from lorascope.analysis.measure import Batch, Part, Study
from lorascope.analysis.measures import counterfactual as measures
from lorascope.analysis.measures.counterfactual import CHANGES, COMMON, ORIGINAL, RESYNTHESIS, Counterfactual
from lorascope.sound.changed import ChangedClips
from lorascope.sound.features import SAMPLE_RATE, WaveformSettings

from ...sound.test_resynthesis import noise, voice

CLASSES = ("low", "high")
SPEAKERS = ("a", "b", "c")
#: Below this the planted model says `low`, in hertz.
BOUND = 160.0
SECONDS = 0.4


def sounds_of(unvoiced: int = 0) -> dict[str, np.ndarray]:
    """Two clips a speaker, one 2 semitones below the bound and one as much above; then clips without voicing."""
    found = {}
    for number, speaker in enumerate(SPEAKERS):
        for label, name in enumerate(CLASSES):
            hertz = BOUND * 2 ** ((4 * label - 2 + 0.1 * number) / 12)
            found[f"{speaker}-{name}"] = voice(hertz, semitones=0.5, seconds=SECONDS)
    return found | {f"{SPEAKERS[0]}-{CLASSES[0]}-{n}": noise(0.5) for n in range(unvoiced)}


def f0_of(sound: np.ndarray) -> float:
    """F0 by autocorrelation, without Praat, hertz."""
    similar = np.fft.irfft(np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2)
    low, high = SAMPLE_RATE // 400, SAMPLE_RATE // 80
    return SAMPLE_RATE / (low + np.argmax(similar[low:high]))


def answer(samples: torch.Tensor, model: str) -> torch.Tensor:
    """The trained model knows F0 alone, the frozen one length alone."""
    rows = []
    for sound in samples:
        sound = sound[: int(torch.nonzero(sound)[-1]) + 1].double().numpy()
        score = 12 * np.log2(f0_of(sound) / BOUND) if model == "trained" else len(sound) / SAMPLE_RATE - 0.9 * SECONDS
        rows.append([-score, score])
    return torch.tensor(rows, dtype=torch.float32)


def tables(sounds: dict[str, np.ndarray], tmp_path, monkeypatch, headless=()) -> dict[str, pd.DataFrame]:
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path))
    settings = WaveformSettings(normalise=False)
    clips = pd.DataFrame({"clip": list(sounds)})
    clips["speaker"] = clips["clip"].str[0]
    clips["emotion"] = clips["clip"].str.split("-").str[1]
    clips["label"] = clips["emotion"].map(CLASSES.index)
    changed = ChangedClips({name: name for name in sounds}, lambda name: sounds[name], settings)
    study = Study(clips, CLASSES, ("frozen", "trained"), 2, 8, (), {}, headless=frozenset(headless))
    measure = Counterfactual(replace(study, means=Means(changed)))

    def play(measure, clips, features):
        heard = Heard(clips, features, "trim", BatchLimits(3), "cpu", windowed=False)
        for batch in heard.batches():
            for model in study.models:
                if "logits" in measure.parts(model):
                    measure.update(part_of(model, batch))

    play(measure, clips, lambda clip: settings.extract(sounds[clip]))
    for over in measure.passes():
        play(over.measure, over.clips, over.features)
    return measure.compute()


def part_of(model: str, batch: Batch) -> Part:
    identity = torch.nn.Identity()
    return Part(model, "logits", 2, None, answer(batch.features, model), batch, identity, identity)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield tables(sounds_of(), tmp_path_factory.mktemp("cache"), patch)


def row(table: pd.DataFrame, change: str, model: str) -> pd.Series:
    return table[(table["change"] == change) & (table["model"] == model)].iloc[0]


def test_a_model_that_reads_f0_flips_under_its_changes_and_no_other(planted):
    table = planted["counterfactual"]
    for change in ("F0 +3 st", "F0 −3 st"):
        found = row(table, change, "trained")
        assert found["flipped"] == 0.5 and found["delta_uar"] == -0.5 and found["flipped_low"] > 0
    for change in ("tempo ×0.8", "tempo ×1.25", "flat intensity", "flat F0", RESYNTHESIS):
        found = row(table, change, "trained")
        assert found["flipped"] == 0 and found["delta_uar"] == 0, change
    # every speaker's median is that of all already, but for a third of a semitone
    assert row(table, COMMON, "trained")["flipped"] == 0


def test_a_model_that_hears_length_flips_under_tempo_and_the_difference_says_so(planted):
    table = planted["counterfactual"]
    assert row(table, "tempo ×1.25", "frozen")["flipped"] == 1
    assert row(table, "F0 +3 st", "frozen")["flipped"] == 0
    assert row(table, "F0 +3 st", "difference")["flipped"] == 0.5
    assert row(table, "tempo ×1.25", "difference")["flipped"] == -1
    assert table.loc[table["model"] == "difference", "uar"].isna().all()


def test_the_resynthesis_comes_first_and_is_compared_with_the_clips_as_they_are(planted):
    table = planted["counterfactual"]
    assert list(table["change"].unique()) == [RESYNTHESIS, *CHANGES]
    assert set(table.loc[table["change"] == RESYNTHESIS, "against"]) == {ORIGINAL}
    assert set(table.loc[table["change"] != RESYNTHESIS, "against"]) == {RESYNTHESIS}
    assert (table["interval_of"] == "speakers").all() and (table["unvoiced"] == 0).all()


def test_the_gold_class_by_class(planted):
    by_class = planted["counterfactual_classes"].set_index(["change", "model", "emotion"])
    up = {name: by_class.loc[("F0 +3 st", "trained", name), "delta_gold"] for name in CLASSES}
    # what was low is called high; what was high is called so more surely
    assert up["low"] < -0.5 and 0 < up["high"] < 0.1
    all_of_them = row(planted["counterfactual"], "F0 +3 st", "trained")["delta_gold"]
    assert all_of_them == pytest.approx(np.mean(list(up.values())))
    expected = by_class.loc[("F0 +3 st", "trained", "low"), "gold"]
    # 2 semitones below and 3 up: a score of about 1, logits -1 and 1
    assert expected == pytest.approx(1 / (1 + np.exp(2)), abs=0.05)


def test_clips_without_voicing_are_left_out_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(measures, "CHANGES", {"F0 +3 st": CHANGES["F0 +3 st"]})
    table = tables(sounds_of(unvoiced=2), tmp_path, monkeypatch)["counterfactual"]
    assert (table["unvoiced"] == 2).all() and (table["clips"] == 6).all()
    assert row(table, "F0 +3 st", "trained")["flipped"] == 0.5


def test_without_any_voicing_there_is_a_reason_and_no_number(tmp_path, monkeypatch):
    sounds = {f"{speaker}-{name}": noise(0.3) for speaker in SPEAKERS for name in CLASSES}
    found = tables(sounds, tmp_path, monkeypatch)
    table = found["counterfactual"]
    assert len(table) and table[["uar", "flipped", "delta_gold"]].isna().all(axis=None)
    assert table["note"].str.contains("no clip is voiced").all() and (table["unvoiced"] == 6).all()
    assert found["counterfactual_classes"].empty


def test_one_speaker_has_intervals_of_these_clips_and_a_frozen_model_without_a_head_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(measures, "CHANGES", {"flat F0": CHANGES["flat F0"]})
    sounds = {name: sound for name, sound in sounds_of().items() if name[0] == "a"}
    table = tables(sounds, tmp_path, monkeypatch, headless=("frozen",))["counterfactual"]
    assert set(table["model"]) == {"trained"} and set(table["interval_of"]) == {"these clips"}
