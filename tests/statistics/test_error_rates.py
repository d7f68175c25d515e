"""Error rates: texts by what is said, counts by hand and by edit distance, intervals that hold what they should."""

from __future__ import annotations

import numpy as np
import pytest
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

from lorascope.statistics.error_rates import Errors, errors, plain, rate_interval
from lorascope.statistics.intervals import LeftOut

pytest.importorskip("jiwer")

TEXTS = [
    "Kids are talking by the door.",
    "  Don't [noise] you -- DARE (laughs)  ",
    "Für Tüten, die da unter dem Tisch stehen?",
    "<|en|> $5 is 50 % of “ten”…",
    "",
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_compared_is_whispers_own_plain_text(text):
    assert plain(text) == BasicTextNormalizer()(text).strip()


def distance(one, two) -> int:
    """Levenshtein's, by the textbook's recursion."""
    last = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        now = [i]
        for j, b in enumerate(two, 1):
            now.append(min(last[j] + 1, now[-1] + 1, last[j - 1] + (a != b)))
        last = now
    return last[-1]


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("Kids are talking by the door.", "kids are talking by the door"),
        ("Kids are talking by the door.", "The kids walking by a door door."),
        ("Dogs are sitting by the door.", ""),
        ("one two three", "three two one two three four"),
    ],
)
def test_errors_are_the_least_edits(reference, text):
    one, two = plain(reference), plain(text)
    expected = Errors(distance(one.split(), two.split()), len(one.split()), distance(one, two), len(one))
    assert errors(reference, text) == expected


def test_of_nothing_every_word_is_inserted():
    assert errors("", "two words") == Errors(2, 0, 9, 0) and errors("...", "!") == Errors(0, 0, 0, 0)


def speakers(count: int, clips: int) -> np.ndarray:
    return np.repeat([f"s{number}" for number in range(count)], clips)


def interval(wrong: np.ndarray, of: int, who: np.ndarray) -> tuple[float, float]:
    left_out = LeftOut(who, np.zeros(len(who), dtype=int))
    without = left_out.weights @ wrong / (left_out.weights @ np.full(len(wrong), of))
    return rate_interval(left_out, wrong.sum() / (of * len(wrong)), without, of * len(wrong))


def test_no_error_is_not_certainty_and_a_rate_has_no_upper_bound():
    low, high = interval(np.zeros(40), 6, speakers(8, 5))
    assert low == 0 and 0 < high < 0.05
    wrong = np.random.default_rng(0).poisson(9, 40)
    low, high = interval(wrong, 6, speakers(8, 5))
    assert 1 < low < wrong.mean() / 6 < high


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "spread"), [(0.03, 0.3), (0.3, 0.5), (1.2, 0.3)])
def test_the_interval_holds_the_rate_about_as_often_as_it_says(mean, spread):
    """Twelve speakers of eight sentences of six words, who differ by a lognormal factor."""
    random = np.random.default_rng(1)
    who, held = speakers(12, 8), 0
    for _ in range(600):
        factor = np.exp(spread * random.standard_normal(12) - spread**2 / 2)
        low, high = interval(random.poisson(6 * mean * np.repeat(factor, 8)).astype(float), 6, who)
        held += low <= mean <= high
    assert 0.92 <= held / 600 <= 0.98
