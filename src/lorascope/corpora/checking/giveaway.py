"""Does the sentence give the emotion away? The score of a guesser who knows the sentence and hears nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: With more speakers than this they are left out in ten groups, not one by one.
_SINGLY = 24


@dataclass(frozen=True)
class Giveaway:
    """`uar` of the guesser; `chance`, 1 over the number of emotions; `null`, the 95th percentile of its UAR where
    sentences tell nothing, and the p value of that.

    `texts` are the sentences that at least two speakers say, `clips` all clips that have a text.
    """

    uar: float
    chance: float
    null: float
    p: float
    texts: int
    clips: int

    @property
    def tells(self) -> bool:
        """Whether a result could rest on the sentence: beyond the null (p < .01), and by enough to matter (a tenth
        of the way from chance to 1).
        """
        return self.p < 0.01 and self.uar - self.chance >= 0.1 * (1 - self.chance)


def giveaway(clips: pd.DataFrame, draws: int = 199, seed: int = 42) -> Giveaway | None:
    """The guesser's unweighted average recall (columns text, emotion, speaker); None where no sentence is said by two
    speakers, or there is only one emotion.

    For each clip, the guess is the emotion in whose clips by other speakers this sentence is the most frequent (shares
    within the emotion, so that common emotions have no advantage); ties, such as a sentence that nobody else says, are
    shared out. That is the UAR which a recogniser could reach on new speakers without listening, in the measure in
    which results are reported; Cramér's V of the table of sentences and emotions would also count what is peculiar to
    one speaker. The null shuffles emotions within each speaker `draws` times.
    """
    table = clips.dropna(subset="text")
    shared = table.groupby("text")["speaker"].nunique()
    emotions = sorted(table["emotion"].unique())
    texts = [str(text) for text in shared[shared > 1].index]
    if not texts or len(emotions) < 2:
        return None
    random = np.random.default_rng(seed)
    speaker = pd.factorize(table["speaker"])[0]
    group = speaker if speaker.max() < _SINGLY else random.permutation(np.arange(speaker.max() + 1) % 10)[speaker]
    # a sentence of one speaker alone is never heard from others: number -1
    text = table["text"].astype(str).map({name: number for number, name in enumerate(texts)}).fillna(-1).astype(int)
    emotion = table["emotion"].map({name: number for number, name in enumerate(emotions)}).to_numpy()
    order = np.argsort(speaker, kind="stable")
    group, text, emotion, speaker = group[order], text.to_numpy()[order], emotion[order], speaker[order]
    observed = _uar(group, text, emotion, len(texts), len(emotions))
    null = np.empty(draws)
    for draw in range(draws):
        # sorting by a random key within each speaker shuffles that speaker's emotions
        shuffled = emotion[np.lexsort((random.random(len(emotion)), speaker))]
        null[draw] = _uar(group, text, shuffled, len(texts), len(emotions))
    p = (1 + int((null >= observed - 1e-12).sum())) / (1 + draws)
    return Giveaway(observed, 1 / len(emotions), float(np.quantile(null, 0.95)), p, len(texts), len(table))


def _uar(group: np.ndarray, text: np.ndarray, emotion: np.ndarray, texts: int, emotions: int) -> float:
    """Groups, texts (-1: said by one speaker alone) and emotions are numbered, [clips]."""
    counts = np.zeros((group.max() + 1, texts, emotions))
    heard = text >= 0
    np.add.at(counts, (group[heard], text[heard], emotion[heard]), 1)
    per_emotion = np.zeros((group.max() + 1, emotions))
    np.add.at(per_emotion, (group, emotion), 1)
    recalled, everybody, everything = np.zeros(emotions), counts.sum(axis=0), per_emotion.sum(axis=0)
    for own, total in zip(counts, per_emotion, strict=True):
        others = np.maximum(everything - total, 1)
        share = (everybody - own) / others
        best = share >= share.max(axis=1, keepdims=True) - 1e-12
        recalled += (own * best / best.sum(axis=1, keepdims=True)).sum(axis=0)
    alone = np.bincount(emotion[~heard], minlength=emotions)
    return float(((recalled + alone / emotions) / everything).mean())
