"""Inner folds: the training part of a fold dealt into groups, each held out once, so that epoch and learning rate can
be chosen on every training speaker and on no other.
"""

from __future__ import annotations

from ...errors import LorascopeError
from ..corpus import UNKNOWN_SPEAKER, Corpus
from .dealing import Parts, grouped, groups_of, inseparable, speakers_are_classes
from .protocols import deal_evenly


def inner_parts(
    corpus: Corpus, parts: Parts, count: int, seed: int, group_by: str | None
) -> tuple[tuple[str, ...], ...]:
    """The training clips of a fold that each of `count` inner folds holds out.

    Whoever may not be parted (speakers of a session, groups of the column `group_by`) is held out together; clips of
    unknown speakers are always trained on. Groups are about even in clips and classes. Raises `LorascopeError` where
    there are fewer speakers than inner folds, or one would train without a class.
    """
    train = corpus.clips.loc[list(parts.train)]
    if speakers_are_classes(corpus):
        assert group_by is not None
        keys = groups_of(corpus, group_by).reindex(train.index)
        units = [[key] for key in sorted(keys.dropna().unique())]
    else:
        keys = train["speaker"]
        units = inseparable(corpus, sorted(set(keys) - {UNKNOWN_SPEAKER}), group_by)
    if len(units) < count:
        what = "speakers who can be parted" if group_by is None else grouped(group_by)
        raise LorascopeError(
            f"folds.inner: fold {parts.name} trains on {len(units)} {what}, too few for {count} inner folds; give fewer"
        )
    groups = deal_evenly(train, keys, units, count, seed)
    held = [tuple(train.index[keys.isin(group)]) for group in groups]
    for number, out in enumerate(held, 1):
        lacking = set(train["emotion"]) - set(train.drop(list(out))["emotion"])
        if lacking:
            raise LorascopeError(
                f"folds.inner: inner fold {number} of fold {parts.name} would train without the class "
                f"{sorted(lacking)[0]}; use selection: validation_speaker, or take the class out"
            )
    return tuple(held)
