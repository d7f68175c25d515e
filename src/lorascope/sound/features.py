"""What an encoder takes of a clip: Whisper's log-mel, by Hugging Face's own feature extractor, or the waveform. No
files here, see `audio`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

#: Sample rate that every encoder is fed, Hz.
SAMPLE_RATE = 16_000
#: Encoder frames a second (20 ms each).
FRAMES_PER_SECOND = 50
#: Whisper's window, and the most that any encoder is given, in frames.
WINDOW = 1500
#: Log-mel columns for each encoder frame.
COLUMNS_PER_FRAME = 2


def frames_of(samples: int, longest: int = WINDOW) -> int:
    """Frames that a clip of so many samples at 16 kHz fills: ceil(50 · seconds), at most `longest`."""
    return min(math.ceil(samples * FRAMES_PER_SECOND / SAMPLE_RATE), longest)


class Features(Protocol):
    """What an encoder takes of one clip. `valid` counts the frames that hold speech; `window(frames)` cuts or pads to
    so many frames.
    """

    @property
    def valid(self) -> int:
        """Frames that hold speech."""
        ...

    @property
    def longest(self) -> int:
        """The most frames that the encoder takes: its window, where it has one."""
        ...

    def window(self, frames: int) -> np.ndarray:
        """The clip as a batch of so many frames needs it."""
        ...


class FeatureSettings(Protocol):
    """What decides a clip's features beside its samples; `key` names it in the cache, `arrays` and `restore` are its
    way into the cache and back.
    """

    @property
    def longest(self) -> int:
        """The most frames that the encoder takes; a longer clip is cut to them."""
        ...

    @property
    def key(self) -> list[Any]:
        """The settings as plain data."""
        ...

    def extract(self, samples: np.ndarray) -> Features:
        """Features of [samples] at 16 kHz. Raises `ValueError` where they are too few."""
        ...

    def arrays(self, features: Any) -> dict[str, Any]:
        """What of the features is stored."""
        ...

    def restore(self, arrays: Any) -> Features:
        """The features that were stored."""
        ...


@dataclass(frozen=True)
class LogMel:
    """Log-mel features of one clip within the encoder's window (30 s), kept without the constant padding.

    `columns` [mels, kept]: from the last kept column on, all columns up to the window's end are equal to it. `valid`
    counts the frames that hold speech, `longest` those of the window.
    """

    columns: np.ndarray
    valid: int
    longest: int = WINDOW

    def window(self, frames: int = WINDOW) -> np.ndarray:
        """The first `frames` frames of the clip's window, [mels, 2 * frames], float32."""
        wanted = frames * COLUMNS_PER_FRAME
        kept = self.columns[:, :wanted]
        return np.pad(kept, ((0, 0), (0, wanted - kept.shape[1])), mode="edge")


@dataclass(frozen=True)
class LogMelSettings:
    """Whisper's log-mels: 80 mel bins (128 for large-v3) of a window of `longest` frames (1500 in all published
    sizes).
    """

    mels: int = 80
    longest: int = WINDOW

    @cached_property
    def extractor(self) -> Any:
        """Hugging Face's `WhisperFeatureExtractor` for these settings."""
        from transformers import WhisperFeatureExtractor

        extractor = WhisperFeatureExtractor(feature_size=self.mels)
        # it knows windows of whole seconds alone
        extractor.n_samples = self.longest * SAMPLE_RATE // FRAMES_PER_SECOND
        return extractor

    @property
    def key(self) -> list[Any]:
        """The settings as plain data."""
        return [self.mels] if self.longest == WINDOW else [self.mels, self.longest]

    def extract(self, samples: np.ndarray) -> LogMel:
        """Whisper's log-mel of [samples] at 16 kHz, computed on the clip padded (or cut) to the window.

        Whisper normalises by the loudest cell of the window, so it is computed on the window and cut afterwards.
        """
        columns = self.extractor(samples, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0]
        differs = np.any(columns != columns[:, -1:], axis=0)
        kept = int(np.flatnonzero(differs)[-1]) + 2 if differs.any() else 1
        valid = frames_of(len(samples), self.longest)
        return LogMel(np.ascontiguousarray(columns[:, :kept], dtype=np.float32), valid, self.longest)

    def arrays(self, features: LogMel) -> dict[str, Any]:
        """What of the features is stored."""
        return {"columns": features.columns, "valid": features.valid}

    def restore(self, arrays: Any) -> LogMel:
        """The features that were stored."""
        return LogMel(arrays["columns"], int(arrays["valid"]), self.longest)


@dataclass(frozen=True)
class Waveform:
    """One clip's samples at 16 kHz, cut to whole frames: `first` samples make one frame, every `step` more another.

    The few samples past the last whole frame reach no frame of the encoder, and are dropped so that frames and samples
    say the same length.
    """

    samples: np.ndarray
    first: int
    step: int

    @property
    def longest(self) -> int:
        """30 s: these encoders have no window, but more memory is not spent on a clip."""
        return WINDOW

    @property
    def valid(self) -> int:
        """Frames of the clip."""
        return (len(self.samples) - self.first) // self.step + 1

    def window(self, frames: int) -> np.ndarray:
        """The samples of the first `frames` frames, zeros after the clip's end, [samples], float32."""
        wanted = self.first + (frames - 1) * self.step
        kept = self.samples[:wanted]
        return np.pad(kept, (0, wanted - len(kept)))


@dataclass(frozen=True)
class WaveformSettings:
    """The waveform itself, at most 30 s of it; `normalise` brings it to zero mean and unit variance, as the model's own
    feature extractor says.

    `first` and `step` are the encoder's samples for one frame and for each further one.
    """

    normalise: bool = True
    first: int = 400
    step: int = 320

    @property
    def longest(self) -> int:
        """As the features' own."""
        return WINDOW

    @property
    def key(self) -> list[Any]:
        """The settings as plain data."""
        return ["waveform", self.normalise, self.first, self.step]

    def extract(self, samples: np.ndarray) -> Waveform:
        """The waveform of [samples] at 16 kHz. Raises `ValueError` where they make no frame."""
        if len(samples) < self.first:
            raise ValueError(f"{len(samples)} samples, but this encoder needs {self.first} for one frame")
        samples = samples[: WINDOW * SAMPLE_RATE // FRAMES_PER_SECOND].astype(np.float32)
        if self.normalise:
            # as Hugging Face's Wav2Vec2FeatureExtractor does
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        frames = (len(samples) - self.first) // self.step + 1
        return Waveform(samples[: self.first + (frames - 1) * self.step], self.first, self.step)

    def arrays(self, features: Waveform) -> dict[str, Any]:
        """What of the features is stored."""
        return {"samples": features.samples}

    def restore(self, arrays: Any) -> Waveform:
        """The features that were stored."""
        return Waveform(arrays["samples"], self.first, self.step)
