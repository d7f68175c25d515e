"""Synthetic emotional speech, the embedded default corpus for a machine that has none: eSpeak NG speaks neutral sentences with acted prosody.

A full factorial: every speaker says every sentence in every emotion, once. The emotions differ in prosody alone (pitch, pitch range, rate, loudness), so it shows
that the whole chain works and says nothing about human speech.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..cache import cache_folder
from ..errors import LorascopeError
from .corpus import Recordings


@dataclass(frozen=True)
class Prosody:
    """How an utterance departs from its speaker's own neutral voice: pitch [semitones], pitch range [factor], rate [factor], volume [decibels]."""

    pitch: float
    range: float
    rate: float
    volume: float


@dataclass(frozen=True)
class Speaker:
    """An eSpeak NG voice variant with its own shift of pitch [semitones] and rate [words a minute]."""

    variant: str
    gender: str
    pitch: float
    rate: float


#: What each emotion does to the voice.
EMOTIONS = {
    "anger": Prosody(pitch=1.5, range=1.45, rate=1.12, volume=3.0),
    "happiness": Prosody(pitch=2.5, range=1.6, rate=1.05, volume=1.0),
    "neutrality": Prosody(pitch=0.0, range=1.0, rate=1.0, volume=0.0),
    "sadness": Prosody(pitch=-1.5, range=0.65, rate=0.88, volume=-3.0),
}
#: Standard deviations of the jitter of one utterance at `jitter` 1, in the units of `Prosody` (factors as natural logarithms).
SPREAD = Prosody(pitch=1.5, range=0.25, rate=0.06, volume=2.0)
SPEAKERS = (
    Speaker("f1", "female", 0.0, 165),
    Speaker("m1", "male", 0.0, 160),
    Speaker("f2", "female", 1.0, 172),
    Speaker("m3", "male", 1.0, 155),
    Speaker("f4", "female", -1.5, 168),
    Speaker("m7", "male", -0.5, 170),
    Speaker("f3", "female", 0.5, 158),
    Speaker("m2", "male", 1.5, 166),
    Speaker("f5", "female", -1.0, 163),
    Speaker("m4", "male", -1.0, 174),
)
#: Everyday statements with no emotional word, seven to nine syllables.
SENTENCES = (
    "The keys are in the upper drawer.",
    "He put the letter on the table.",
    "We will meet at the station.",
    "The shop opens at half past nine.",
    "She parked the car behind the house.",
    "They moved the desk to the window.",
    "The train to the city leaves at ten.",
    "There are two cups in the kitchen.",
    "The book is on the second shelf.",
    "I will be there in the afternoon.",
)
#: eSpeak NG's values for neutral speech: pitch range (0-100) and volume (100 is its own default); below its defaults, to leave room above without clipping.
NEUTRAL_RANGE, NEUTRAL_VOLUME = 45.0, 55.0
#: Beyond this the jitter would leave eSpeak NG's ranges.
MAX_JITTER = 2.0
_INSTALL = "pip install 'lorascope[synthetic]'"
_FORMAT = 1


def read(speakers: int = 6, sentences: int = 8, seed: int = 42, jitter: float = 1.0) -> Recordings:
    """Make the corpus, or take it from the cache where it was made before with the same options and the same eSpeak NG.

    `speakers` (3 or more) and `sentences` (2 or more) times four emotions are the clips. `seed` draws, and `jitter` scales, each clip's departures from its
    emotion's prosody: 0 is none. The same options give the same bytes. Raises `LorascopeError` for an option out of its range, and where the
    package espeakng-loader is missing or can't speak.
    """
    _check_whole("speakers", speakers, 3, len(SPEAKERS))
    _check_whole("sentences", sentences, 2, len(SENTENCES))
    _check_whole("seed", seed, 0, None)
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= MAX_JITTER:
        raise LorascopeError(f"corpus.options.jitter: {jitter!r} is not a number from 0 to {MAX_JITTER}")
    loader = _loader()
    version = importlib.metadata.version("espeakng-loader")
    clips = _plan(speakers, sentences, seed, float(jitter))
    key = hashlib.sha256(json.dumps([_FORMAT, version, clips], sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_folder().absolute() / f"synthetic-{key}"
    if not _whole(folder, clips):
        _make(folder, clips, loader)
    table = pd.DataFrame(
        {
            "id": [clip["id"] for clip in clips],
            "path": [str(folder / f"{clip['id']}.wav") for clip in clips],
            **{column: [clip[column] for clip in clips] for column in ("speaker", "emotion", "text", "gender")},
            "language": "en",
        }
    )
    note = f"synthetic speech made by eSpeak NG: emotions are prosody rules with jitter {jitter:g}, not human speech"
    return Recordings(table, notes=(note,), synthetic=True)


def _check_whole(option: str, value: object, least: int, most: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        span = f"{least} or more" if most is None else f"from {least} to {most}"
        raise LorascopeError(f"corpus.options.{option}: {value!r} is not a whole number {span}")


def _loader() -> Any:
    try:
        return importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise LorascopeError(f"the synthetic corpus needs eSpeak NG ({error}): {_INSTALL}") from error


def _plan(speakers: int, sentences: int, seed: int, jitter: float) -> list[dict[str, Any]]:
    """One dict a clip: its columns, and what eSpeak NG is told."""
    clips = []
    for s, speaker in enumerate(SPEAKERS[:speakers]):
        for t, text in enumerate(SENTENCES[:sentences]):
            for e, (emotion, prosody) in enumerate(EMOTIONS.items()):
                # a stream a clip: a bigger corpus of the same seed says the same things about the clips of the smaller
                shift = np.random.default_rng([seed, s, t, e]).uniform(-math.sqrt(3), math.sqrt(3), 4) * jitter
                semitones = speaker.pitch + prosody.pitch + shift[0] * SPREAD.pitch
                clips.append(
                    {
                        "id": f"s{s + 1:02}-t{t + 1:02}-{emotion}",
                        "speaker": f"s{s + 1:02}",
                        "emotion": emotion,
                        "text": text,
                        "gender": speaker.gender,
                        "voice": f"en-us+{speaker.variant}",
                        "pitch": round(50 + 50 * semitones / 12),
                        "range": round(NEUTRAL_RANGE * prosody.range * math.exp(shift[1] * SPREAD.range)),
                        "rate": round(speaker.rate * prosody.rate * math.exp(shift[2] * SPREAD.rate)),
                        "volume": round(NEUTRAL_VOLUME * 10 ** ((prosody.volume + shift[3] * SPREAD.volume) / 20)),
                    }
                )
    return clips


def _whole(folder: Path, clips: list[dict[str, Any]]) -> bool:
    return all((folder / f"{clip['id']}.wav").is_file() for clip in clips)


def _make(folder: Path, clips: list[dict[str, Any]], loader: Any) -> None:
    """Speak all clips beside `folder` and move them into place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="synthetic-making-", dir=folder.parent) as beside:
        making = Path(beside) / "clips"
        making.mkdir()
        order = {
            "library": str(loader.get_library_path()),
            "data": str(loader.get_data_path()),
            "folder": str(making),
            "clips": clips,
        }
        # eSpeak NG keeps state between utterances that re-initialising doesn't clear: only a fresh process speaks the same bytes twice
        code = "from lorascope.corpora.synthetic import _speak_order; _speak_order()"
        source = Path(__file__).parents[2]
        told = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(order), capture_output=True, text=True, cwd=source
        )
        if told.returncode != 0 or not _whole(making, clips):
            why = (told.stderr.strip().splitlines() or [f"exit code {told.returncode}"])[-1]
            raise LorascopeError(f"eSpeak NG could not make the synthetic corpus: {why}; try {_INSTALL} again")
        if folder.exists() and not _whole(folder, clips):
            shutil.rmtree(folder)
        try:
            making.rename(folder)
        except OSError:
            # another process was quicker
            if not _whole(folder, clips):
                raise


def _speak_order() -> None:
    """The child process: speak the clips of the order on standard input."""
    order = json.load(sys.stdin)
    _speak(order["library"], order["data"], Path(order["folder"]), order["clips"])


#: espeak_Initialize's output mode (samples to the callback, before espeak_Synth returns) and option (report errors rather than exit); speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_UTF8 = 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}


def _speak(library: str, data: str, folder: Path, clips: list[dict[str, Any]]) -> None:
    espeak = ctypes.CDLL(library)
    rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), _DONT_EXIT)
    if rate <= 0:
        raise LorascopeError(f"eSpeak NG does not start with its data in {data}")
    samples = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def collect(wav: int | None, count: int, _events: int | None) -> int:
        if wav and count:
            samples.extend(ctypes.string_at(wav, 2 * count))
        return 0

    espeak.espeak_SetSynthCallback(collect)
    for clip in clips:
        samples.clear()
        text = clip["text"].encode() + b"\0"
        codes = [espeak.espeak_SetVoiceByName(clip["voice"].encode())]
        codes += [espeak.espeak_SetParameter(number, clip[name], 0) for name, number in _PARAMETERS.items()]
        codes.append(espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None))
        if any(codes) or not samples:
            raise LorascopeError(f"eSpeak NG says nothing for {clip['id']} (codes {codes})")
        with wave.open(str(folder / f"{clip['id']}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(bytes(samples))
