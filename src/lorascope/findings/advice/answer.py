"""What advice consists of: questions with an answer and its evidence, or with what would make them answerable; and the
numbers in words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A question and what the run's tables say to it.

    `answer` is None where they cannot tell; then `evidence` says why, and `lacking` are the lines of a configuration
    (or options of `lorascope analyze`) by which another run could. `lines` are keyword arguments of PEFT's
    `LoraConfig`, comments among them.
    """

    question: str
    answer: str | None
    evidence: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def told(self) -> list[str]:
        """The answer as lines of text."""
        words = [f"{self.question} {self.answer or CANNOT}", *(f"  - {text}" for text in self.evidence)]
        if self.lacking:
            words += ["  - these lines would make it tellable:", *(f"      {line}" for line in self.lacking)]
        return words


CANNOT = "can't tell from this run"


@dataclass(frozen=True)
class Advice:
    """What a run says to whoever trains the next adapter: what its numbers rest on, and an answer to each question."""

    about: tuple[str, ...]
    answers: tuple[Answer, ...]

    @property
    def lines(self) -> list[str]:
        """What may be pasted into PEFT's `LoraConfig`."""
        return [line for answer in self.answers for line in answer.lines]

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {"about": list(self.about), "answers": [asdict(each) for each in self.answers], "lines": self.lines}

    def __str__(self) -> str:
        told = [line for answer in self.answers for line in [*answer.told, ""]]
        lines = self.lines or ["# nothing could be told"]
        return "\n".join([*self.about, "", *told, "For peft.LoraConfig:", "", *(f"    {line}" for line in lines)])


def interval(row: Any, name: str, form: str = ".3f") -> str:
    """A number with its 95 % interval, from the columns `name`, `name_low`, `name_high`."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    ends = "no interval" if low != low or high != high else f"{low:{form}}, {high:{form}}"
    return f"{row[name]:{form}} [{ends}]".replace("-", "−")


def change(row: Any, name: str) -> str:
    """The same of a change, with its sign."""
    return interval(row, name, "+.3f")


def listed(numbers: Iterable[int]) -> str:
    """Numbers as "0, 1, 4"."""
    return ", ".join(map(str, sorted(numbers)))


def blocks(numbers: Iterable[int]) -> str:
    """Blocks as "block 3" or "blocks 0, 1"."""
    found = sorted(numbers)
    return f"block{'' if len(found) == 1 else 's'} {listed(found) or 'none'}"
