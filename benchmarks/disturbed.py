"""A run or a sweep and what it must be after whatever befell it (faults.py): the numbers of an undisturbed one."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiny_runs
from tiny_runs import differing, numbers, start, whole

#: What is counted beside faults.
COUNTED = ("lost", "stale", "wrong", "traceback")


@dataclass
class Found:
    """How many faults of a kind there were, and what went wrong after them, in words."""

    faults: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    def complain(self, what: str, words: str) -> None:
        """Count something that went wrong."""
        self.bad[what] += 1
        self.words.append(f"{what}: {' '.join(words.split())[:2000]}")


class Bench:
    """Corpus, backbone and configurations, and the numbers of undisturbed runs; `place` is a folder for all of it."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.random = place, random.Random(seed)
        self.sounds = {name: tiny_runs.corpus(place / name, change) for name, change in (("a", 0.0), ("b", 37.0))}
        self.given = tiny_runs.corpus(place / "given")
        classic = {**tiny_runs.METHODS, "classic": {}}
        contents = {
            "run": tiny_runs.experiment(self.given),
            "reseeded": tiny_runs.experiment(self.given, seed=2),
            "sweep": tiny_runs.grid(self.given),
            "reseeded-sweep": tiny_runs.grid(self.given, seed=2),
            "classic": tiny_runs.experiment(self.given, classic),
        }
        self.files = {name: tiny_runs.write(place / f"{name}.yaml", told) for name, told in contents.items()}
        self._truth: dict[str, tuple[dict[str, Any], float]] = {}

    def arguments(self, what: str, out: Path) -> list[str]:
        """The command for one of the configurations."""
        return ["sweep" if "sweep" in what else "run", str(self.files[what]), "--out", str(out)]

    def truth(self, what: str, sound: str = "a") -> dict[str, Any]:
        """The numbers of an undisturbed run."""
        return self._undisturbed(what, sound)[0]

    def seconds(self, what: str) -> float:
        """How long an undisturbed run takes."""
        return self._undisturbed(what, "a")[1]

    def _undisturbed(self, what: str, sound: str) -> tuple[dict[str, Any], float]:
        if (key := what + sound) not in self._truth:
            self.hear(sound)
            folder, begun = self.fresh(), time.monotonic()
            command = start(self.arguments(what, folder / "out"), folder / "log", folder / "cache")
            if command.wait():
                raise RuntimeError(command.said)
            self._truth[key] = numbers(folder / "out"), time.monotonic() - begun
            self.hear("a")
        return self._truth[key]

    def fresh(self, on: Path | None = None) -> Path:
        """A new folder, for a run and its cache."""
        return Path(tempfile.mkdtemp(dir=on or self.place))

    def hear(self, sound: str) -> None:
        """Let the one clip that differs between the two corpora be that of "a" or of "b"."""
        source = self.sounds[sound].parent / "ann-anger.wav"
        beside = self.given.parent / ".new"
        shutil.copy(source, beside)
        beside.replace(self.given.parent / source.name)

    def moment(self, what: str) -> float:
        """A moment of a run of its kind, in seconds from its start; some are after its end."""
        return self.random.uniform(0.05, 1.05) * self.seconds(what)

    def goes_on(self, found: Found, what: str, folder: Path, kept: dict[str, str] | None = None) -> None:
        """The same command goes on and ends with the numbers of an undisturbed one, and with the units kept."""
        command = start(self.arguments(what, folder / "out"), folder / "log", folder / "cache")
        self.ends(found, what, folder, command.wait(), command.said, kept)

    def ends(
        self, found: Found, what: str, folder: Path, code: int, said: str, kept: dict[str, str] | None = None
    ) -> None:
        """What a command left that ended with `code` and should have finished."""
        if "Traceback" in said:
            found.complain("traceback", said)
        if code:
            found.complain("lost", f"cannot be resumed, code {code}: {said[-1500:]}")
            return
        try:
            wrong = differing(numbers(folder / "out"), self.truth(what))
        except AssertionError as error:
            wrong = [str(error)]
        if wrong:
            found.complain("wrong", f"{what}: {', '.join(wrong)}")
        now = whole(folder / "out")
        lost = [name for name, seal in (kept or {}).items() if now.get(name) != seal]
        if lost:
            found.complain("lost", f"{what}: {', '.join(lost)} whole before, computed again: {said[-1500:]}")
