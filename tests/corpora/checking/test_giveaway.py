"""The guesser who knows the sentence alone: against a guesser written plainly, and on sentences
that tell all or nothing.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from lorascope.corpora.checking.giveaway import giveaway


def clips(seed: int, speakers: int = 6, texts: int = 5, emotions: int = 3, count: int = 200) -> pd.DataFrame:
    """Speakers, sentences and emotions that have nothing to do with each other."""
    random = np.random.default_rng(seed)
    columns = {"speaker": speakers, "text": texts, "emotion": emotions}
    return pd.DataFrame(
        {name: [f"{name}{n}" for n in random.integers(0, most, count)] for name, most in columns.items()}
    )


def plain_uar(table: pd.DataFrame) -> float:
    """Clip by clip, in fractions."""
    emotions = sorted(table["emotion"].unique())
    right: dict[str, list[Fraction]] = {emotion: [] for emotion in emotions}
    for row in table.itertuples():
        others = table[table["speaker"] != row.speaker]
        total, said = Counter(others["emotion"]), Counter(others.loc[others["text"] == row.text, "emotion"])
        share = {emotion: Fraction(said[emotion], max(total[emotion], 1)) for emotion in emotions}
        best = [emotion for emotion in emotions if share[emotion] == max(share.values())]
        right[str(row.emotion)].append(Fraction(int(row.emotion in best), len(best)))
    return float(sum(Fraction(sum(hits), len(hits)) for hits in right.values()) / len(emotions))


@pytest.mark.parametrize("seed", range(4))
def test_the_score_is_that_of_a_plain_guesser(seed: int) -> None:
    table = clips(seed, texts=12, count=80)
    found = giveaway(table, draws=1)
    assert found is not None and found.uar == pytest.approx(plain_uar(table))


def test_sentences_that_belong_to_an_emotion_tell_all() -> None:
    table = clips(0)
    found = giveaway(table.assign(text=table["emotion"]))
    assert found is not None and found.uar == 1 and found.p == 1 / 200 and found.tells


def test_sentences_that_tell_nothing_are_within_the_null() -> None:
    found = [giveaway(clips(seed), draws=99, seed=seed) for seed in range(40)]
    # p values of independent data are uniform: a tenth of 40 is 4, standard deviation 1.9
    assert sum(f is not None and f.p <= 0.1 for f in found) <= 11
    assert not any(f is None or f.tells for f in found)


def test_a_speakers_own_sentences_tell_nothing_of_others() -> None:
    # one speaker says sentence 1 only angrily, which nobody else says at all: a table of sentences and emotions alone
    # would show a strong association
    table = clips(1)
    table.loc[table["speaker"] == "speaker0", "text"] = "own " + table["emotion"]
    found = giveaway(table)
    assert found is not None and not found.tells and found.texts == 5
    assert giveaway(table.assign(text=table["speaker"] + table["emotion"])) is None


def test_many_speakers_are_left_out_in_groups() -> None:
    table = clips(2, speakers=60, count=600)
    telling = giveaway(table.assign(text=table["emotion"]), draws=19)
    silent = giveaway(table, draws=99)
    assert telling is not None and telling.uar == 1 and silent is not None and not silent.tells


def test_clips_without_a_text_are_left_aside() -> None:
    table = clips(3)
    half = table.assign(text=table["text"].where(table.index % 2 == 0))
    found, even = giveaway(half), giveaway(table[table.index % 2 == 0])
    assert found == even and found is not None and found.clips == 100
    assert giveaway(table.assign(emotion="anger")) is None
