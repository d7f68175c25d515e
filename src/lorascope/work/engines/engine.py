"""What any engine does."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from ..unit import Job, Outcome


class Engine(Protocol):
    """What runs jobs."""

    @property
    def words(self) -> str:
        """The engine in words."""
        ...

    def outcomes(
        self, work: Callable[[Job], Outcome], jobs: Sequence[Job]
    ) -> Generator[tuple[Job, Outcome | Exception], None, None]:
        """Each job with its outcome, or with the error that took its worker away, in the order in which they end."""
        ...

    def close(self) -> None:
        """Let its workers go."""
        ...
