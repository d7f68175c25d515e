"""What a clip sounds like in four numbers: mean and range of F0, loudness, rate; openSMILE's eGeMAPS (Eyben et al.
2016).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .functionals import functionals

#: The functionals that stand for each, by openSMILE's names: F0 in semitones above 27.5 Hz (its range between the 20th
#: and the 80th percentile), loudness as eGeMAPS has it, and peaks of loudness a second.
NAMES = {
    "f0_mean": "F0semitoneFrom27.5Hz_sma3nz_amean",
    "f0_range": "F0semitoneFrom27.5Hz_sma3nz_pctlrange0-2",
    "intensity": "loudness_sma3_amean",
    "rate": "loudnessPeaksPerSec",
}
VOICING = "VoicedSegmentsPerSec"


def acoustics(
    clips: Sequence[str], hashes: Mapping[str, str], samples: Callable[[str], np.ndarray]
) -> pd.DataFrame | None:
    """Columns f0_mean, f0_range, intensity and rate, a row a clip in their order; None where openSMILE is not
    installed.

    A clip without voiced segments has no F0: NaN. `hashes` name the clips' content, `samples(clip)` gives 16 kHz mono
    samples and is called only for clips that are not in the cache. Raises `LorascopeError` as `functionals` does.
    """
    if importlib.util.find_spec("opensmile") is None:
        return None
    import opensmile

    names: Any = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
    ).feature_names
    found = functionals("egemaps", clips, hashes, samples)
    table = pd.DataFrame([found[clip] for clip in clips], columns=names, index=pd.Index(clips))
    silent = table[VOICING] == 0
    chosen = pd.DataFrame({short: table[name].astype(float) for short, name in NAMES.items()})
    chosen.loc[silent, ["f0_mean", "f0_range"]] = np.nan
    return chosen
