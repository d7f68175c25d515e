"""Emotion names: one synonym table for all corpora and for the class names of models made elsewhere, and what
a label map makes of it.
"""

from __future__ import annotations

import difflib
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ..errors import LorascopeError

#: Canonical emotion -> what corpora and models call it (compared without case).
SYNONYMS: dict[str, tuple[str, ...]] = {
    "anger": (
        *("ang", "angry", "ira", "wut", "ärger", "rabbia", "wütend", "zorn", "colère", "enojo", "enfado", "złość"),
        *(
            "gniew",
            "raiva",
            "злость",
            "гнев",
            "öfke",
            "kızgın",
            "愤怒",
            "憤怒",
            "生气",
            "怒り",
            "분노",
            "غضب",
            "गुस्सा",
            "غصہ",
            "خشم",
        ),
    ),
    "happiness": (
        *(
            "hap",
            "happy",
            "joy",
            "freude",
            "gioia",
            "fröhlich",
            "glücklich",
            "joie",
            "felicità",
            "alegría",
            "felicidad",
        ),
        *("radość", "szczęście", "alegria", "felicidade", "радость", "счастье", "mutluluk", "mutlu", "sevinç", "高兴"),
        *("快乐", "開心", "开心", "喜び", "행복", "기쁨", "سعادة", "فرح", "खुशी", "خوشی", "شادی"),
    ),
    "neutrality": (
        *("neu", "neutral", "n", "neutre", "neutralità", "neutrale", "neutro", "neutralny", "neutralność"),
        *(
            "нейтральность",
            "нейтрально",
            "nötr",
            "中性",
            "中立",
            "ニュートラル",
            "중립",
            "محايد",
            "तटस्थ",
            "غیر جانبدار",
            "خنثی",
        ),
    ),
    "sadness": (
        *("sad", "sa", "trauer", "tristezza", "traurig", "tristesse", "tristeza", "smutek", "грусть", "печаль"),
        *("üzüntü", "üzgün", "悲伤", "悲傷", "难过", "悲しみ", "슬픔", "حزن", "दुख", "उदासी", "اداسی", "غم"),
    ),
    "boredom": ("bored", "langeweile", "ennui", "noia", "aburrimiento", "nuda", "tédio", "скука", "can sıkıntısı"),
    "disgust": (
        *("dis", "disgusted", "ekel", "dégoût", "disgusto", "asco", "wstręt", "nojo", "отвращение", "iğrenme"),
        *("厌恶", "嫌悪", "혐오", "اشمئزاز", "घृणा", "نفرت"),
    ),
    "fear": (
        *("fea", "fearful", "afraid", "angst", "peur", "paura", "miedo", "strach", "medo", "страх", "korku"),
        *("恐惧", "害怕", "恐怖", "공포", "두려움", "خوف", "डर", "ترس"),
    ),
    "surprise": (
        *("überraschung", "sorpresa", "zaskoczenie", "surpresa", "удивление", "şaşkınlık", "惊讶", "驚き", "놀람"),
        *("مفاجأة", "आश्चर्य", "حیرت", "تعجب"),
        *("sur", "surprised", "ps", "pleasant_surprise", "pleasant_surprised"),
    ),
    "calm": (),
    "excitement": ("exc", "excited"),
    "frustration": ("fru", "frustrated"),
    "contempt": (),
    "other": ("oth",),
    "undecided": ("xxx", "no_agreement"),
}

_CANONICAL = {
    # a Turkish dotless i has another capital than its own
    unicodedata.normalize("NFC", name).replace("ı", "i"): canonical
    for canonical, others in SYNONYMS.items()
    for name in (canonical, *others)
}


def canonical(label: str) -> str:
    """The canonical name of an emotion label, whatever its case.

    Raises `LorascopeError` with the nearest known label where it is unknown.

    >>> canonical("Angry"), canonical("neu"), canonical("N")
    ('anger', 'neutrality', 'neutrality')
    """
    plain = label.strip().lower().replace("ı", "i")
    found = _CANONICAL.get(plain) or _CANONICAL.get(_bare(plain))
    if found is None:
        raise LorascopeError(f"emotion {label!r} is not a known label{_near(_bare(plain))}")
    return found


def _bare(label: str) -> str:
    """A label without the numbers and punctuation around it: `04-sad`, `sad_2`, `[angry]`."""
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", unicodedata.normalize("NFC", label))


def _near(word: str) -> str:
    """A hint where a known word of four letters or more is near; a shorter one is as near to anything."""
    close = difflib.get_close_matches(word, [name for name in _CANONICAL if len(name) > 3], n=1, cutoff=0.75)
    if close and len(word) > 3:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(SYNONYMS)}, and other words for them)"


def suggestion(word: str, known: Sequence[str]) -> str:
    """ " (did you mean 'x'?)" for the nearest known word, or the first known words where none is near."""
    by_folded = {name.casefold(): name for name in reversed(known)}
    close = difflib.get_close_matches(word.strip().casefold(), by_folded, n=1)
    if close:
        return f" (did you mean {by_folded[close[0]]!r}?)"
    return f" (known: {textwrap.shorten(', '.join(dict.fromkeys(known)), 160, placeholder=' ...')})"


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
            numbered = re.fullmatch(r"LABEL_\d+", name)
            why = "a name that transformers gives where none was set" if numbered else str(error)
            raise LorascopeError(
                f"class {name!r} cannot be matched: {why}; name the classes with --labels in the order of the logits"
            ) from error
        if found in matched:
            first = names[matched.index(found)]
            raise LorascopeError(
                f"classes {first!r} and {name!r} both mean {found}; name the classes with "
                "--labels in the order of the logits"
            )
        matched.append(found)
    return tuple(matched)


def taken_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Classes that a user names: known emotions by their canonical names, or, where one of them is no emotion, all as
    they are. Raises `LorascopeError` where two are the same.
    """
    try:
        return match_classes(names)
    except LorascopeError as error:
        twice = next((name for name in names if list(names).count(name) > 1), None)
        if twice is not None or "both mean" in str(error):
            raise LorascopeError(f"--labels: {error if twice is None else repr(twice) + ' is named twice'}") from error
        return tuple(names)


def class_names(names: Sequence[str], label_map: Mapping[str, str | None]) -> tuple[str, ...]:
    """Canonical names of an experiment's classes; a word that the label map gives out may be any.

    Raises `LorascopeError` where a name is unknown, or two mean the same class.
    """
    classes: list[str] = []
    for name in names:
        try:
            found = canonical(name)
        except LorascopeError as error:
            if name not in label_map.values():
                raise LorascopeError(
                    f"corpus.classes: {error}; mend it, or map labels to it with corpus.label_map"
                ) from error
            found = name
        if found in classes:
            raise LorascopeError(f"corpus.classes: {name!r} means {found}, which is there already; name a class once")
        classes.append(found)
    return tuple(classes)


def mapped_labels(
    labels: Iterable[str], label_map: Mapping[str, str | None], classes: Sequence[str]
) -> dict[str, str | None]:
    """The labels of a corpus that a label map speaks of, with the emotion it gives them, None for those it leaves out.

    A key is a label as written in the corpus, or another name of its emotion. Raises `LorascopeError` where a key is
    neither, or a target is no emotion.
    """
    written = sorted(set(labels))
    keys = {label: _key(label, label_map, written) for label in written}
    for key, target in label_map.items():
        if key not in keys.values():
            raise LorascopeError(
                f"corpus.label_map.{key}: no clip has this label{suggestion(key, written)}; mend it or take it out"
            )
        try:
            _ = target is None or target in classes or canonical(target)
        except LorascopeError as error:
            raise LorascopeError(
                f"corpus.label_map.{key}: {error}; give a class, or null to leave the label out"
            ) from error
    targets = {label: label_map[key] for label, key in keys.items() if key is not None}
    return {
        label: target if target is None or target in classes else canonical(target) for label, target in targets.items()
    }


def labels_as_they_are(
    labels: Iterable[str], label_map: Mapping[str, str | None], classes: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """The classes of a task without synonyms (all that occur, sorted, where none are given), and what the label map
    makes of its keys. Raises `LorascopeError` where no clip has a key.
    """
    written = sorted(set(labels))
    for key in label_map:
        if key not in written:
            raise LorascopeError(
                f"corpus.label_map.{key}: no clip has this label{suggestion(key, written)}; mend it or take it out"
            )
    mapped = {label_map.get(label, label) for label in written}
    return tuple(classes) or tuple(sorted(label for label in mapped if label is not None)), dict(label_map)


def _key(label: str, label_map: Mapping[str, str | None], written: Sequence[str]) -> str | None:
    """The key that speaks of a label: its own spelling, else its emotion's canonical name, else a synonym that is
    itself no label of the corpus.
    """
    emotion = _CANONICAL.get(label.strip().lower())
    synonyms = [key for key in label_map if key not in written and _CANONICAL.get(key.strip().lower()) == emotion]
    for key in (label, emotion, *(synonyms if emotion else ())):
        if key in label_map:
            return key
    return None
