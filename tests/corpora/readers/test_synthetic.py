"""The embedded corpus: full, the same twice, overlapping, and with the prosody that the literature describes,
measured from its WAV files.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorascope.corpora import load_corpus
from lorascope.corpora.readers import synthetic
from lorascope.errors import LorascopeError

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeakng_loader is not installed: pip install 'lorascope[synthetic]'",
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> pd.DataFrame:
    """The default corpus with its measurements, by clip."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORASCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        table = synthetic.read().table
    return pd.concat([table, pd.DataFrame([measurements(path) for path in table["path"]])], axis=1)


def measurements(path: str) -> dict[str, float]:
    """Duration [s], level [dB], peak, and of F0 the mean and the interquartile range [semitones] by
    autocorrelation of voiced frames.
    """
    with wave.open(path) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    size = rate // 25
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    frames = frames[np.square(frames).mean(axis=1) > np.square(samples).mean() / 4]
    spectra = np.abs(np.fft.rfft(frames - frames.mean(axis=1, keepdims=True), 2 * size)) ** 2
    # divided by the overlap, or long periods would look weaker than they are
    lags = np.fft.irfft(spectra)[:, :size] / (1 - np.arange(size) / size)
    shortest, longest = rate // 400, rate // 60
    best = lags[:, shortest:longest].argmax(axis=1) + shortest
    voiced = lags[np.arange(len(lags)), best] > 0.6 * lags[:, 0]
    pitch = 12 * np.log2(rate / best[voiced])
    return {
        "duration": len(samples) / rate,
        "level": 20 * math.log10(math.sqrt(np.square(samples).mean())),
        "peak": float(np.abs(samples).max()),
        "pitch": float(pitch.mean()),
        # not the standard deviation: a few frames that are an octave off would decide it
        "pitch_range": float(np.subtract(*np.percentile(pitch, (75, 25)))),
    }


def content(table: pd.DataFrame) -> dict[str, bytes]:
    return {clip: Path(path).read_bytes() for clip, path in zip(table["id"], table["path"], strict=True)}


@needs_espeak
def test_every_speaker_says_every_sentence_in_every_emotion_once(corpus):
    cells = corpus.groupby(["speaker", "text", "emotion"]).size()
    assert len(cells) == len(corpus) == 6 * 8 * 4
    assert (cells == 1).all()
    assert corpus["speaker"].nunique() == 6 and corpus["text"].nunique() == 8
    assert set(corpus["emotion"]) == {"anger", "happiness", "neutrality", "sadness"}
    assert "s01-t03-anger" in set(corpus["id"]) and corpus["id"].is_unique
    assert (corpus.groupby("speaker")["gender"].nunique() == 1).all() and set(corpus["gender"]) == {"female", "male"}
    assert set(corpus["language"]) == {"en"}


@needs_espeak
def test_it_is_a_corpus_that_says_that_it_is_synthetic(cache):
    corpus = load_corpus("synthetic", speakers=3, sentences=2)
    assert corpus.synthetic and "eSpeak NG" in corpus.notes[0]
    assert len(corpus.clips) == 3 * 2 * 4 and corpus.left_out.empty


@needs_espeak
def test_the_same_options_give_the_same_bytes_in_another_cache(tmp_path, monkeypatch):
    made = []
    for name in ("one", "two"):
        monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / name))
        made.append(content(synthetic.read(speakers=3, sentences=2).table))
        assert len(list((tmp_path / name).iterdir())) == 1
    assert made[0] == made[1]
    assert len(set(made[0].values())) == 3 * 2 * 4


@needs_espeak
def test_seed_and_jitter_change_the_clips_and_no_jitter_ignores_the_seed(cache):
    def made(**options):
        return content(synthetic.read(speakers=3, sentences=2, **options).table)

    first = made(seed=1)
    other = made(seed=2)
    assert all(first[clip] != other[clip] for clip in first)
    assert all(first[clip] != plain for clip, plain in made(seed=1, jitter=0.0).items())
    assert made(seed=1, jitter=0) == made(seed=2, jitter=0.0)


@needs_espeak
def test_what_is_there_is_not_made_again_and_what_is_damaged_is(cache, monkeypatch):
    before = synthetic.read(speakers=3, sentences=2).table
    spoken = content(before)

    def fail(*_):
        raise AssertionError("spoken again")

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "_speak_in_child", fail)
        pd.testing.assert_frame_equal(synthetic.read(speakers=3, sentences=2).table, before)
    Path(before["path"][5]).unlink()
    assert content(synthetic.read(speakers=3, sentences=2).table) == spoken


@needs_espeak
def test_an_interrupted_making_leaves_nothing_behind(cache, monkeypatch):
    def interrupted(folder, clips, loader):
        (folder / f"{clips[0]['id']}.wav").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "_speak_in_child", interrupted)
        with pytest.raises(KeyboardInterrupt):
            synthetic.read(speakers=3, sentences=2)
    assert list(cache.iterdir()) == []


@needs_espeak
def test_prosody_goes_the_published_way(corpus):
    mean = corpus.groupby("emotion")[["duration", "level", "pitch", "pitch_range"]].mean()
    duration, level, pitch, span = (mean[column] for column in mean)
    assert duration["sadness"] > duration["neutrality"] > duration["happiness"] > duration["anger"]
    assert level["anger"] > level["happiness"] > level["neutrality"] > level["sadness"]
    assert pitch["happiness"] > pitch["anger"] > pitch["neutrality"] > pitch["sadness"]
    assert span["happiness"] > span["anger"] > span["neutrality"] > span["sadness"]


@needs_espeak
def test_speakers_have_their_own_pitch_by_gender_and_their_own_rate(corpus):
    neutral = corpus[corpus["emotion"] == "neutrality"].groupby(["gender", "speaker"])[["pitch", "duration"]].mean()
    assert neutral.loc["female", "pitch"].min() > neutral.loc["male", "pitch"].max() + 3
    assert neutral["duration"].nunique() == 6


@needs_espeak
def test_clips_are_short_audible_and_not_clipped(corpus):
    assert corpus["duration"].between(1.5, 3.5).all()
    assert corpus["peak"].between(2000, 32000).all()


@needs_espeak
def test_classes_overlap_on_an_unseen_speaker_and_yet_can_be_told_apart(corpus):
    columns = ["duration", "level", "pitch", "pitch_range"]
    values = (corpus[columns] / corpus[columns].std()).to_numpy()
    emotions, speakers = corpus["emotion"].to_numpy(), corpus["speaker"].to_numpy()
    right = []
    for speaker in set(speakers):
        train = speakers != speaker
        names = sorted(set(emotions))
        centres = np.stack([values[train & (emotions == name)].mean(axis=0) for name in names])
        nearest = np.square(values[~train, None] - centres).sum(axis=2).argmin(axis=1)
        right.extend(np.array(names)[nearest] == emotions[~train])
    # chance is 0.25
    assert 0.5 < np.mean(right) < 0.85


def test_no_option_takes_a_clip_out_of_what_espeak_can_say():
    for seed in range(20):
        plan = synthetic._plan(len(synthetic.SPEAKERS), len(synthetic.SENTENCES), seed, synthetic.MAX_JITTER)
        for clip in plan:
            assert 0 <= clip["pitch"] <= 100 and 0 <= clip["range"] <= 100
            assert 80 <= clip["rate"] <= 450 and 10 <= clip["volume"] <= 100


def test_a_bigger_corpus_contains_the_smaller():
    small = synthetic._plan(3, 2, 42, 1.0)
    assert all(clip in synthetic._plan(5, 4, 42, 1.0) for clip in small)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("speakers", 2),
        ("speakers", len(synthetic.SPEAKERS) + 1),
        ("speakers", "6"),
        ("speakers", True),
        ("sentences", 1),
        ("sentences", len(synthetic.SENTENCES) + 1),
        ("seed", -1),
        ("jitter", -0.1),
        ("jitter", synthetic.MAX_JITTER + 0.1),
        ("jitter", math.nan),
        ("jitter", "much"),
    ],
)
def test_a_bad_option_is_named_in_one_line(cache, option, value):
    with pytest.raises(LorascopeError, match=rf"^corpus\.options\.{option}: .* is not a .*\d") as error:
        synthetic.read(**{option: value})
    assert "\n" not in str(error.value) and not cache.exists()


def test_without_the_package_it_says_how_to_install_it(cache, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(LorascopeError, match=r"pip install 'lorascope\[synthetic\]'") as error:
        synthetic.read()
    assert "\n" not in str(error.value) and not cache.exists()


@needs_espeak
def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(LorascopeError, match=r"file: cannot be written .*LORASCOPE_CACHE"):
        synthetic.read(speakers=3, sentences=2)


@needs_espeak
def test_data_at_a_path_longer_than_espeaks_buffer_are_found(cache, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 120) / ("y" * 120) / "data"
    loader = importlib.import_module("espeakng_loader")
    deep.mkdir(parents=True)
    for part in Path(loader.get_data_path()).iterdir():
        (deep / part.name).symlink_to(part)
    expected = content(synthetic.read(speakers=3, sentences=2).table)
    monkeypatch.setattr(loader, "get_data_path", lambda: deep)
    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "other"))
    assert content(synthetic.read(speakers=3, sentences=2).table) == expected


@needs_espeak
@pytest.mark.parametrize("missing", ["get_library_path", "get_data_path"])
def test_an_espeak_that_cannot_speak_is_one_line_and_leaves_nothing(cache, tmp_path, monkeypatch, missing):
    monkeypatch.setattr(f"espeakng_loader.{missing}", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(LorascopeError, match=r"made no synthetic corpus: .*nowhere") as error:
        synthetic.read(speakers=3, sentences=2)
    assert "\n" not in str(error.value) and list(cache.iterdir()) == []


@needs_espeak
def test_a_voice_that_espeak_does_not_have_is_an_error(cache, monkeypatch):
    voices = (synthetic.Speaker("nobody", "male", 0.0, 170), *synthetic.SPEAKERS)
    monkeypatch.setattr(synthetic, "SPEAKERS", voices)
    with pytest.raises(LorascopeError, match="no voice variant nobody"):
        synthetic.read(speakers=3, sentences=2)


@needs_espeak
def test_a_relative_cache_folder_is_meant_from_where_the_user_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORASCOPE_CACHE", "here")
    table = synthetic.read(speakers=3, sentences=2).table
    assert all(Path(path).is_relative_to(tmp_path / "here") and Path(path).is_file() for path in table["path"])
