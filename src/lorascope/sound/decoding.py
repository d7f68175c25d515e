"""From a file to an encoder's features: decode, check, resample, Whisper's own feature extractor or the waveform,
cache.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LorascopeError
from ..machine.progress import bar
from ..store.cache import FORM, cache_folder, keep, kept
from .features import FRAMES_PER_SECOND, SAMPLE_RATE, Features, FeatureSettings
from .unheard import told_otherwise

#: Peak amplitude under which a clip counts as silence: one step of 16-bit audio.
SILENCE = 1 / 32768
#: Samples at 16 kHz of one encoder frame: a shorter clip says nothing.
ONE_FRAME = SAMPLE_RATE // FRAMES_PER_SECOND
SHORT = f"shorter than one frame ({1000 // FRAMES_PER_SECOND} ms)"
WAY_OUT = "mend the file, or leave the clip out with `corpus.exclude`"


def load_audio(
    path: str | Path, start: float | None = None, end: float | None = None, content: bytes | None = None
) -> np.ndarray:
    """Mono samples of a file at 16 kHz, [samples], float32; `start` and `end` in seconds cut a piece out of it.
    `content` are the file's bytes where they have been read already.

    Any format, rate and channel count that soundfile reads; channels are averaged, soxr (high quality) resamples.
    Raises `LorascopeError`, naming the file, where it cannot be read, is empty, holds NaN or infinite samples, or
    nothing but silence, or does not hold the piece (an end may lie a frame, 20 ms, beyond the file's).
    """
    import soxr

    if not Path(path).is_file():
        raise LorascopeError(f"{path}: no such file; mend the path, or leave the clip out with `corpus.exclude`")
    piece = (
        "" if start is None and end is None else f" from {start or 0.0} s to {'the end' if end is None else f'{end} s'}"
    )
    samples, rate = _read(path, start, end, piece, content)
    mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        wrong = f"{int((~np.isfinite(samples)).sum())} samples{piece} are NaN or infinite"
    elif len(mono) and np.abs(mono).max() < SILENCE:
        wrong = f"nothing but silence{piece}"
    else:
        if rate != SAMPLE_RATE:
            mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ").astype(np.float32)
        # after resampling, in which the only sample of a clip may vanish
        if len(mono) >= ONE_FRAME:
            return mono
        wrong = f"no samples{piece}" if not len(mono) else f"{len(mono) / SAMPLE_RATE * 1000:.3g} ms{piece}, {SHORT}"
    raise LorascopeError(f"{path}: {wrong}; {WAY_OUT}")


def _read(
    path: str | Path, start: float | None, end: float | None, piece: str, content: bytes | None
) -> tuple[np.ndarray, int]:
    """Samples [samples, channels], float32, of a file or a piece of it, and its rate in hertz."""
    import soundfile

    try:
        with soundfile.SoundFile(path if content is None else io.BytesIO(content)) as file:
            rate, length = file.samplerate, len(file)
            first, last = start or 0.0, length / rate if end is None else end
            within = 0 <= first < last <= length / rate + 1 / FRAMES_PER_SECOND and first * rate < length
            if piece and not within:
                raise LorascopeError(
                    f"{path}: no piece{piece} in a file {length / rate:g} s long; mend its start and end, or leave the "
                    "clip out with `corpus.exclude`"
                )
            file.seek(round(first * rate))
            count = min(round(last * rate), length) - file.tell()
            return file.read(count, dtype="float32", always_2d=True), rate
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        if known := told_otherwise(path):
            raise LorascopeError(f"{path}: {known}") from error
        # the error of bytes names an object in memory
        why = getattr(error, "error_string", "") or str(error).splitlines()[0]
        raise LorascopeError(f"{path}: cannot be read as audio ({why}); {WAY_OUT}") from error


def content_hash(path: str | Path, start: float | None = None, end: float | None = None) -> str:
    """SHA-256 of a clip: its file's bytes and, for a piece of it, the piece's bounds."""
    return FileHashes().of(path, start, end)


class FileHashes:
    """Content hashes of many clips: a file that holds several is read once, unless it changes meanwhile."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[tuple[int, ...], Any]] = {}

    def of(self, path: str | Path, start: float | None = None, end: float | None = None) -> str:
        """As `content_hash`, which see."""
        try:
            found = Path(path).stat()
            state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            before, digest = self._read.get(str(path), (None, None))
            if before != state:
                content, digest = _hashed(path)
                self._read[str(path)] = state, digest
                # what is computed next is most often of these very bytes
                _last_read.clear()
                _last_read[str(path)] = content, digest
        except OSError as error:
            raise LorascopeError(
                f"{path}: {error.strerror}; mend the path, or leave the clip out with `corpus.exclude`"
            ) from error
        assert digest is not None
        return _of_piece(digest, start, end)


@dataclass(frozen=True)
class Clip:
    """One clip's features with its content hash and its length in seconds (before the 30 s cut)."""

    hash: str
    seconds: float
    features: Features


def prepare_clip(
    path: str,
    settings: FeatureSettings,
    start: float | None = None,
    end: float | None = None,
    hashes: FileHashes | None = None,
) -> Clip:
    """Features of one clip, from the cache where its content was seen before, else computed and cached.

    `hashes` are those of clips before it. Raises `LorascopeError` as `load_audio` does.
    """
    digest = (hashes or FileHashes()).of(path, start, end)
    key = hashlib.sha256(json.dumps([digest, *settings.key, _versions(), FORM]).encode()).hexdigest()
    stored = cache_folder() / "features" / key[:2] / f"{key}.npz"
    found = kept(stored)
    if found is not None:
        with np.load(found) as arrays:
            return Clip(digest, float(arrays["seconds"]), settings.restore(arrays))
    samples = load_hashed(path, digest, start, end)
    seconds = len(samples) / SAMPLE_RATE
    try:
        features = settings.extract(samples)
    except ValueError as error:
        raise LorascopeError(f"{path}: {error}; {WAY_OUT}") from error
    keep(stored, lambda file: np.savez(file, seconds=seconds, **settings.arrays(features)))
    return Clip(digest, seconds, features)


def load_hashed(path: str | Path, digest: str, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Samples of a clip, as `load_audio` gives them, of the very bytes that have this content hash.

    What is kept under a clip's hash is computed from these, however long ago it was hashed. Raises `LorascopeError`
    where the file has other bytes by now, and as `load_audio` does.
    """
    content, whole = _last_read.get(str(path), (b"", hashlib.sha256()))
    if _of_piece(whole, start, end) != digest:
        try:
            content, whole = _hashed(path)
        except OSError as error:
            raise LorascopeError(
                f"{path}: {error.strerror}; mend the path, or leave the clip out with `corpus.exclude`"
            ) from error
        if _of_piece(whole, start, end) != digest:
            raise LorascopeError(f"{path}: was changed since it was first read; run the same command again")
        _last_read.clear()
        # the next clip may be another piece of it
        _last_read[str(path)] = content, whole
    return load_audio(path, start, end, content)


# the bytes and the SHA-256 of the file that was read last
_last_read: dict[str, tuple[bytes, Any]] = {}


def _hashed(path: str | Path) -> tuple[bytes, Any]:
    content = Path(path).read_bytes()
    return content, hashlib.sha256(content)


def _of_piece(whole: Any, start: float | None, end: float | None) -> str:
    """The content hash of a piece, or of all, of a file whose bytes have this SHA-256."""
    digest = whole.copy()
    if start is not None or end is not None:
        digest.update(f"[{start}, {end}]".encode())
    return digest.hexdigest()


@cache
def _versions() -> tuple[str, ...]:
    # looked up once: three files to find and parse took as long as reading a clip from the cache
    from importlib.metadata import version

    return tuple(version(package) for package in ("transformers", "soxr", "soundfile"))


def prepare_clips(
    clips: Sequence[tuple[str, str, float | None, float | None]], settings: FeatureSettings
) -> dict[str, Clip]:
    """Features of many clips, (id, path, start, end) each, by id."""
    hashes = FileHashes()
    read = bar(clips, "reading clips")
    return {name: prepare_clip(path, settings, start, end, hashes) for name, path, start, end in read}
