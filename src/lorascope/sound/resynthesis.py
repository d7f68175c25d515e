"""A clip changed in one cue and spoken again: F0, tempo, intensity, spectrum or order, its sentence kept.

F0 and tempo by Praat's overlap-add resynthesis (PSOLA, Moulines & Charpentier 1990), through praat-parselmouth (extra
`acoustics`). Whatever is changed, the clip is resynthesised first, so that the unchanged resynthesis is what every
change is compared with. Samples are mono at 16 kHz.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import LorascopeError
from ..machine.requirements import require_extra
from .features import SAMPLE_RATE

#: Praat's usual bounds of F0, hertz, and the step of its pitch analysis, seconds.
LOWEST, HIGHEST, STEP = 75.0, 600.0, 0.01
#: Fewer voiced frames (of 10 ms) than these have no contour of F0 that could be changed.
FEWEST_VOICED = 5
#: What lies deeper below a clip's loudest moment is a pause: a flat contour does not raise it further, dB.
FLOOR = 30.0
#: Order n of the Butterworth filter.
FILTER_ORDER = 8


@dataclass(frozen=True)
class Change:
    """What is changed of a clip; by default nothing but the resynthesis.

    F0: moved by `shift` semitones, its distance from the clip's median (in semitones) times `spread` (0: flat). Speed:
    times `tempo`. With `level` the intensity contour is flat. `low_pass` is the highest frequency that is left, hertz;
    within windows of `reversed_within` seconds time runs backwards (Saberi & Perrott 1999).
    """

    shift: float = 0.0
    spread: float = 1.0
    tempo: float = 1.0
    level: bool = False
    low_pass: float | None = None
    reversed_within: float | None = None

    @property
    def key(self) -> list[Any]:
        """The change as plain data."""
        return list(astuple(self))


def check_parselmouth() -> None:
    """Raise `LorascopeError` where praat-parselmouth is not installed, too old, or cannot be imported any more."""
    require_extra("parselmouth", "praat-parselmouth", "acoustics", "analysis.measures: counterfactual")
    try:
        import_module("parselmouth")
    except ImportError as error:
        # see `analysis/one_pass.py`: only where somebody else imported nnsight before
        raise LorascopeError(
            f"praat-parselmouth cannot be imported ({error}); import parselmouth before nnsight is imported"
        ) from error


def median_f0(samples: np.ndarray) -> float:
    """Median F0 of [samples] over their voiced frames, hertz; NaN where fewer than `FEWEST_VOICED` frames are voiced,
    or the clip is too short for Praat.
    """
    import parselmouth

    try:
        pitch = _sound(samples).to_pitch(STEP, LOWEST, HIGHEST)
    except parselmouth.PraatError:
        return float("nan")
    hertz = np.asarray(pitch.selected_array["frequency"])
    voiced = hertz[hertz > 0]
    return float(np.median(voiced)) if len(voiced) >= FEWEST_VOICED else float("nan")


def resynthesised(samples: np.ndarray, change: Change) -> np.ndarray:
    """[samples] with the change, float32; 1 / `change.tempo` times as many. Needs voiced samples (see `median_f0`)."""
    found = _overlap_added(samples, change)
    if change.level:
        found = levelled(found)
    if change.low_pass is not None:
        found = low_passed(found, change.low_pass)
    if change.reversed_within is not None:
        found = locally_reversed(found, change.reversed_within)
    return found.astype(np.float32)


def levelled(samples: np.ndarray) -> np.ndarray:
    """[samples] with a flat intensity contour at the same mean power; what lies more than `FLOOR` dB below the loudest
    moment is raised no more than what lies at that bound, so that pauses stay pauses.
    """
    contour = _sound(samples).to_intensity(LOWEST, STEP)
    decibels = np.asarray(contour.values[0])
    gain = -np.maximum(decibels, decibels.max() - FLOOR)
    times = (np.arange(len(samples)) + 0.5) / SAMPLE_RATE
    found = samples * 10 ** (np.interp(times, contour.xs(), gain - gain.max()) / 20)
    power = float(np.mean(found**2))
    return found * np.sqrt(float(np.mean(samples**2)) / power) if power > 0 else found


def low_passed(samples: np.ndarray, hertz: float) -> np.ndarray:
    """[samples] without what lies above `hertz`: what a Butterworth filter leaves that runs forth and back, so without
    delay, 1 / (1 + (f / hertz)^2n) of each frequency f.
    """
    around = np.pad(samples, len(samples))
    at = np.fft.rfftfreq(len(around), 1 / SAMPLE_RATE)
    left = 1 / (1 + (at / hertz) ** (2 * FILTER_ORDER))
    return np.fft.irfft(np.fft.rfft(around) * left, len(around))[len(samples) : 2 * len(samples)]


def locally_reversed(samples: np.ndarray, seconds: float) -> np.ndarray:
    """[samples] with time backwards within windows of so many seconds, the last one of what is left: each window keeps
    its spectrum, and no word is left of a sentence.
    """
    step = round(seconds * SAMPLE_RATE)
    return np.concatenate([samples[at : at + step][::-1] for at in range(0, len(samples), step)])


def _overlap_added(samples: np.ndarray, change: Change) -> np.ndarray:
    import parselmouth
    from parselmouth.praat import call

    manipulation: Any = call(_sound(samples), "To Manipulation", STEP, LOWEST, HIGHEST)
    if change.shift or change.spread != 1:
        tier: Any = call(manipulation, "Extract pitch tier")
        count = int(call(tier, "Get number of points"))
        if not count:
            raise LorascopeError("a clip without voicing has no F0 to change; leave it out")
        times = [float(call(tier, "Get time from index", index + 1)) for index in range(count)]
        hertz = np.array([float(call(tier, "Get value at index", index + 1)) for index in range(count)])
        middle = float(np.median(hertz))
        moved = middle * (hertz / middle) ** change.spread * 2 ** (change.shift / 12)
        call(tier, "Remove points between", 0, len(samples) / SAMPLE_RATE)
        for time, value in zip(times, moved, strict=True):
            call(tier, "Add point", time, float(value))
        call([manipulation, tier], "Replace pitch tier")
    if change.tempo != 1:
        lengths: Any = call("Create DurationTier", "lengths", 0, len(samples) / SAMPLE_RATE)
        call(lengths, "Add point", 0, 1 / change.tempo)
        call([manipulation, lengths], "Replace duration tier")
    found: Any = call(manipulation, "Get resynthesis (overlap-add)")
    assert isinstance(found, parselmouth.Sound)
    return np.asarray(found.values[0])


def _sound(samples: np.ndarray) -> Any:
    import parselmouth

    return parselmouth.Sound(np.asarray(samples, dtype=np.float64), SAMPLE_RATE)
