"""Two corpora as one, for training on the first and testing on the second: names that can't collide, and what
differs between them told.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import LorascopeError
from ..checking.sounds import header
from ..corpus import UNKNOWN_SPEAKER, Corpus

#: Of so many files of a corpus the headers are read, evenly over its clips; a rate that is rarer
#: than that may go unseen.
HEADERS = 2000


def join(train: Corpus, test: Corpus) -> Corpus:
    """One corpus of the clips of both, with a column `corpus`; ids, speakers and sessions are prefixed by their
    corpus' name (`emodb/03`).

    Speakers whom `train` doesn't know stay unknown. The notes tell each corpus' size, languages and sample rates. Both
    must have the same classes. Raises `LorascopeError` where a file is in both.
    """
    if train.classes != test.classes:
        raise LorascopeError(
            f"test_corpus.classes: {', '.join(test.classes)} are not those of corpus "
            f"({', '.join(train.classes)}); give both the same"
        )
    if train.task != test.task:
        raise LorascopeError(f"test_corpus.task: {test.task} is not that of corpus ({train.task}); give both the same")
    twice = _files(train) & _files(test)
    if twice:
        raise LorascopeError(
            f"test_corpus: {min(twice)} is in corpus too ({len(twice)} files in all); what is trained on can't "
            "be tested on: give another root"
        )
    names = (train.name, test.name) if train.name != test.name else (f"{train.name}-1", f"{test.name}-2")
    both = dict(zip(names, (train, test), strict=True))
    rates = [_rates(train), _rates(test)]
    notes = [
        (
            f"{name}: {len(corpus.clips)} clips of {len(corpus.speakers)} speakers, language {_languages(corpus)}, "
            f"recorded at {recorded}{of}"
        )
        for (name, corpus), (recorded, of) in zip(both.items(), rates, strict=True)
    ]
    notes += [f"{name}: {note}" for name, corpus in both.items() for note in corpus.notes]
    if _languages(train) != _languages(test):
        notes.append("the languages differ: what doesn't carry over may be the language as well as the corpus")
    if rates[0][0] != rates[1][0]:
        notes.append("the sample rates differ: all is resampled to 16 kHz, but what was recorded narrower stays so")
    alike = sorted({*train.speakers} & {*test.speakers} - {UNKNOWN_SPEAKER}) if train.name == test.name else []
    if alike:
        notes.append(
            f"both corpora have speakers named {', '.join(alike[:8])}{' and others' if len(alike) > 8 else ''}, "
            "who are taken for different people"
        )
    clips = pd.concat([_clips(name, corpus, name == names[0]) for name, corpus in both.items()])
    left_out = [
        corpus.left_out.assign(reason=[f"{name}: {reason}" for reason in corpus.left_out["reason"]])
        for name, corpus in both.items()
        if len(corpus.left_out)
    ]
    return Corpus(
        name="-to-".join(names),
        clips=clips.sort_index(),
        classes=train.classes,
        left_out=pd.concat(left_out, ignore_index=True) if left_out else train.left_out,
        notes=tuple(notes),
        optimistic=tuple(dict.fromkeys([*train.optimistic, *test.optimistic])),
        synthetic=train.synthetic or test.synthetic,
        task=train.task,
        parts=names,
    )


def _clips(name: str, corpus: Corpus, trained: bool) -> pd.DataFrame:
    def prefixed(column: pd.Series) -> pd.Series:
        return (f"{name}/" + column.astype(str)).where(column.notna(), column)

    clips = corpus.clips.assign(corpus=name, session=prefixed(corpus.clips["session"]))
    speaker = prefixed(clips["speaker"])
    # an unknown speaker of the other corpus is nobody of this one, so that those clips can be tested, as one speaker's
    clips["speaker"] = speaker.where(clips["speaker"] != UNKNOWN_SPEAKER, UNKNOWN_SPEAKER) if trained else speaker
    clips.index = pd.Index([f"{name}/{clip}" for clip in clips.index], name=clips.index.name)
    return clips


def _files(corpus: Corpus) -> set[str]:
    return {str(Path(path).resolve()) for path in corpus.clips["path"].unique()}


def _languages(corpus: Corpus) -> str:
    return ", ".join(sorted(corpus.clips["language"].dropna().astype(str).unique())) or "not told"


def _rates(corpus: Corpus) -> tuple[str, str]:
    """The sample rates of a corpus by its files' headers, and by how many of them where not all were read."""
    files = list(corpus.clips["path"].unique())
    some = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(HEADERS, len(files))).round().astype(int))]
    rates = sorted({header(Path(path))[0] for path in some})
    of = "" if len(some) == len(files) else f" (by {len(some)} of {len(files)} files)"
    return ", ".join(f"{rate / 1000:g} kHz" for rate in rates), of
