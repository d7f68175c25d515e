"""What Whisper's decoder writes down of every clip, setting by setting, and what there is to hold it against."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from ..statistics.error_rates import errors, rate_interval
from ..statistics.intervals import LeftOut
from .measure import Batch, Study

#: What a transcript is held against: the corpus' words, or what the decoder writes with the bare encoder.
TEXT, BARE = "text", "bare transcript"
#: A name of a sentence, and no sentence.
CODE = re.compile(r"[A-Za-z]{0,3}[0-9]+")


class Counts(NamedTuple):
    """Errors of every clip and the words (or characters) of its reference, [clips] each."""

    wrong: np.ndarray
    units: np.ndarray


class Transcripts:
    """Transcripts of every clip by setting, any hashable key.

    A decoder of several languages is told the clip's (`language`); where the corpus knows none that it has, the one
    that it hears in the first setting that is put.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._written: dict[Hashable, list[str]] = {}
        self._languages: list[str | None] = [None] * len(study.clips)
        if "language" in study.clips and study.means.decoder is not None:
            code = study.means.decoder.code
            self._languages = [code(name) if isinstance(name, str) else None for name in study.clips["language"]]

    def put(self, setting: Hashable, encoded: Tensor, batch: Batch) -> None:
        """Write down a batch's encoder output [clips, frames, width]."""
        decoder = self._study.means.decoder
        assert decoder is not None
        rows, languages = batch.numbers, None
        if not decoder.english_only:
            if any(self._languages[row] is None for row in rows):
                for row, heard in zip(rows, decoder.languages_of(encoded), strict=True):
                    self._languages[row] = self._languages[row] or heard
            languages = [str(self._languages[row]) for row in rows]
        written = self._written.setdefault(setting, [""] * len(self._study.clips))
        for row, text in zip(rows, decoder.transcribe(encoded, languages), strict=True):
            written[row] = text

    def of(self, setting: Hashable) -> list[str]:
        """The transcripts of all clips."""
        return self._written[setting]

    @property
    def words(self) -> list[str] | None:
        """The corpus' words of every clip, None where they cannot be compared with (`without_words` says why)."""
        return None if self.without_words else list(self._said)

    @cached_property
    def without_words(self) -> str:
        """Why the transcripts cannot be held against the corpus' words; empty where they can."""
        said, decoder = self._said, self._study.means.decoder
        if said.isna().all():
            return "the corpus has no text of its clips"
        if said.isna().any():
            return f"the corpus has no text of {int(said.isna().sum())} of {len(said)} clips"
        if all(CODE.fullmatch(str(text)) for text in said):
            return "the corpus' texts are codes and not words"
        others = sorted({code for code in self._languages if code is not None} - {"en"})
        if decoder is not None and decoder.english_only and others:
            return f"the decoder knows English alone, and the clips are in another language ({', '.join(others)})"
        return ""

    @cached_property
    def _said(self) -> pd.Series:
        for column in ("transcript", "text"):
            if column in self._study.clips and self._study.clips[column].notna().any():
                return self._study.clips[column]
        return pd.Series([pd.NA] * len(self._study.clips))

    @cached_property
    def left_out(self) -> LeftOut:
        """The units that are left out for the intervals."""
        return LeftOut(self._study.clips["speaker"].to_numpy(), self._study.labels)

    def rate(self, counts: Counts, inside: np.ndarray | None = None) -> np.ndarray:
        """Errors over words of the clips `inside` ([clips] bool; None: all), and the same without each unit, [1 +
        units]; NaN where there are no words.
        """
        chosen = np.ones(len(counts.wrong)) if inside is None else inside.astype(float)
        weights = np.vstack([np.ones(len(chosen)), self.left_out.weights]) * chosen
        of = weights @ counts.units
        return weights @ counts.wrong / np.where(of > 0, of, np.nan)

    def ends(self, rates: np.ndarray, units: float, moved: bool = False) -> tuple[float, float]:
        """The 95 % interval of what `rate` gave, of so many words in all; of a difference where it is `moved`."""
        value, without = float(rates[0]), rates[1:]
        return self.left_out.interval(value, without) if moved else rate_interval(self.left_out, value, without, units)


def counted(references: list[str], texts: list[str]) -> dict[str, Counts]:
    """Errors of texts against references by quantity: "wer" in words, "cer" in characters."""
    found = np.array([errors(a, b) for a, b in zip(references, texts, strict=True)], dtype=float).reshape(-1, 4)
    return {"wer": Counts(found[:, 0], found[:, 1]), "cer": Counts(found[:, 2], found[:, 3])}
