"""Sounds as people bring them: real files of many encodings become clips, what can't be a clip is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lorascope.errors import LorascopeError
from lorascope.sound.decoding import load_audio
from lorascope.sound.features import SAMPLE_RATE, WINDOW, LogMelSettings, WaveformSettings


def tone(seconds: float, rate: int) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)


def hertz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize(
    ("name", "subtype", "rate"),
    [
        ("a.mp3", "MPEG_LAYER_III", 44_100),
        ("a.ogg", "VORBIS", 44_100),
        ("a.ogg", "OPUS", 48_000),
        ("a.wav", "ALAW", 8_000),
        ("a.wav", "ULAW", 8_000),
        ("a.wav", "PCM_24", 48_000),
        ("a.wav", "FLOAT", 16_000),
        ("a.wav", "DOUBLE", 16_000),
        ("a.wav", "PCM_U8", 11_025),
    ],
)
def test_encodings_are_read(tmp_path: Path, name: str, subtype: str, rate: int) -> None:
    soundfile.write(tmp_path / name, tone(1.0, rate), rate, subtype=subtype)
    samples = load_audio(tmp_path / name)
    assert hertz(samples) == pytest.approx(300, abs=2)
    # MP3 adds silence at both ends, a frame or two of its own
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)


def test_a_silent_side_halves_the_sound_and_no_more(tmp_path: Path) -> None:
    sides = np.stack([tone(1.0, SAMPLE_RATE), np.zeros(SAMPLE_RATE)], axis=1)
    soundfile.write(tmp_path / "a.wav", sides, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), sides[:, 0] / 2, atol=1e-6)


def test_of_45_s_an_encoder_gets_30(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(45.0, 8_000), 8_000)
    samples = load_audio(tmp_path / "a.flac")
    assert len(samples) == 45 * SAMPLE_RATE
    assert LogMelSettings().extract(samples).valid == WINDOW
    assert len(WaveformSettings().extract(samples).samples) <= 30 * SAMPLE_RATE


@pytest.mark.parametrize("samples", [1, 319])
def test_less_than_a_frame_is_refused(tmp_path: Path, samples: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(samples, 0.3), SAMPLE_RATE)
    with pytest.raises(LorascopeError, match=r"a\.wav: .* ms, shorter than one frame \(20 ms\); .*corpus\.exclude"):
        load_audio(tmp_path / "a.wav")


def test_one_frame_is_a_clip_for_whisper_and_too_short_for_a_waveform_encoder(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.02, SAMPLE_RATE), SAMPLE_RATE)
    samples = load_audio(tmp_path / "a.wav")
    assert LogMelSettings().extract(samples).valid == 1
    with pytest.raises(ValueError, match="320 samples, but this encoder needs 400"):
        WaveformSettings().extract(samples)


def test_m4a_is_told_with_the_way_out(tmp_path: Path) -> None:
    # a tone of .1 s, encoded once by FFmpeg, since nothing here encodes AAC
    shutil.copy(Path(__file__).with_name("tone.m4a"), tmp_path / "a.m4a")
    with pytest.raises(LorascopeError, match=r"a\.m4a: MP4 or M4A .*ffmpeg"):
        load_audio(tmp_path / "a.m4a")
