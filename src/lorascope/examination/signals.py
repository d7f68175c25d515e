"""Sounds that the doctor makes itself, so that an adapter can be heard without a corpus: noise, gliding tones, a buzz
like a voice, silence; and speech, where eSpeak NG is there.
"""

from __future__ import annotations

import numpy as np

from ..sound.features import SAMPLE_RATE

#: Seconds of each: 99 frames of waveform encoders, 100 of Whisper's.
SECONDS = 2.0


def own_signals() -> dict[str, np.ndarray]:
    """Samples at 16 kHz of every signal by name, [samples] each, float32; the same on every call."""
    random = np.random.default_rng(7)
    time = np.arange(int(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    white = random.standard_normal(len(time))
    syllables = 0.5 * (1 - np.cos(2 * np.pi * 4 * time))
    signals = {
        "silence": np.zeros(len(time)),
        "noise": 0.1 * white,
        "low noise": 0.3 * np.convolve(white, np.ones(40) / 40, "same"),
        "bursts": 0.3 * white * syllables**4,
        "rising tone": 0.3 * np.sin(2 * np.pi * (200 * time + 450 * time**2)),
        "falling tone": 0.3 * np.sin(2 * np.pi * (2000 * time - 450 * time**2)),
        "low voice": _buzz(time, 110, -10) * syllables,
        "high voice": _buzz(time, 230, 40) * syllables,
    }
    return {name: samples.astype(np.float32) for name, samples in signals.items()}


def _buzz(time: np.ndarray, pitch: float, rise: float) -> np.ndarray:
    """Harmonics of a gliding pitch (hertz, hertz a second) that fall off as a glottal pulse's do."""
    phase = 2 * np.pi * (pitch * time + rise * time**2 / 2)
    return 0.15 * np.sum([np.sin(number * phase) / number for number in range(1, 20)], axis=0)
