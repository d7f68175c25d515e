"""Labelled clips, and an adapter's answers to them."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from peft.tuners.lora import LoraLayer

from ..corpora import CORPORA, READERS, root_of
from ..corpora.corpus import EMOTION, UNKNOWN_SPEAKER, named_speakers, relabelled
from ..corpora.labels import canonical, suggestion
from ..errors import LorascopeError
from ..sound.decoding import prepare_clips
from ..training.passes import predict_clips
from .finding import Unavailable
from .passes import WithOwnHead

if TYPE_CHECKING:
    from .examined import Examined

#: Most clips that are heard, an even sample of every class.
MOST = 600


@dataclass(frozen=True)
class Clips:
    """Clips with their labels as they are written: (id, path, start, end), label and speaker of each. Labels of another
    `task` than emotion have no synonyms.
    """

    pieces: tuple[tuple[str, str, float | None, float | None], ...]
    labels: tuple[str, ...]
    speakers: tuple[str, ...]
    source: str
    joined: Mapping[str, str] = field(default_factory=dict)
    task: str = EMOTION


def read_clips(
    corpus: str | None, root: str | Path | None, manifest: str | Path | None, task: str = EMOTION
) -> Clips | None:
    """The clips of a corpus by its reader, or of a manifest whose labels may be any words; None where neither is given.
    `task` is what the labels are of, as `corpora.load_corpus` takes it.

    Raises `LorascopeError` as the readers do.
    """
    if corpus is None and manifest is None:
        return None
    if manifest is not None:
        place: Path | None = Path(manifest).expanduser()
        if not place.is_file():
            raise LorascopeError(f"--manifest {manifest}: no such file; give a table with path, speaker and emotion")
        found, source = READERS["csv"](place), place.name
    else:
        assert corpus is not None
        reader = READERS.get(corpus)
        if reader is None:
            raise LorascopeError(f"--corpus: unknown reader {corpus!r}{suggestion(corpus, list(READERS))}")
        reads = "root" in inspect.signature(reader).parameters
        found, source = reader(root_of(corpus, root, {})) if reads else reader(), corpus
    about = CORPORA.get(corpus or "csv")
    found = relabelled(found, task, own_labels=about is None or about.clips is None)
    table = found.table
    times = [map(_or_none, table[name]) if name in table else [None] * len(table) for name in ("start", "end")]
    pieces = zip(table["id"].astype(str), table["path"].astype(str), *times, strict=True)
    speakers, _ = named_speakers(table["speaker"])
    return Clips(tuple(pieces), tuple(table["emotion"].astype(str)), tuple(speakers), source, dict(found.joined), task)


def _or_none(value: Any) -> float | None:
    return None if value is None or value != value else float(value)


def same_class(label: str, name: str, task: str = EMOTION) -> bool:
    """Whether a label and a class name are the same word, or names of the same emotion; of another task, whether they
    are the same to the letter.
    """
    if task != EMOTION or label.strip().casefold() == name.strip().casefold():
        return task == EMOTION or label.strip() == name.strip()
    try:
        return canonical(label) == canonical(name)
    except LorascopeError:
        return False


def _class_of(label: str, classes: Sequence[str], joined: Mapping[str, str], task: str) -> int | None:
    """The class that a label is, or that the corpus joins it to; None where it is none."""
    own = next((number for number, name in enumerate(classes) if same_class(label, name, task)), None)
    if own is not None or not joined:
        return own
    other = next((target for source, target in joined.items() if same_class(label, source)), None)
    return None if other is None else next((n for n, name in enumerate(classes) if same_class(other, name)), None)


@dataclass
class Labelled:
    """An adapter's answers to labelled clips: `gold` and `logits` [clips], [clips, classes]; more on demand."""

    examined: Any
    ids: list[str]
    clips: dict[str, Any]
    gold: np.ndarray
    speakers: np.ndarray
    classes: tuple[str, ...]
    context: str
    source: str
    logits: np.ndarray
    _scaled: dict[float, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, examined: Examined, given: Clips, context: str) -> Labelled:
        """Hear every clip whose label is one of the adapter's classes.

        Raises `LorascopeError` where no label is one of the classes, and `Unavailable` where too few clips remain.
        """
        classes = examined.class_names
        known = {label: _class_of(label, classes, given.joined, given.task) for label in set(given.labels)}
        kept = [number for number, label in enumerate(given.labels) if known[label] is not None]
        if not kept:
            labels = ", ".join(sorted(set(given.labels))[:6])
            raise LorascopeError(
                f"{given.source}: none of its labels ({labels}) is a class of the adapter ({', '.join(classes)}); give "
                "clips of these classes, or the classes' names with --labels"
            )
        if len(kept) < len(given.labels):
            examined.remarks.append(f"{len(given.labels) - len(kept)} clips have labels that are none of the classes")
        kept = _even(kept, [known[given.labels[number]] for number in kept])
        gold = np.array([known[given.labels[number]] for number in kept])
        counts = Counter(gold.tolist())
        if len(counts) < 2 or len(kept) < FEWEST:
            raise Unavailable(
                f"{len(kept)} clips of {len(counts)} classes are too few to tell anything (at least {FEWEST} of two)"
            )
        pieces = [given.pieces[number] for number in kept]
        clips = prepare_clips(pieces, examined.settings)
        ids = [piece[0] for piece in pieces]
        logits = predict_clips(WithOwnHead(examined.model, True), ids, clips, context, 8)
        speakers = np.array([given.speakers[number] for number in kept])
        return cls(examined, ids, clips, gold, speakers, classes, context, given.source, logits)

    def answers_with(self, on: bool = True, context: str | None = None) -> np.ndarray:
        """Logits [clips, classes] of the adapter's head with the adapter on or off, in this or another context."""
        model = WithOwnHead(self.examined.model, on)
        return predict_clips(model, self.ids, self.clips, context or self.context, 8)

    @property
    def logits_off(self) -> np.ndarray:
        """Logits of the adapter's head on the frozen encoder, [clips, classes]."""
        if 0.0 not in self._scaled:
            self._scaled[0.0] = self.answers_with(on=False)
        return self._scaled[0.0]

    def scaled(self, scale: float) -> np.ndarray:
        """Logits [clips, classes] with the update scaled."""
        if scale == 0:
            return self.logits_off
        if scale not in self._scaled:
            layers = [each for each in self.examined.parts.classifier.modules() if isinstance(each, LoraLayer)]
            before = [dict(layer.scaling) for layer in layers]
            try:
                for layer in layers:
                    layer.scaling.update({name: scale * value for name, value in layer.scaling.items()})
                self._scaled[scale] = self.answers_with()
            finally:
                for layer, own in zip(layers, before, strict=True):
                    layer.scaling.update(own)
        return self._scaled[scale]

    @property
    def predicted(self) -> np.ndarray:
        """The class of every clip, [clips]."""
        return self.logits.argmax(axis=1)

    @property
    def names_speakers(self) -> bool:
        """Whether the speakers are known."""
        return len(set(self.speakers.tolist()) - {UNKNOWN_SPEAKER}) > 1


#: Clips below which nothing is said: with fewer, no test reaches the level of findings.
FEWEST = 20


def _even(kept: Sequence[int], classes: Sequence[Any]) -> list[int]:
    """At most `MOST` clips, as many of every class as there are, spread over the table."""
    if len(kept) <= MOST:
        return list(kept)
    share = MOST // len(set(classes))
    chosen: list[int] = []
    for name in sorted(set(classes)):
        of_class = [number for number, other in zip(kept, classes, strict=True) if other == name]
        places = np.unique(np.linspace(0, len(of_class) - 1, min(share, len(of_class))).round().astype(int))
        chosen += [of_class[place] for place in places]
    return sorted(chosen)
