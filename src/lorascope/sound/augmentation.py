"""Other versions of a clip to train on: its samples at another speed, in a room or in noise, its features louder or
with parts missing. Nothing here is drawn but from the generator that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.signal import fftconvolve

from .features import SAMPLE_RATE, Features, FeatureSettings, LogMel, Waveform, WaveformSettings

#: Speeds among which one is drawn (Ko et al. 2015).
SPEEDS = (0.9, 1.0, 1.1)
#: Bounds of the signal-to-noise ratio, dB, and of the exponent by which the noise's power falls with frequency (0:
#: white, 1: pink, 2: brown).
NOISE_RATIO, NOISE_COLOUR = (10.0, 30.0), (0.0, 2.0)
#: Bounds of a room's reverberation time RT60, seconds, and of its direct-to-reverberant ratio, dB.
ROOM_TIME, ROOM_RATIO = (0.1, 0.5), (0.0, 15.0)
#: Bounds of the gain, dB.
GAIN = (-6.0, 6.0)
#: SpecAugment's masks of each kind, and the largest share of the bands and of the clip's columns that one takes.
MASKS, MASKED_BANDS, MASKED_COLUMNS = 2, 0.2, 0.1


def speed(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[samples] played at one of `SPEEDS`, pitch and tempo together."""
    import soxr

    rate = random.choice(SPEEDS)
    if rate == 1.0:
        return samples
    return soxr.resample(samples, SAMPLE_RATE * rate, SAMPLE_RATE, quality="HQ").astype(np.float32)


def room(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[samples] in a room: convolved with a direct path and a tail of Gaussian noise that has fallen by 60 dB after the
    reverberation time (Polack 1988); as loud as before.
    """
    seconds, ratio = random.uniform(*ROOM_TIME), random.uniform(*ROOM_RATIO)
    time = np.arange(1, max(2, round(seconds * SAMPLE_RATE))) / SAMPLE_RATE
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    tail *= 10 ** (-ratio / 20) / np.sqrt((tail**2).sum())
    heard = fftconvolve(samples, np.concatenate([[1.0], tail]))[: len(samples)]
    return (heard * _rms(samples) / max(_rms(heard), 1e-12)).astype(np.float32)


def noise(samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[samples] with Gaussian noise of a random colour at a random signal-to-noise ratio over the whole clip."""
    ratio, colour = random.uniform(*NOISE_RATIO), random.uniform(*NOISE_COLOUR)
    spectrum = np.fft.rfft(random.standard_normal(len(samples)))
    frequencies = np.arange(len(spectrum))
    frequencies[0] = 1
    drawn = np.fft.irfft(spectrum * frequencies ** (-colour / 2), len(samples))
    return (samples + drawn * _rms(samples) * 10 ** (-ratio / 20) / _rms(drawn)).astype(np.float32)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def gain(features: Features, settings: FeatureSettings, random: np.random.Generator) -> Features:
    """The clip louder or softer. Whisper's log-mel is (log10 power + 4) / 4, so a gain of g dB adds g / 40, exact but
    at its floor; of a waveform that is normalised nothing is left to change.
    """
    decibel = random.uniform(*GAIN)
    if isinstance(features, LogMel):
        return replace(features, columns=features.columns + np.float32(decibel / 40))
    assert isinstance(features, Waveform) and isinstance(settings, WaveformSettings)
    if settings.normalise:
        return features
    return replace(features, samples=features.samples * np.float32(10 ** (decibel / 20)))


def specaugment(features: Features, settings: FeatureSettings, random: np.random.Generator) -> Features:
    """SpecAugment (Park et al. 2019) without its warping: bands of frequency and stretches of speech are the clip's
    mean.

    On a waveform, as SpeechBrain has it: stretches are silent, and bands (of equal width on the mel scale) filtered
    out.
    """
    if isinstance(features, LogMel):
        return _mask_log_mel(features, random)
    assert isinstance(features, Waveform)
    spectrum = np.fft.rfft(features.samples)
    mel = 2595 * np.log10(1 + np.linspace(0, SAMPLE_RATE / 2, len(spectrum)) / 700)
    for _ in range(MASKS):
        width = random.uniform(0, MASKED_BANDS) * mel[-1]
        start = random.uniform(0, mel[-1] - width)
        spectrum[(mel >= start) & (mel < start + width)] = 0
    samples = np.fft.irfft(spectrum, len(features.samples)).astype(np.float32)
    for start, end in _stretches(len(samples), MASKED_COLUMNS, random):
        samples[start:end] = 0
    return replace(features, samples=samples)


def _mask_log_mel(features: LogMel, random: np.random.Generator) -> LogMel:
    columns = features.columns.copy()
    spoken = columns[:, : 2 * features.valid]
    mean = spoken.mean()
    for start, end in _stretches(len(columns), MASKED_BANDS, random):
        columns[start:end] = mean
    for start, end in _stretches(spoken.shape[1], MASKED_COLUMNS, random):
        columns[:, start:end] = mean
    return replace(features, columns=columns)


def _stretches(length: int, share: float, random: np.random.Generator) -> list[tuple[int, int]]:
    """Bounds of `MASKS` stretches, each up to `share` of the length."""
    found = []
    for _ in range(MASKS):
        width = int(random.integers(0, int(share * length) + 1))
        start = int(random.integers(0, length - width + 1))
        found.append((start, start + width))
    return found


#: What is done to samples, and what to features, by the settings' names, in the order in which it is done.
ON_SAMPLES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "speed": speed,
    "rir": room,
    "noise": noise,
}
ON_FEATURES: dict[str, Callable[[Features, FeatureSettings, np.random.Generator], Features]] = {
    "gain": gain,
    "specaugment": specaugment,
}
