"""Changed clips: what is changed is changed by as much, and what is not stays."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from lorascope.errors import LorascopeError
from lorascope.sound import changed
from lorascope.sound.changed import ChangedClips
from lorascope.sound.features import SAMPLE_RATE, LogMelSettings
from lorascope.sound.resynthesis import (
    Change,
    check_parselmouth,
    levelled,
    locally_reversed,
    low_passed,
    median_f0,
    resynthesised,
)

pytest.importorskip("parselmouth")


def voice(hertz=160.0, semitones=4.0, seconds=1.0) -> np.ndarray:
    """A buzz of ten harmonics whose F0 rises and falls by `semitones` about its middle, and grows louder."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    f0 = hertz * 2 ** (semitones / 12 * np.sin(2 * np.pi * 2 * time))
    phase = 2 * np.pi * np.cumsum(f0) / SAMPLE_RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 11))
    return (0.05 + 0.25 * time / seconds) * buzz * 0.5


def noise(seconds=1.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(int(seconds * SAMPLE_RATE))


def contour(samples: np.ndarray) -> np.ndarray:
    """F0 by autocorrelation of windows of 40 ms, without Praat, hertz."""
    window, found = 640, []
    for at in range(1600, len(samples) - 2000, 400):
        part = samples[at : at + window] - samples[at : at + window].mean()
        similar = np.correlate(part, part, "full")[window - 1 :]
        low, high = SAMPLE_RATE // 500, SAMPLE_RATE // 80
        found.append(SAMPLE_RATE / (low + np.argmax(similar[low:high])))
    return np.array(found)


def semitones(hertz: np.ndarray) -> np.ndarray:
    return 12 * np.log2(hertz / 160.0)


@pytest.mark.parametrize(("shift", "spread"), [(0, 1.0), (3, 1.0), (-3, 1.0), (0, 0.5), (0, 0.0)])
def test_f0_is_moved_and_squeezed_by_what_was_asked(shift, spread):
    found = resynthesised(voice(), Change(shift=shift, spread=spread))
    f0 = semitones(contour(found))
    assert np.median(f0) == pytest.approx(shift, abs=0.35)
    reach = np.subtract(*np.percentile(f0, [90, 10]))
    before = np.subtract(*np.percentile(semitones(contour(voice())), [90, 10]))
    assert reach == pytest.approx(before * spread, abs=0.8)
    assert len(found) == pytest.approx(len(voice()), abs=2)


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_tempo_changes_the_length_and_not_f0(tempo):
    found = resynthesised(voice(semitones=0.0), Change(tempo=tempo))
    assert len(found) == pytest.approx(len(voice()) / tempo, rel=0.01)
    assert np.median(semitones(contour(found))) == pytest.approx(0, abs=0.35)


def test_a_flat_contour_is_flat_and_as_loud():
    found = levelled(voice(semitones=0.0))
    middle = [np.std(part) for part in np.array_split(found[1600:-1600], 8)]
    before = [np.std(part) for part in np.array_split(voice(semitones=0.0)[1600:-1600], 8)]
    assert max(before) / min(before) > 2.5 and max(middle) / min(middle) < 1.1
    assert np.mean(found**2) == pytest.approx(np.mean(voice(semitones=0.0) ** 2))


def test_a_pause_stays_a_pause():
    speech = np.concatenate([voice(), 1e-4 * noise(), voice()])
    pause = levelled(speech)[20_000:28_000]
    assert np.std(pause) < 0.1 * np.std(levelled(speech)[4_000:12_000])


@pytest.mark.parametrize("hertz", [1000.0, 4000.0])
def test_a_low_pass_takes_what_lies_above_and_leaves_what_lies_below(hertz):
    power = np.abs(np.fft.rfft(low_passed(noise(), hertz))) ** 2
    before = np.abs(np.fft.rfft(noise())) ** 2
    at = np.fft.rfftfreq(len(noise()), 1 / SAMPLE_RATE)
    assert power[at > 1.3 * hertz].sum() < 1e-3 * before[at > 1.3 * hertz].sum()
    assert power[at < 0.8 * hertz].sum() == pytest.approx(before[at < 0.8 * hertz].sum(), rel=0.03)


def test_time_runs_backwards_within_windows_alone():
    samples = np.arange(4000.0)
    found = locally_reversed(samples, 0.1)
    assert found[0] == 1599 and found[1599] == 0 and found[1600] == 3199 and found[-1] == 3200
    np.testing.assert_array_equal(locally_reversed(found, 0.1), samples)
    one, two = (np.abs(np.fft.rfft(x[:1600])) for x in (noise(), locally_reversed(noise(), 0.1)))
    np.testing.assert_allclose(one, two, rtol=1e-6)


def test_noise_and_scraps_have_no_voicing():
    assert median_f0(voice()) == pytest.approx(160, rel=0.03)
    assert np.isnan(median_f0(noise())) and np.isnan(median_f0(voice()[:400]))


def test_changed_features_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path))
    asked = []

    def samples(clip):
        asked.append(clip)
        return voice(seconds=0.5)

    clips = ChangedClips({"a": "hash"}, samples, LogMelSettings())
    first = clips.features("a", Change(shift=3))
    again = clips.features("a", Change(shift=3))
    assert len(asked) == 1 and np.array_equal(first.window(50), again.window(50))
    other = clips.features("a", Change(shift=-3))
    assert len(asked) == 2 and not np.array_equal(first.window(50), other.window(50))
    assert clips.features("a", Change(tempo=0.8)).valid == pytest.approx(first.valid / 0.8, abs=1)
    assert clips.medians(["a"]) == clips.medians(["a"]) and len(asked) == 4
    resampled = ChangedClips({"a": "another hash"}, samples, LogMelSettings())
    resampled.features("a", Change(shift=3))
    assert len(asked) == 5


@pytest.mark.slow
def test_clips_can_be_changed_after_a_trace_and_not_after_somebody_elses_nnsight():
    """nnsight gives every object a method `save`, and Praat's classes could not be made after that."""
    code = (
        "import lorascope.analysis.one_pass as one_pass, sys; "
        "from lorascope.sound.resynthesis import check_parselmouth; {first}; check_parselmouth()"
    )
    traced = "\ntry: one_pass.trace(None, iter(()), [])\nexcept AttributeError: pass\nassert 'nnsight' in sys.modules"
    for first, told in (("import nnsight", "import parselmouth before nnsight"), (traced, "")):
        command = code.replace("; {first}; ", f"\n{first.strip()}\n")
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
        assert (told in done.stderr) if told else done.returncode == 0, done.stderr


def test_without_parselmouth_a_line_names_the_extra(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "parselmouth" else there(name))
    with pytest.raises(LorascopeError, match=r"lorascope\[acoustics\]"):
        check_parselmouth()
    with pytest.raises(LorascopeError, match="praat-parselmouth"):
        changed.ChangedClips({}, lambda clip: voice(), LogMelSettings())
