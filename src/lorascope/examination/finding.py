"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, TypeVar

from ..by_name import modules_in

#: Evidence for a decision at this level of significance; findings must not cry on what is merely weak.
ALPHA = 0.01


Value = TypeVar("Value")


class Unavailable(Exception):
    """What a check needs cannot be had here; the check is skipped with this reason."""


class Inapplicable(Unavailable):
    """A check is not for this kind of adapter."""


class once(cached_property[Value]):
    """A property that is computed once; where it raised `Unavailable`, that is raised again without another try."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The value, or the refusal, of the first time."""
        if instance is None:
            return self
        refused = instance.__dict__.setdefault("_refused", {})
        name = self.attrname
        if name in refused:
            raise refused[name]
        try:
            return super().__get__(instance, owner)
        except Unavailable as error:
            refused[name] = error
            raise


@dataclass(frozen=True)
class Finding:
    """A sickness, or a remark, with its evidence. `message` says what is wrong and what it does to results, `mend`
    what mends it; `layers` are those that are concerned, where it is some of them.
    """

    code: str
    level: Literal["sick", "remark"]
    message: str
    mend: str
    evidence: dict[str, Any] = field(default_factory=dict)
    layers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a check's function gives for a finding: the rest is the check's own."""

    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    layers: Sequence[int] = ()
    level: Literal["sick", "remark"] = "sick"
    mend: str | None = None


@dataclass(frozen=True)
class Check:
    """One question to an adapter.

    `sentence` says what the sickness is; `needs` are properties of `Examined` that it reads (where one cannot be
    had, the check is skipped with the reason); `decide` gives what it found; `mend` is what mends it. `after` are the
    codes of causes: where one of them was found sick, this one would be its consequence, and is not told again.
    """

    code: str
    sentence: str
    needs: tuple[str, ...]
    decide: Callable[[Any], Iterator[Found]]
    mend: str
    after: tuple[str, ...] = ()

    def findings(self, examined: Any) -> list[Finding]:
        """What it finds; raises `Unavailable` where something that it needs cannot be had."""
        for need in self.needs:
            getattr(examined, need)
        return [
            Finding(self.code, found.level, found.message, found.mend or self.mend, found.evidence, tuple(found.layers))
            for found in self.decide(examined)
        ]


def check(
    code: str, sentence: str, needs: Sequence[str] = (), after: Sequence[str] = (), *, mend: str
) -> Callable[[Callable[[Any], Iterator[Found]]], Check]:
    """Make a `Check` of the function that decides."""
    return lambda decide: Check(code, sentence, tuple(needs), decide, mend, tuple(after))


def all_checks() -> tuple[Check, ...]:
    """Every check of `checks/`, causes before their consequences."""
    held = [
        (module.ORDER, value)
        for _, module in modules_in("lorascope.examination.checks", "ORDER")
        for value in vars(module).values()
        if isinstance(value, Check)
    ]
    found = [value for _, value in sorted(held, key=lambda pair: pair[0])]
    codes = {each.code: each for each in found}
    graph = TopologicalSorter({each.code: [code for code in each.after if code in codes] for each in found})
    try:
        graph.prepare()
    except CycleError as error:
        raise AssertionError(f"checks wait for each other: {error.args[1]}") from error
    position = {each.code: number for number, each in enumerate(found)}
    ordered: list[Check] = []
    while graph.is_active():
        for code in sorted(graph.get_ready(), key=position.__getitem__):
            ordered.append(codes[code])
            graph.done(code)
    return tuple(ordered)
