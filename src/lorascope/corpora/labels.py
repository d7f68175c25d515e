"""Emotion names: one synonym table for all corpora and for the class names of models made elsewhere."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ..errors import LorascopeError

#: Canonical emotion -> what corpora and models call it (compared without case).
SYNONYMS: dict[str, tuple[str, ...]] = {
    "anger": ("ang", "angry", "ira", "wut", "ärger", "rabbia"),
    "happiness": ("hap", "happy", "joy", "freude", "gioia"),
    "neutrality": ("neu", "neutral", "n"),
    "sadness": ("sad", "sa", "trauer", "tristezza"),
    "boredom": ("bored",),
    "disgust": ("dis", "disgusted"),
    "fear": ("fea", "fearful", "afraid"),
    "surprise": ("sur", "surprised", "ps"),
    "calm": (),
    "excitement": ("exc", "excited"),
    "frustration": ("fru", "frustrated"),
    "contempt": (),
    "other": ("oth",),
    "undecided": ("xxx",),
}

_CANONICAL = {name: canonical for canonical, others in SYNONYMS.items() for name in (canonical, *others)}


def canonical(label: str) -> str:
    """The canonical name of an emotion label, whatever its case.

    Raises `LorascopeError` with the nearest known label where it is unknown.

    >>> canonical("Angry"), canonical("neu"), canonical("N")
    ('anger', 'neutrality', 'neutrality')
    """
    found = _CANONICAL.get(label.strip().lower())
    if found is None:
        raise LorascopeError(f"emotion {label!r} is not a known label{suggestion(label, list(_CANONICAL))}")
    return found


def suggestion(word: str, known: Sequence[str]) -> str:
    """" (did you mean 'x'?)" for the nearest known word, or the known words where none is near."""
    close = difflib.get_close_matches(word.strip().lower(), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(sorted(set(known)))})"


def match_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Canonical classes of a model's class names, in the model's order.

    Raises `LorascopeError` where a name can't be matched, or two names mean the same class.

    >>> match_classes(["sad", "N", "Anger", "joy"])
    ('sadness', 'neutrality', 'anger', 'happiness')
    """
    matched: list[str] = []
    for name in names:
        try:
            found = canonical(name)
        except LorascopeError as error:
            raise LorascopeError(f"class {name!r} cannot be matched: {error}; name the classes with --labels in the order of the logits") from error
        if found in matched:
            first = names[matched.index(found)]
            raise LorascopeError(f"classes {first!r} and {name!r} both mean {found}; name the classes with --labels in the order of the logits")
        matched.append(found)
    return tuple(matched)
