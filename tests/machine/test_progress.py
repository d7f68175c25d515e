"""Progress in a log: a line every half minute with the time left, and nothing of a short loop."""

from __future__ import annotations

import itertools

import pytest

from lorascope.machine import progress


def test_a_long_loop_tells_every_half_minute_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    # 0.1 s a clip: the clock is asked once before the loop and once a clip
    clock = (step / 10 for step in itertools.count())
    items = list(range(3000))
    assert list(progress._lines(items, "reading clips", len(items), lambda: next(clock))) == items
    lines = capsys.readouterr().err.splitlines()
    # the clip before which the clock says 30 s is the 300th, of which 299 are done; the last is told at 300 s
    assert [int(line.split()[2]) for line in lines] == [300 * number - 1 for number in range(1, 11)]
    assert lines[0].startswith("reading clips: ") and lines[0].endswith(" of 3000, 4:31 left")


def test_a_short_loop_is_silent_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.bar(iter("abc"), "reading clips")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("done", "total", "seconds", "words"),
    [(0, 5, 40, "0 of 5"), (7, None, 40, "7"), (1, 2, 3700, "1 of 2, 1:01:40 left"), (5, 5, 3, "5 of 5, 0:00 left")],
)
def test_what_is_left(done: int, total: int | None, seconds: float, words: str) -> None:
    assert progress.told(done, total, seconds) == words
