"""Synthetic emotional speech, the embedded default corpus for a machine that has none: eSpeak NG speaks neutral
sentences with acted prosody.

A full factorial: every speaker says every sentence in every emotion, once. Emotions differ in prosody alone, so the
corpus shows that the whole chain works and says nothing about human speech. What sets which parameter of `EMOTIONS`:

- Murray & Arnott (1993), a review of acted speech: anger and happiness have a much higher mean pitch, a much wider
  pitch range and a higher intensity; anger is slightly faster, happiness faster or slower; sadness is slightly lower,
  slightly narrower, slightly slower and softer.
- Burkhardt & Sendlmeier (2000), listening tests on formant synthesis (as tabulated by Schröder 2001, Table 1): joy has
  mean pitch +50 %, pitch range +100 %, tempo +30 %. So happiness is faster rather than slower, and has the highest
  pitch and the widest range, although Murray & Arnott (1993) put anger's pitch above it.
- Murray & Arnott (1995), rules for synthesis (ibid.): anger has mean pitch +10 Hz, rate +30 words a minute, loudness +6
  dB. So anger is the fastest and the loudest.

The directions are theirs; the sizes are ours, mostly smaller, so that the jitter makes classes overlap.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import json
import logging
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

from ...errors import LorascopeError
from ...machine.requirements import require
from ...store.cache import cache_folder
from ...store.folder import digest
from ...store.seals import fault, is_sealed, seal
from ..corpus import About, Recordings


@dataclass(frozen=True)
class Prosody:
    """How an utterance departs from its speaker's own neutral voice: pitch [semitones], pitch range [factor], rate
    [factor], volume [decibels].
    """

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


ABOUT = About("Synthetic speech by eSpeak NG", "English", "synthetic", None, None, "made here", "none")
#: What each emotion does to the voice; sources in the module's docstring.
EMOTIONS = {
    "anger": Prosody(pitch=3.0, range=1.6, rate=1.15, volume=4.0),
    "happiness": Prosody(pitch=5.0, range=1.9, rate=1.07, volume=1.0),
    "neutrality": Prosody(pitch=0.0, range=1.0, rate=1.0, volume=0.0),
    "sadness": Prosody(pitch=-2.0, range=0.6, rate=0.85, volume=-4.0),
}
#: Standard deviations of one utterance's jitter at `jitter` 1, in the units of `Prosody`, factors as natural
#: logarithms. At 1, leave-one-speaker-out logistic regression on frozen Whisper tiny.en reaches a UAR of .65 to .8, by
#: seed; a classifier told each speaker's means would pass .9.
SPREAD = Prosody(pitch=1.2, range=0.11, rate=0.04, volume=1.1)
SPEAKERS = (
    Speaker("f1", "female", 0.0, 178),
    Speaker("m1", "male", 0.0, 172),
    Speaker("f2", "female", 1.0, 186),
    Speaker("m3", "male", 1.0, 164),
    Speaker("f4", "female", -1.5, 181),
    Speaker("m7", "male", -0.5, 184),
    Speaker("f3", "female", 0.5, 170),
    Speaker("m2", "male", 1.5, 179),
    Speaker("f5", "female", -1.0, 176),
    Speaker("m4", "male", -1.0, 187),
)
#: Everyday statements with no emotional word, about 2.3 s in neutral speech.
SENTENCES = (
    "The keys are lying in the upper drawer of the desk.",
    "He put the letter on the table next to the lamp.",
    "We will meet the others at the entrance to the station.",
    "The shop on the corner opens at half past nine.",
    "She parked the car behind the house this afternoon.",
    "They moved the chairs to the other side of the room.",
    "The train to the city leaves from the second platform.",
    "There are two cups and a plate in the kitchen.",
    "The book that you asked for is on the lower shelf.",
    "I will bring the papers to the office in the morning.",
)
#: eSpeak NG's pitch range (its default is 50, its limit 100) and volume (100; beyond, voices clip) of neutral speech:
#: low, to leave anger and happiness room.
NEUTRAL_RANGE, NEUTRAL_VOLUME = 35.0, 40.0
#: Beyond this the most extreme clip would leave eSpeak NG's ranges.
MAX_JITTER = 2.0
#: Counts up when clips change for the same plan, so that no cache serves the old ones.
_FORMAT = 1
# from eSpeak NG's speak_lib.h: samples go to the callback before espeak_Synth returns; errors are returned, not
# exited on; text is UTF-8
_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}


def read(speakers: int = 6, sentences: int = 8, seed: int = 42, jitter: float = 1.0) -> Recordings:
    """Make the corpus, or take it from the cache where it was made before with the same options and the same eSpeak NG.

    `speakers` (3 to 10) times `sentences` (2 to 10) times four emotions are the clips, 16-bit WAV at eSpeak NG's rate
    in `cache_folder()`. `seed` draws, and `jitter` (0 to 2) scales, what each clip departs from its emotion's pitch,
    range, rate and volume. The same options give the same bytes. Raises `LorascopeError` for an option out of its
    range, where the package espeakng-loader is missing or can't speak, and where the cache can't be written.
    """
    _check_whole("speakers", speakers, 3, len(SPEAKERS))
    _check_whole("sentences", sentences, 2, len(SENTENCES))
    _check_whole("seed", seed, 0, None)
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= MAX_JITTER:
        raise LorascopeError(f"corpus.options.jitter: {jitter!r} is not a number from 0 to {MAX_JITTER:g}")
    loader, version = _loader()
    clips = _plan(speakers, sentences, seed, float(jitter))
    # absolute: the child process has another working folder
    folder = cache_folder().absolute() / f"synthetic-{digest([_FORMAT, version, clips])}"
    if not _whole(folder, clips):
        _make(folder, clips, loader)
    table = pd.DataFrame(clips)[["id", "speaker", "emotion", "text", "gender"]]
    table = table.assign(path=[str(folder / f"{clip}.wav") for clip in table["id"]], language="en")
    note = f"synthetic speech made by eSpeak NG: emotions are prosody rules with jitter {jitter:g}, not human speech"
    return Recordings(table, notes=(note,), synthetic=True)


def _check_whole(option: str, value: object, least: int, most: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        span = f"{least} or more" if most is None else f"from {least} to {most}"
        raise LorascopeError(f"corpus.options.{option}: {value!r} is not a whole number {span}")


def _loader() -> tuple[Any, str]:
    require("espeakng-loader")
    try:
        return importlib.import_module("espeakng_loader"), importlib.metadata.version("espeakng-loader")
    except ImportError as error:
        raise LorascopeError(
            f"corpus.reader: synthetic speech needs eSpeak NG ({error}): pip install 'lorascope[synthetic]'"
        ) from error


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
                        "variant": speaker.variant,
                        "pitch": round(50 + 50 * semitones / 12),
                        "range": round(NEUTRAL_RANGE * prosody.range * math.exp(shift[1] * SPREAD.range)),
                        "rate": round(speaker.rate * prosody.rate * math.exp(shift[2] * SPREAD.rate)),
                        "volume": round(NEUTRAL_VOLUME * 10 ** ((prosody.volume + shift[3] * SPREAD.volume) / 20)),
                    }
                )
    return clips


def _whole(folder: Path, clips: list[dict[str, Any]]) -> bool:
    """Whether all clips are there as they were made."""
    if not folder.is_dir():
        return False
    wrong = fault(folder)
    if wrong is not None and is_sealed(folder):
        logging.getLogger(__name__).warning("%s: %s; the clips are made again", folder, wrong)
    return wrong is None and all((folder / f"{clip['id']}.wav").is_file() for clip in clips)


def _make(folder: Path, clips: list[dict[str, Any]], loader: Any) -> None:
    """Speak all clips beside `folder` and move them into place."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(prefix="synthetic-making-", dir=folder.parent)
    except OSError as error:
        raise LorascopeError(
            f"{folder.parent}: cannot be written ({error.strerror}); set LORASCOPE_CACHE to a folder that can"
        ) from error
    with beside:
        # a folder of its own, since the temporary one can be read by nobody else
        making = Path(beside.name) / "clips"
        making.mkdir()
        _speak_in_child(making, clips, loader)
        seal(making)
        if folder.exists() and not _whole(folder, clips):
            shutil.rmtree(folder)
        try:
            making.rename(folder)
        except OSError:
            # another process made the same corpus meanwhile
            if not _whole(folder, clips):
                raise


def _speak_in_child(folder: Path, clips: list[dict[str, Any]], loader: Any) -> None:
    # eSpeak NG keeps state between utterances that starting it anew doesn't clear: only a fresh process
    # speaks the same bytes twice
    library, data = str(loader.get_library_path()), str(loader.get_data_path())
    order = {"library": library, "data": data, "folder": str(folder), "clips": clips}
    child = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import speak_order; speak_order()"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if child.returncode != 0:
        why = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise LorascopeError(f"eSpeak NG ({library}) made no synthetic corpus: {why}")


def speak_order() -> None:
    """The child process: speak the clips of the order on standard input (JSON: library, data, folder, clips), or
    exit with one line on standard error.
    """
    order = json.load(sys.stdin)
    # eSpeak NG takes no data path longer than its buffer (some 160 bytes), so it gets "."
    os.chdir(order["data"])
    try:
        _speak(ctypes.CDLL(order["library"]), Path(order["folder"]), order["clips"])
    except (LorascopeError, OSError) as error:
        sys.exit(str(error))


def _speak(espeak: ctypes.CDLL, folder: Path, clips: list[dict[str, Any]]) -> None:
    rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, b".", _DONT_EXIT)
    if rate <= 0:
        raise LorascopeError(f"it does not start with its data in {Path.cwd()}")
    # it starts the noise of breathy voices from the process' number
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
    samples = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
    def collect(wav: int | None, count: int, _events: int | None) -> int:
        if wav and count:
            samples.extend(ctypes.string_at(wav, 2 * count))
        return 0

    espeak.espeak_SetSynthCallback(collect)
    for clip in clips:
        samples.clear()
        # eSpeak NG accepts a variant that it doesn't have, and speaks in another voice
        if not Path("voices", "!v", clip["variant"]).is_file():
            raise LorascopeError(f"it has no voice variant {clip['variant']}")
        text = clip["text"].encode() + b"\0"
        codes = [espeak.espeak_SetVoiceByName(f"en-us+{clip['variant']}".encode())]
        codes += [espeak.espeak_SetParameter(number, clip[name], 0) for name, number in _PARAMETERS.items()]
        codes.append(espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None))
        if any(codes) or not samples:
            raise LorascopeError(f"it says nothing for {clip['id']} (codes {codes})")
        with wave.open(str(folder / f"{clip['id']}.wav"), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(samples)
