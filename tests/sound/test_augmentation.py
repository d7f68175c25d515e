"""Augmented sounds: what stays, what changes and by how much, against independent computations."""

import numpy as np
import pytest

from lorascope.sound import augmentation
from lorascope.sound.augmentation import ON_FEATURES, ON_SAMPLES, gain, noise, room, specaugment, speed
from lorascope.sound.features import LogMelSettings, WaveformSettings

RATE = 16_000
RANDOM = np.random.default_rng(0)
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) + 0.01 * RANDOM.standard_normal(RATE)).astype(np.float32)


@pytest.mark.parametrize("change", [*ON_SAMPLES.values()])
def test_samples_are_drawn_from_the_generator_alone(change):
    one, same = (change(TONE, np.random.default_rng(3)) for _ in range(2))
    assert one.dtype == np.float32 and np.array_equal(one, same)
    assert len({change(TONE, np.random.default_rng(seed)).tobytes() for seed in range(20)}) > 2


def test_noise_has_the_ratio_that_was_drawn():
    for seed in range(5):
        ratio = np.random.default_rng(seed).uniform(*augmentation.NOISE_RATIO)
        added = noise(TONE, np.random.default_rng(seed)).astype(np.float64) - TONE
        found = 10 * np.log10(np.mean(TONE.astype(np.float64) ** 2) / np.mean(added**2))
        assert found == pytest.approx(ratio, abs=0.01)


def test_a_room_keeps_loudness_and_length_and_rings_on():
    click = np.zeros(RATE, np.float32)
    click[100] = 1
    heard = room(click, np.random.default_rng(1))
    assert len(heard) == RATE and np.mean(heard**2) == pytest.approx(np.mean(click**2), rel=1e-4)
    assert not heard[:100].any() or np.abs(heard[:100]).max() < 1e-6
    early, late = (np.square(heard[start : start + 800]).sum() for start in (101, 4000))
    assert early > 100 * late > 0


def test_speed_moves_pitch_and_length_together():
    lengths = {}
    for seed in range(12):
        rate = np.random.default_rng(seed).choice(augmentation.SPEEDS)
        played = speed(TONE, np.random.default_rng(seed))
        lengths[rate] = len(played)
        peak = np.abs(np.fft.rfft(played)).argmax() * RATE / len(played)
        assert peak == pytest.approx(440 * rate, abs=2)
    assert {rate: round(RATE / rate) for rate in augmentation.SPEEDS} == pytest.approx(lengths, abs=1)


def test_gain_of_log_mels_is_that_of_their_samples():
    settings = LogMelSettings()
    features = settings.extract(TONE)
    for seed in range(3):
        decibel = np.random.default_rng(seed).uniform(*augmentation.GAIN)
        wanted = settings.extract(TONE * np.float32(10 ** (decibel / 20))).window(60)
        found = gain(features, settings, np.random.default_rng(seed)).window(60)
        np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_gain_of_a_waveform_is_nothing_where_it_is_normalised():
    for normalise in (True, False):
        settings = WaveformSettings(normalise)
        features = settings.extract(TONE)
        changed = gain(features, settings, np.random.default_rng(0))
        assert np.array_equal(changed.window(10), features.window(10)) == normalise


def test_specaugment_masks_no_more_than_it_may_and_leaves_the_rest():
    settings = LogMelSettings()
    features = settings.extract(TONE)
    before = features.columns.copy()
    seen = set()
    for seed in range(20):
        masked = specaugment(features, settings, np.random.default_rng(seed))
        changed = masked.columns != before
        bands = changed[:, : 2 * features.valid].all(axis=1)
        columns = changed.all(axis=0)
        assert bands.sum() <= 2 * 0.2 * 80 and columns.sum() <= 2 * 0.1 * 2 * features.valid
        assert not changed[~bands][:, ~columns].any()
        seen.add((int(bands.sum()), int(columns.sum())))
        assert masked.valid == features.valid
    assert len(seen) > 10 and np.array_equal(features.columns, before)


def test_specaugment_of_a_waveform_silences_stretches_and_filters_bands():
    settings = WaveformSettings(False)
    sound = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    features = settings.extract(sound)
    silent = []
    for seed in range(10):
        masked = specaugment(features, settings, np.random.default_rng(seed))
        assert len(masked.samples) == len(features.samples)
        silent.append(float((masked.samples == 0).mean()))
    assert 0 < max(silent) <= 0.2
    assert set(ON_FEATURES) == {"gain", "specaugment"}
