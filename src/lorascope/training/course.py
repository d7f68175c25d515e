"""On which clips of a fold something is trained and chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Course:
    """A training on the clips `train`, whose epoch is chosen on those of `selection`; or, without any, that ends after
    the epoch `until`.

    `inner` are the training clips that inner folds hold out, for choices that are made before the first step. `words`
    tell it from others of its candidate.
    """

    train: Sequence[str]
    selection: Sequence[str] | None
    until: int | None = None
    inner: Sequence[Sequence[str]] = ()
    words: str = ""
