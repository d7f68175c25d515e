"""Word and character error rates: how two texts differ, and the interval of a rate over clips."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import numpy as np

from .intervals import ROUNDING, LeftOut, Scale


class Errors(NamedTuple):
    """Substitutions, deletions and insertions of a text against another one, and how many words (characters) that
    has.
    """

    words: int
    of_words: int
    characters: int
    of_characters: int


def plain(text: str) -> str:
    """A text without what is not spoken: lower case, no symbols or punctuation, nothing in brackets, single spaces.

    As Whisper's own `BasicTextNormalizer` (Radford et al. 2022, appendix C): no numbers or spellings are matched.

    >>> plain("Don't [noise] forget -- a JACKET!")
    'don t forget a jacket'
    """
    text = re.sub(r"[<\[][^>\]]*[>\]]|\([^)]+\)", "", text.lower())
    # canonical composition keeps what is a letter; marks, symbols and punctuation part words
    kept = (" " if unicodedata.category(char)[0] in "MSP" else char for char in unicodedata.normalize("NFKC", text))
    return " ".join("".join(kept).split())


def errors(reference: str, text: str) -> Errors:
    """The errors of a text against a reference, both `plain`; of an empty reference every word is an insertion."""
    import jiwer

    reference, text = plain(reference), plain(text)
    if not reference:
        return Errors(len(text.split()), 0, len(text), 0)
    by_word, by_character = jiwer.process_words(reference, text), jiwer.process_characters(reference, text)
    wrong = [each.substitutions + each.deletions + each.insertions for each in (by_word, by_character)]
    return Errors(wrong[0], len(reference.split()), wrong[1], len(reference))


def rate_interval(left_out: LeftOut, value: float, without: np.ndarray, units: float) -> tuple[float, float]:
    """The 95 % interval of an error rate `value` of `units` words, `without` [units left out] being the same without
    each speaker or clip.

    On the logarithm, half an error added, so that none has one too; a rate has no upper bound. Where there is no error
    at all, the bound is that of a share (`LeftOut.share_interval`).
    """
    if value < ROUNDING and np.all(np.abs(without) < ROUNDING):
        return left_out.share_interval(0.0, without, units)
    half = 0.5 / units
    scale = Scale(lambda x: np.log(np.maximum(x, 0.0) + half), lambda x: np.maximum(np.exp(x) - half, 0.0))
    return left_out.interval(value, without, scale)
