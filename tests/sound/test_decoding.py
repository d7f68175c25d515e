"""Sound: any file that soundfile reads becomes Whisper's own features, once; anything else is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import WhisperFeatureExtractor

from lorascope.sound import decoding as audio
from lorascope.sound.decoding import FileHashes, content_hash, load_audio, prepare_clip, prepare_clips
from lorascope.sound.features import SAMPLE_RATE, WINDOW, LogMelSettings, frames_of

from ..corpora.refusals import refused
from ..tiny import write_tone

SETTINGS = LogMelSettings()
WAY_OUT = "corpus.exclude"


def tone(hertz: float, seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def speechlike(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise bursts: features that differ from frame to frame, [samples], float32."""
    random = np.random.default_rng(seed)
    samples = random.standard_normal(round(seconds * SAMPLE_RATE))
    loudness = np.repeat(random.uniform(0.001, 0.3, size=len(samples) // 800 + 1), 800)[: len(samples)]
    return (samples * loudness).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def strongest(samples: np.ndarray) -> float:
    """Frequency of the highest peak of the spectrum, hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)[spectrum.argmax()])


# decoding


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_414, 44_100, 48_000, 96_000])
def test_a_resampled_tone_keeps_frequency_length_and_loudness(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(440, 1.5, rate), rate)
    samples = load_audio(tmp_path / "tone.wav")
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) == pytest.approx(1.5 * SAMPLE_RATE, abs=1)
    assert strongest(samples) == pytest.approx(440, abs=1)
    middle = samples[4000:-4000]
    assert np.sqrt(2 * np.mean(middle.astype(float) ** 2)) == pytest.approx(0.4, rel=0.01)


def test_what_16_khz_cannot_hold_is_filtered_and_not_folded_back(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tone.wav", tone(440, 1, 48_000) + tone(11_000, 1, 48_000), 48_000)
    samples = load_audio(tmp_path / "tone.wav")[2000:-2000]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    # 11 kHz would fold back to 5 kHz
    assert spectrum[abs(hertz - 5000) < 50].max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    random = np.random.default_rng(0)
    sound = random.uniform(-0.5, 0.5, (3000, channels))
    soundfile.write(tmp_path / "many.wav", sound, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "many.wav"), sound.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.flac", "PCM_16"),
        ("a.aiff", "PCM_16"),
        ("a.ogg", "VORBIS"),
        ("a.mp3", "MPEG_LAYER_III"),
    ],
)
def test_any_format_that_soundfile_reads(tmp_path: Path, name: str, subtype: str) -> None:
    soundfile.write(tmp_path / name, tone(300, 1, 16_000), SAMPLE_RATE, subtype=subtype)
    assert strongest(load_audio(tmp_path / name)) == pytest.approx(300, abs=2)


def test_a_file_named_otherwise_than_it_is(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.aiff", tone(300, 1), SAMPLE_RATE)
    (tmp_path / "a.aiff").rename(tmp_path / "a.wav")
    assert len(load_audio(tmp_path / "a.wav")) == SAMPLE_RATE


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_piece_is_cut_at_its_bounds(tmp_path: Path, rate: int) -> None:
    sound = np.concatenate([tone(300, 1, rate), tone(600, 1, rate), tone(900, 1, rate)])
    soundfile.write(tmp_path / "three.wav", sound, rate)
    for start, end, hertz, seconds in (
        (None, 1.0, 300, 1),
        (1.0, 2.0, 600, 1),
        (2.0, None, 900, 1),
        (1.25, 1.75, 600, 0.5),
    ):
        piece = load_audio(tmp_path / "three.wav", start, end)
        assert len(piece) == pytest.approx(seconds * SAMPLE_RATE, abs=1) and strongest(piece) == pytest.approx(
            hertz, abs=2
        )


def test_pieces_together_are_the_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speechlike(1.0), SAMPLE_RATE, subtype="FLOAT")
    path, bounds = tmp_path / "a.wav", [0.0, 0.1234, 0.5, 1.0]
    pieces = [load_audio(path, *bounds[number : number + 2]) for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(pieces), load_audio(path))


# what is wrong with a file


def _write(path: Path, sound: np.ndarray, rate: int = SAMPLE_RATE) -> Path:
    soundfile.write(path, sound, rate, subtype="FLOAT")
    return path


def broken(folder: Path, kind: str) -> Path:
    path = folder / "clip.wav"
    if kind == "text":
        path.write_text("this is no sound")
    elif kind == "no bytes":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut flac":
        path = folder / "clip.flac"
        soundfile.write(path, speechlike(2), SAMPLE_RATE)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "no samples":
        _write(path, np.zeros(0))
    elif kind == "NaN":
        _write(path, np.where(np.arange(800) == 400, np.nan, 0.1))
    elif kind == "infinite":
        _write(path, np.where(np.arange(800) == 400, np.inf, 0.1))
    elif kind == "silent":
        _write(path, np.full(8000, 1e-6))
    elif kind == "cancelling channels":
        _write(path, np.stack([tone(300, 1), -tone(300, 1)], axis=1))
    return path


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", "no such file"),
        ("folder", "no such file"),
        ("text", "cannot be read as audio"),
        ("no bytes", "cannot be read as audio"),
        ("cut flac", "cannot be read as audio"),
        ("no samples", "no samples"),
        ("NaN", "1 samples are NaN or infinite"),
        ("infinite", "1 samples are NaN or infinite"),
        ("silent", "silence"),
        ("cancelling channels", "silence"),
    ],
)
def test_a_wrong_file_is_named_with_the_way_out(tmp_path: Path, cache: Path, kind: str, told: str) -> None:
    path = broken(tmp_path, kind)
    refused(lambda: load_audio(path), str(path), told, WAY_OUT)
    refused(lambda: prepare_clip(str(path), SETTINGS), str(path), WAY_OUT)
    assert not list(cache.rglob("*.npz"))


def test_silence_within_a_piece_is_still_silence(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.wav", np.concatenate([tone(300, 1), np.zeros(16_000)]))
    assert len(load_audio(path)) == 32_000
    refused(lambda: load_audio(path, 1.2, 1.8), str(path), "silence", "1.2 s")


@pytest.mark.parametrize(("start", "end"), [(2.0, None), (2.0, 3.0), (0.5, 1.5), (0.0, 1.1)])
def test_a_piece_beyond_the_files_end_is_refused(tmp_path: Path, start: float, end: float | None) -> None:
    path = _write(tmp_path / "a.wav", tone(300, 1))
    refused(lambda: load_audio(path, start, end), str(path), "1 s long", "start")


def test_an_end_rounded_up_within_a_frame_is_the_files_end(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.wav", tone(300, 0.995))
    assert len(load_audio(path, 0.5, 1.0)) == round(0.495 * SAMPLE_RATE)


@pytest.mark.parametrize(("start", "end"), [(-0.5, None), (0.5, 0.5), (0.7, 0.2)])
def test_a_piece_that_runs_backwards_is_refused(tmp_path: Path, start: float, end: float | None) -> None:
    path = _write(tmp_path / "a.wav", tone(300, 1))
    refused(lambda: load_audio(path, start, end), str(path), f"{start} s", "start")


@pytest.mark.parametrize("milliseconds", [20, 21, 40])
@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_a_frame_is_a_clip_at_any_rate(tmp_path: Path, milliseconds: int, rate: int) -> None:
    path = _write(tmp_path / "a.wav", np.full(milliseconds * rate // 1000, 0.5), rate)
    clip = prepare_clip(str(path), SETTINGS)
    assert clip.features.valid == 1 + (milliseconds > 20) and np.isfinite(clip.features.columns).all()


# frames


def test_frames_are_fifty_a_second_rounded_up() -> None:
    for samples in [*range(1, 2000), 15_999, 16_000, 16_001, 479_680, 479_681, 480_000, 480_001, 10**7]:
        assert frames_of(samples) == min(-(-samples * 50 // 16_000), WINDOW)


def test_frames_by_seconds() -> None:
    assert [frames_of(round(seconds * SAMPLE_RATE)) for seconds in (0.02, 0.021, 1.0, 2.345, 30, 31)] == [
        1,
        2,
        50,
        118,
        1500,
        1500,
    ]


# features


@pytest.mark.parametrize("seconds", [0.03, 0.5, 1.0, 3.217, 12.0, 29.99, 29.995, 30.0, 30.5, 47.0])
def test_the_window_is_exactly_whispers_own(seconds: float) -> None:
    samples = speechlike(seconds)
    expected = WhisperFeatureExtractor()(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0]
    features = SETTINGS.extract(samples)
    assert expected.shape == (80, 3000)
    np.testing.assert_array_equal(features.window(1500), expected)
    assert features.window().dtype == np.float32
    assert features.valid == frames_of(len(samples))


@pytest.mark.parametrize("seconds", [2.5, 10.0, 12.0])
def test_an_encoder_of_a_shorter_window_is_given_its_own(seconds: float) -> None:
    samples = speechlike(seconds)
    found = LogMelSettings(longest=500).extract(samples)
    stock = WhisperFeatureExtractor(chunk_length=10)(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")
    assert np.array_equal(found.window(found.longest), stock["input_features"][0])
    assert found.valid == min(round(50 * seconds), 500) and found.window(500).shape == (80, 1000)
    assert LogMelSettings(longest=500).key != LogMelSettings().key == [80]


def test_a_shorter_window_is_the_prefix_of_the_whole() -> None:
    features = SETTINGS.extract(speechlike(2.0))
    whole = features.window(1500)
    for frames in (1, 50, 99, 100, 101, 102, 150, 1499):
        np.testing.assert_array_equal(features.window(frames), whole[:, : 2 * frames])


def test_only_the_clip_is_kept() -> None:
    features = SETTINGS.extract(speechlike(2.0))
    # the extractor's window of 25 ms reaches over the clip's end
    assert 2 * features.valid <= features.columns.shape[1] <= 2 * features.valid + 4
    assert SETTINGS.extract(speechlike(40.0)).columns.shape == (80, 3000)


def test_a_window_can_be_written_to_without_harm() -> None:
    features = SETTINGS.extract(speechlike(2.0))
    before = features.columns.copy()
    for frames in (50, 1500):
        features.window(frames)[:] = 0
    np.testing.assert_array_equal(features.columns, before)


def test_large_v3_has_128_mel_bins() -> None:
    samples = speechlike(1.0)
    features = LogMelSettings(mels=128).extract(samples)
    expected = WhisperFeatureExtractor(feature_size=128)(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")
    np.testing.assert_array_equal(features.window(), expected["input_features"][0])
    assert features.columns.shape[0] == 128


def test_features_do_not_depend_on_what_was_computed_before() -> None:
    alone = LogMelSettings().extract(speechlike(1.0, seed=1)).window()
    settings = LogMelSettings()
    for seed in (2, 3, 1):
        last = settings.extract(speechlike(1.0, seed=seed)).window()
    np.testing.assert_array_equal(last, alone)


# the cache


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are decoded from now on."""
    decoded: list[str] = []
    original = audio.load_audio

    def watched(path: str, *bounds: float | None) -> np.ndarray:
        decoded.append(str(path))
        return original(path, *bounds)

    monkeypatch.setattr(audio, "load_audio", watched)
    return decoded


def test_a_second_call_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write_tone(tmp_path / "a.wav", seconds=0.7))
    decoded = counting(monkeypatch)
    first, second = prepare_clip(path, SETTINGS), prepare_clip(path, SETTINGS)
    assert decoded == [path]
    assert (
        (first.hash, first.seconds, first.features.valid)
        == (second.hash, second.seconds, second.features.valid)
        == (content_hash(path), 0.7, 35)
    )
    np.testing.assert_array_equal(first.features.columns, second.features.columns)
    np.testing.assert_array_equal(first.features.window(), SETTINGS.extract(load_audio(path)).window())


def test_changed_content_is_computed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tone(tmp_path / "a.wav", hertz=200)
    decoded = counting(monkeypatch)
    first = prepare_clip(str(path), SETTINGS)
    times = path.stat()
    write_tone(path, hertz=400)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # neither time nor size tells that it changed
    second = prepare_clip(str(path), SETTINGS)
    assert len(decoded) == 2 and first.hash != second.hash
    assert not np.array_equal(first.features.window(), second.features.window())


def test_the_same_content_elsewhere_is_the_same_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tone(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(path.read_bytes())
    decoded = counting(monkeypatch)
    assert prepare_clip(str(path), SETTINGS).hash == prepare_clip(str(tmp_path / "b.wav"), SETTINGS).hash
    assert len(decoded) == 1


def test_pieces_and_mel_bins_have_their_own_entries(tmp_path: Path) -> None:
    path = str(write_tone(tmp_path / "a.wav", seconds=1.0))
    whole, piece = prepare_clip(path, SETTINGS), prepare_clip(path, SETTINGS, 0.0, 0.5)
    assert whole.hash != piece.hash and (whole.seconds, piece.seconds) == (1.0, 0.5)
    wide = prepare_clip(path, LogMelSettings(mels=128))
    assert wide.hash == whole.hash and wide.features.columns.shape[0] == 128
    assert prepare_clip(path, SETTINGS).features.columns.shape[0] == 80


def test_a_damaged_entry_is_made_anew(tmp_path: Path, cache: Path) -> None:
    path = str(write_tone(tmp_path / "a.wav"))
    first = prepare_clip(path, SETTINGS)
    (entry,) = cache.rglob("*.npz")
    for damage in (b"", entry.read_bytes()[:100]):
        entry.write_bytes(damage)
        np.testing.assert_array_equal(prepare_clip(path, SETTINGS).features.columns, first.features.columns)
        assert entry.stat().st_size > 1000


def test_nothing_half_written_stays(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write_tone(tmp_path / "a.wav"))

    def full(file, **arrays) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audio.np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        prepare_clip(path, SETTINGS)
    assert not [file for file in cache.rglob("*") if file.is_file()]


def test_the_format_is_told_by_the_content_not_by_the_name(tmp_path: Path) -> None:
    """TESS holds AIFF files named .wav."""
    wav = write_tone(tmp_path / "a.wav", rate=24_414)
    samples, rate = soundfile.read(wav, dtype="int16")
    soundfile.write(tmp_path / "b.wav", samples, rate, format="AIFF")
    assert (tmp_path / "b.wav").read_bytes()[:4] == b"FORM"
    np.testing.assert_array_equal(load_audio(tmp_path / "b.wav"), load_audio(wav))


def test_many_clips_by_id(tmp_path: Path) -> None:
    paths = [write_tone(tmp_path / f"{number}.wav", seconds=0.5 + 0.1 * number, seed=number) for number in range(3)]
    clips = prepare_clips([(path.stem, str(path), None, None) for path in paths], SETTINGS)
    assert list(clips) == ["0", "1", "2"]
    assert [clip.features.valid for clip in clips.values()] == [25, 30, 35]


def test_a_hash_is_of_the_bytes(tmp_path: Path) -> None:
    import hashlib

    path = write_tone(tmp_path / "a.wav")
    assert content_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (
        len({content_hash(path), content_hash(path, 0.0, 0.2), content_hash(path, 0.0, 0.3), content_hash(path, 0.1)})
        == 4
    )
    refused(lambda: content_hash(tmp_path / "gone.wav"), str(tmp_path / "gone.wav"), WAY_OUT)


def test_a_file_of_many_pieces_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long, other = write_tone(tmp_path / "long.wav", seconds=1.0), write_tone(tmp_path / "other.wav", hertz=333.0)
    pieces = [(str(n), str(long), n / 10, (n + 1) / 10) for n in range(10)]
    clips = [*pieces[:5], ("other", str(other), None, None), *pieces[5:]]
    apart = {name: content_hash(path, start, end) for name, path, start, end in clips}
    read: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or whole(path))
    found = prepare_clips(clips, SETTINGS)
    # hashed and decoded from the same bytes; read a second time when another file came between
    assert [path for path in read if path in (long, other)] == [long, other, long]
    assert {name: clip.hash for name, clip in found.items()} == apart and len(set(apart.values())) == 11


def test_a_file_that_changes_between_pieces_is_hashed_again(tmp_path: Path) -> None:
    path, hashes = write_tone(tmp_path / "a.wav"), FileHashes()
    before = hashes.of(path, 0.0, 0.1)
    write_tone(path, hertz=333.0)
    assert hashes.of(path, 0.0, 0.1) == content_hash(path, 0.0, 0.1) != before
