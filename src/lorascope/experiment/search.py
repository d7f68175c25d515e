"""A search over ways to adapt within every fold, by successive halving: all candidates begin, and after every rung the
worse part of them is dropped.

This module knows the settings and the arithmetic, and nothing of what is trained; torch is not imported here.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator

from .section import Count, Section

Linear = Literal["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
#: The linear layers of a block that can be adapted, in the order in which the block runs them.
LINEARS: tuple[str, ...] = get_args(Linear)
#: What a search may cost, in plain trainings.
TRAININGS = 3


def in_order(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Linear layers by name, in the block's own order. Raises `ValueError` where there are none."""
    if not targets:
        raise ValueError("name at least one projection")
    return tuple(name for name in LINEARS if name in targets)


def words_of(targets: tuple[str, ...]) -> str:
    """Linear layers in words: as PEFT calls all of them, since six names would fit no table."""
    return "all-linear" if targets == LINEARS else "+".join(targets)


def _all_linear(targets: object) -> object:
    # as PEFT calls them
    return LINEARS if targets == "all-linear" else targets


Targets = Annotated[tuple[Linear, ...], BeforeValidator(_all_linear)]


class Search(Section):
    """What is searched over beside the learning rates: `targets` (several lists of linear layers, or all-linear) and
    `rank`, at the method's own scale. Nothing given: the method's own, so that the rates alone are searched over.
    """

    targets: Annotated[tuple[Targets, ...], Field(min_length=1)] | None = None
    rank: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None

    @field_validator("targets")
    @classmethod
    def _in_order(cls, targets: tuple[tuple[str, ...], ...] | None) -> tuple[tuple[str, ...], ...] | None:
        return None if targets is None else tuple(in_order(each) for each in targets)


def rungs(candidates: int, epochs: int) -> list[tuple[int, int]]:
    """Successive halving (Jamieson and Talwalkar 2016): how many candidates are trained until which epoch, rung by
    rung; the last one is trained to the end.

    Of so many candidates a half goes on after each rung, or less where halves would cost more than `TRAININGS` plain
    trainings; rungs are as long as that allows. Candidates go on from where they were. Raises `ValueError` where even
    one epoch of all is too much.
    """
    if candidates == 1:
        return [(1, epochs)]
    for share in range(2, candidates + 1):
        counts = [candidates]
        while counts[-1] > 1:
            counts.append(math.ceil(counts[-1] / share))
        several = counts[:-1]
        # length · Σ counts + (epochs - length · rungs) <= TRAININGS · epochs
        length = min((TRAININGS - 1) * epochs // (sum(several) - len(several)), (epochs - 1) // len(several))
        if length >= 1:
            ends = [length * (number + 1) for number in range(len(several))]
            return [*zip(several, ends, strict=True), (1, epochs)]
    raise ValueError(
        f"{candidates} candidates are too many for {TRAININGS} trainings of {epochs} epochs; search over fewer, or "
        "train for more epochs"
    )


def epochs_of(candidates: int, epochs: int) -> int:
    """Epochs that a search trains in all."""
    before, total = 0, 0
    for count, end in rungs(candidates, epochs):
        total, before = total + count * (end - before), end
    return total
