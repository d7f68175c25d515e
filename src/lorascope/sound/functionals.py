"""Features of the classic baseline: openSMILE's functionals of a whole clip, cached by the clip's content.

eGeMAPSv02 (88; Eyben et al. 2016) and ComParE_2016 (6373; Schuller et al. 2016), from the same 16 kHz mono samples that
the encoders get. openSMILE is an extra: its licence allows research and private use only.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from ..errors import LorascopeError
from ..machine.progress import bar
from ..machine.requirements import require_extra
from ..store.cache import FORM, cache_folder, keep_array, read_array
from .features import SAMPLE_RATE

#: openSMILE's names of the feature sets, by the config's.
SETS = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}


def check_opensmile() -> None:
    """Raise `LorascopeError` where openSMILE is not installed, or too old."""
    require_extra("opensmile", "opensmile", "classic", "methods: a classic method")


def versions_of(features: str) -> dict[str, str]:
    """A feature set ("egemaps" or "compare") by openSMILE's name, and openSMILE's version."""
    return {"set": SETS[features], "opensmile": version("opensmile")}


def functionals(
    features: str, clips: Sequence[str], hashes: Mapping[str, str], samples: Callable[[str], np.ndarray]
) -> dict[str, np.ndarray]:
    """A feature set ("egemaps" or "compare") of every clip, [features] by id.

    `hashes` name the clips' content, `samples(clip)` gives 16 kHz mono samples and is called only for clips that are
    not in the cache. Raises `LorascopeError` naming a clip that is too short for the set.
    """
    check_opensmile()
    made_by = [SETS[features], *(version(package) for package in ("opensmile", "soxr", "soundfile")), FORM]
    extractor: Any = None
    found = {}
    for clip in bar(clips, f"{SETS[features]} of clips"):
        key = hashlib.sha256(json.dumps([hashes[clip], *made_by]).encode()).hexdigest()
        stored = cache_folder() / "opensmile" / key[:2] / f"{key}.npy"
        values = read_array(stored)
        if values is None:
            extractor = extractor or _extractor(SETS[features])
            values = _extract(extractor, samples(clip), clip)
            keep_array(stored, values)
        found[clip] = values
    return found


def _extractor(name: str) -> Any:
    import opensmile

    return opensmile.Smile(
        feature_set=opensmile.FeatureSet[name], feature_level=opensmile.FeatureLevel.Functionals, num_workers=1
    )


def _extract(extractor: Any, samples: np.ndarray, clip: str) -> np.ndarray:
    with warnings.catch_warnings():
        # too short a clip is told below, by name
        warnings.simplefilter("ignore")
        values = extractor.process_signal(samples, SAMPLE_RATE).to_numpy()[0]
    if not np.isfinite(values).all():
        raise LorascopeError(
            f"clip {clip}: openSMILE gives no value for {int((~np.isfinite(values)).sum())} of {len(values)} "
            f"features ({len(samples) / SAMPLE_RATE:.2f} s is too short?); "
            "leave the clip out with `corpus.exclude`, or the classic method"
        )
    return values
