"""The sounds of a finished run's clips, from where its corpus lies, for a page that plays them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import soundfile

from ..corpora import CORPORA, Corpus
from ..errors import LorascopeError
from ..experiment.loading import load_experiment
from ..experiment.planning import corpus_of
from ..report.clips import AUDIO, Sound, worth_hearing
from ..sound.decoding import load_hashed
from ..sound.features import SAMPLE_RATE
from ..store.finished import FinishedRun
from .telling import Say

#: Points of a waveform, and columns and bands of a spectrogram: what a page shows.
POINTS, COLUMNS, BANDS = 400, 240, 64
#: Licences under which pieces of a corpus may stand in a page that is passed on.
OPEN = ("CC BY", "CC0", "ODbL")


def sounds_of(folder: FinishedRun, count: int | None, say: Say) -> Mapping[str, Sound]:
    """What is heard and seen of `count` clips of a run, by their ids: by default of 24 where the corpus' licence lets
    pieces of it be passed on, or where its speech is synthetic, else of none.

    A clip that is gone, or is another than was analysed, is left out, and `say` tells how many were; as where the
    corpus isn't there any more. Raises `LorascopeError` where clips are asked for and the folder doesn't tell where
    they lie.
    """
    if count == 0 or not folder.config:
        if count:
            raise LorascopeError(
                f"--audio {count}: {folder.path} has no config.yaml, so where its clips lie isn't known; leave it out"
            )
        return {}
    try:
        experiment = load_experiment(folder.path / "config.yaml")
    except LorascopeError:
        if count:
            raise
        return {}
    if count is None and not (folder.synthetic or _may_be_passed_on(experiment.corpus.reader)):
        return {}
    wanted = worth_hearing(folder, AUDIO if count is None else count)
    if not wanted:
        return {}
    try:
        corpus = corpus_of(experiment)
    except LorascopeError as error:
        say(f"no clip can be heard in the report: {error}")
        return {}
    return _read(corpus, wanted, folder.manifest.get("clips") or {}, say)


def _read(corpus: Corpus, wanted: list[str], known: Mapping[str, str], say: Say) -> dict[str, Sound]:
    found, lost = {}, 0
    for clip in wanted:
        try:
            row: dict[str, Any] = dict(corpus.clips.loc[clip])
            ends = [row.get(name) for name in ("start", "end")]
            start, end = (None if at is None or np.isnan(at) else float(at) for at in ends)
            found[clip] = sound_of(load_hashed(row["path"], known[clip], start, end))
        except (KeyError, LorascopeError):
            lost += 1
    if lost:
        say(f"{lost} of {len(wanted)} clips can't be heard in the report: gone, or not those that were analysed")
    return found


def sound_of(samples: np.ndarray) -> Sound:
    """A clip's samples [samples] at 16 kHz as what a page plays and draws."""
    written = io.BytesIO()
    soundfile.write(written, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    stretches = np.array_split(np.abs(samples), min(POINTS, len(samples)))
    wave = np.array([stretch.max() for stretch in stretches])
    return Sound(len(samples) / SAMPLE_RATE, written.getvalue(), (wave / (wave.max() or 1.0)).tolist(), _mel(samples))


def _mel(samples: np.ndarray) -> np.ndarray:
    """Log-mel energies [bands, columns] over 70 dB, 0 to 255: a picture, no feature of any model."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    length, hop = 512, max(1, len(samples) // COLUMNS)
    filters = mel_filter_bank(length // 2 + 1, BANDS, 0.0, SAMPLE_RATE / 2, SAMPLE_RATE)
    window = window_function(length, "hann")
    decibels = spectrogram(samples, window, length, hop, mel_filters=filters, log_mel="dB", db_range=70.0)
    return (255 * np.clip((decibels - decibels.max()) / 70 + 1, 0, 1)).astype(np.uint8)


def _may_be_passed_on(reader: str) -> bool:
    about = CORPORA.get(reader)
    # ND: no pieces
    return about is not None and about.licence.startswith(OPEN) and "ND" not in about.licence
