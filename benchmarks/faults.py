"""Faults of every kind, some hundred of them, and what became of the results: lost, stale, wrong, or a traceback.

    python benchmarks/faults.py              # all, with seed 0
    python benchmarks/faults.py --quick      # one or two of each kind; `make test` does this
    python benchmarks/faults.py --only disks --seed 3

Each fault meets the smallest run or sweep (tiny_runs.py) at a seeded moment. Then the same command goes on, and what it
leaves is held against an undisturbed one: every table exactly, and every unit that was whole (after a power cut: that
was said to be) must be the very one that it was, not one computed again. Looks at locks are hastened, and figures are
not rendered (`tiny_runs.quick_looks`); else it is the command as people call it, but that sweeps compute in its own
process; those of the kind "workers" have real ones. What a machine does not allow is told.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import measure
import power
import tiny_runs
import torch
from isolation import Isolated, mount, possible
from tiny_runs import Command, differing, numbers, start, whole

from lorascope.store import seals

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
        self._count = 0

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
        self._count += 1
        folder = (on or self.place) / f"case-{self._count}"
        folder.mkdir(parents=True)
        return folder

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


def kills(bench: Bench, found: Found, times: int, what: str = "run", prepare: Any = lambda: None, *more: str) -> None:
    """kill -9 of all its processes, up to four times on its way."""
    while found.faults < times:
        folder = bench.fresh()
        kept: dict[str, str] = {}
        for _ in range(min(bench.random.randint(1, 4), times - found.faults)):
            arguments = [*bench.arguments(what, folder / "out"), *more]
            command = start(arguments, folder / "log", folder / "cache", prepare)
            time.sleep(bench.moment(what))
            command.end(signal.SIGKILL)
            found.faults += 1
            kept = whole(folder / "out")
        bench.goes_on(found, what, folder, kept)
        shutil.rmtree(folder)


def workers(bench: Bench, found: Found, times: int) -> None:
    """The same of a sweep with processes of its own, whose start takes some seconds."""
    kills(bench, found, times, "sweep", lambda: None, "--workers", "1", "--threads", "1")


def signals(bench: Bench, found: Found, times: int) -> None:
    """SIGTERM, SIGHUP and SIGINT: one line, the signal's code, and it goes on."""
    for number in range(times):
        folder, sent = bench.fresh(), (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)[number % 3]
        what = ("run", "sweep")[number % 2]
        command = start(bench.arguments(what, folder / "out"), folder / "log", folder / "cache")
        # before it can say anything it dies of a signal as any process does
        time.sleep(0.2 + bench.moment(what))
        code = command.end(sent)
        found.faults += 1
        ended = f"interrupted{'' if sent == signal.SIGINT else f' by {sent.name}'}; the same command continues"
        if code != 0 and (code != 128 + sent or ended not in command.said.splitlines()[-1]):
            found.complain("traceback", f"{sent.name}: code {code}: {command.said[-1500:]}")
        bench.goes_on(found, what, folder, whole(folder / "out"))
        shutil.rmtree(folder)


def power_cuts(bench: Bench, found: Found, times: int) -> None:
    """A file system that keeps what was brought to the disk, and of the rest nothing or anything (power.py)."""
    memory = Path("/dev/shm")
    if not sys.platform.startswith("linux") or not os.access(memory, os.W_OK):
        found.words.append("not tried: needs Linux' /dev/shm")
        return
    with tempfile.TemporaryDirectory(dir=memory) as place:
        steps: dict[str, int] = {}
        for number in range(times):
            what = ("run", "sweep")[number % 2]
            case = bench.fresh(Path(place))
            disk, shadow, log = case / "disk", case / "shadow", bench.fresh() / "log"
            disk.mkdir()
            arguments = bench.arguments(what, disk / "out")
            if what not in steps:
                start(arguments, log, disk / "cache", partial(power.watch, case / "counted")).wait()
                steps[what] = int((case / "counted" / "steps").read_text())
                shutil.rmtree(disk)
                disk.mkdir()
            at = bench.random.randrange(steps[what])
            code = start(arguments, log, disk / "cache", partial(power.watch, shadow, at)).wait()
            if code != -signal.SIGKILL:
                found.complain("traceback", f"no cut at step {at}, code {code}: {log.read_text()[-1500:]}")
            found.faults += 1
            coin = None if number % 4 < 2 else random.Random(bench.random.random())
            power.cut(disk, shadow, case / "left", coin)
            shutil.rmtree(disk)
            (case / "left").replace(disk)
            _keeps_promises(found, power.promised(shadow), f"{what}, step {at}, {'a coin' if coin else 'strictly'}")
            (disk / "log").write_text("")
            bench.goes_on(found, what, disk, whole(disk / "out"))
            shutil.rmtree(case)


def _keeps_promises(found: Found, promises: dict[str, str], words: str) -> None:
    """Whether what was taken to be there for good is."""
    for folder, name in promises.items():
        fault = seals.fault(Path(folder))
        if fault is not None or seals.name_of(Path(folder)) != name:
            found.complain("lost", f"{words}: {folder}: {fault or 'another'}")


def images(bench: Bench, found: Found, times: int) -> None:
    """A file system (ext4) in a file, of which a copy is made in mid-run: what a disk has at that moment."""
    if shutil.which("mkfs.ext4") is None or not possible(loops=True):
        found.words.append("not tried: needs root, mkfs.ext4 and a loop device")
        return
    for what in ("run", "sweep"):
        bench.truth(what)
    for number in range(times):
        what, seconds = ("run", "sweep")[number % 2], bench.moment(("run", "sweep")[number % 2])
        found.faults += 1
        for category, words in Isolated(partial(_on_an_image, bench, what, seconds)).result():
            found.complain(category, words)


def _on_an_image(bench: Bench, what: str, seconds: float) -> list[tuple[str, str]]:
    folder, found = bench.fresh(), Found()
    image, copy, disk, shadow = (folder / name for name in ("image", "copy", "disk", "shadow"))
    with image.open("wb") as file:
        file.truncate(48 * 2**20)
    os.system(f"mkfs.ext4 -q -F '{image}'")
    mount("", disk, "loop", str(image))
    command = start(bench.arguments(what, disk / "out"), folder / "log", disk / "cache", partial(power.watch, shadow))
    time.sleep(seconds)
    # nothing moves while it is copied, but what the kernel writes by itself
    os.kill(command.pid, signal.SIGSTOP)
    promises = power.promised(shadow)
    shutil.copyfile(image, copy)
    command.end(signal.SIGKILL)
    os.system(f"umount '{disk}'")
    mount("", disk, "loop", str(copy))
    _keeps_promises(found, promises, f"{what}, after {seconds:.1f} s")
    bench.goes_on(found, what, disk, whole(disk / "out"))
    os.system(f"umount '{disk}'")
    shutil.rmtree(folder)
    return [(line.partition(": ")[0], line.partition(": ")[2]) for line in found.words]


def disks(bench: Bench, found: Found, times: int) -> None:
    """A disk that is full (tmpfs), a limit on the size of files where that cannot be: a line, and it goes on."""
    for what in ("run", "sweep"):
        bench.truth(what)
    for number in range(times):
        what, share = ("run", "sweep")[number % 2], bench.random.uniform(0.02, 0.9)
        found.faults += 1
        limited = number % 4 == 3 or not possible()
        case = partial(_limited if limited else _on_a_small_disk, bench, what, share)
        for category, words in case() if limited else Isolated(case).result():
            found.complain(category, words)


def _on_a_small_disk(bench: Bench, what: str, share: float) -> list[tuple[str, str]]:
    folder, found = bench.fresh(), Found()
    disk, log = folder / "disk", folder / "log"
    mount("tmpfs", disk, f"size={int(share * (2.2 if what == 'run' else 3.2) * 1024)}k")
    command = start(bench.arguments(what, disk / "out"), log, disk / "cache")
    _ends_in_a_line(found, command, command.wait(), "No space left on device")
    kept = whole(disk / "out")
    mount("", disk, "remount,size=64m", "none")
    bench.goes_on(found, what, disk, kept)
    return [(line.partition(": ")[0], line.partition(": ")[2]) for line in found.words]


def _limited(bench: Bench, what: str, share: float) -> list[tuple[str, str]]:
    folder, found, limit = bench.fresh(), Found(), int(share * 150_000)
    lower = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
    command = start(bench.arguments(what, folder / "out"), folder / "log", folder / "cache", lower)
    _ends_in_a_line(found, command, command.wait(), "File too large")
    bench.goes_on(found, what, folder, whole(folder / "out"))
    shutil.rmtree(folder)
    return [(line.partition(": ")[0], line.partition(": ")[2]) for line in found.words]


def _ends_in_a_line(found: Found, command: Command, code: int, why: str) -> None:
    """All fits, or the command says why it could not go on: a run with code 2, a sweep with 1."""
    if code and (code not in (1, 2) or why not in command.said):
        found.complain("traceback", f"code {code}: {command.said[-1500:]}")


def elsewhere(bench: Bench, found: Found, times: int) -> None:
    """Killed, and begun again in a container of another name, where pids start anew, its /proc being its own or not."""
    if not possible():
        found.words.append("not tried: needs namespaces")
        return
    for number in range(times):
        what, folder = ("sweep", "run")[number % 2], bench.fresh()
        arguments, seconds = bench.arguments(what, folder / "out"), bench.moment(what)
        prepare = (lambda: None, lambda: mount("proc", Path("/proc"), "", "proc"))[number // 2 % 2]

        def killed(arguments=arguments, folder=folder, seconds=seconds, prepare=prepare) -> None:
            command = start(arguments, folder / "log", folder / "cache", prepare)
            time.sleep(seconds)
            command.end(signal.SIGKILL)

        def again(arguments=arguments, folder=folder, prepare=prepare) -> tuple[int, str]:
            command = start(arguments, folder / "log", folder / "cache", prepare)
            return command.wait(), command.said

        Isolated(killed, pids=True, host=f"node-{number}").result()
        found.faults += 1
        kept = whole(folder / "out")
        code, said = Isolated(again, pids=True, host=f"node-{number + 1}").result()
        bench.ends(found, what, folder, code, said, kept)
        shutil.rmtree(folder)


def side_by_side(bench: Bench, found: Found, times: int) -> None:
    """Two at once in one folder, here or in containers that don't see each other: both end with all whole, and nothing
    was computed twice.
    """
    for number in range(times):
        what, folder = ("sweep", "run")[number % 2], bench.fresh()
        arguments, wait = bench.arguments(what, folder / "out"), bench.random.uniform(0, 0.8) * bench.seconds(what)

        def one(name: str, arguments=arguments, folder=folder) -> tuple[int, str]:
            command = start(arguments, folder / name, folder / "cache")
            return command.wait(), command.said

        if apart := number // 2 % 2 and possible():
            first = Isolated(partial(one, "log-1"), pids=True, host="node-1")
            time.sleep(wait)
            ended = [Isolated(partial(one, "log-2"), pids=True, host="node-2").result(), first.result()]
        else:
            begun = start(arguments, folder / "log-1", folder / "cache")
            time.sleep(wait)
            ended = [one("log-2"), (begun.wait(), begun.said)]
        found.faults += 1
        for code, said in ended:
            bench.ends(found, what, folder, code, said)
        journal = Counter(
            line for file in folder.glob("out/sweep/journal/*.jsonl") for line in file.read_text().splitlines()
            if '"event": "whole"' in line
        )  # fmt: skip
        units = Counter(line.partition('"cell": "')[2].partition('"')[0] for line in journal)
        if any(count > 1 for count in units.values()):
            found.complain("lost", f"{what}, apart: {bool(apart)}: computed twice: {units}")
        shutil.rmtree(folder)


def clocks(bench: Bench, found: Found, times: int) -> None:
    """Clocks and the times of files set back or forward, and a setting changed after it: its results are of today."""
    for number in range(times):
        what, folder = ("run", "sweep")[number % 2], bench.fresh()
        command = start(bench.arguments(what, folder / "out"), folder / "log", folder / "cache")
        command.wait()
        before = whole(folder / "out")
        shift = bench.random.choice([-1, 1]) * 10 ** bench.random.uniform(2, 8)
        for file in folder.rglob("*"):
            with contextlib.suppress(OSError):
                os.utime(file, (time.time() + shift,) * 2, follow_symlinks=False)
        found.faults += 1
        changed = f"reseeded{'' if what == 'run' else '-sweep'}"

        def set_back(shift=-shift, clock=time.time) -> None:
            time.time = lambda: clock() + shift

        command = start(bench.arguments(changed, folder / "out"), folder / "log", folder / "cache", set_back)
        stale = Found()
        bench.ends(stale, changed, folder, command.wait(), command.said)
        for line in stale.words:
            found.complain("stale" if line.startswith("wrong") else line.partition(": ")[0], line)
        # what did not change was not computed again
        cells = {name: seal for name, seal in before.items() if name.startswith("cells/")}
        bench.goes_on(found, what, folder, cells)
        shutil.rmtree(folder)


def sounds(bench: Bench, found: Found, times: int) -> None:
    """A clip is another sound from one moment of a run on: a line, or the numbers of one of the two; and what is cached
    is of what it says.
    """
    for sound in "ab":
        bench.truth("classic", sound)
    for number in range(times):
        folder = bench.fresh()
        arguments = bench.arguments("classic", folder / "out")
        command = start(arguments, folder / "log", folder / "cache")
        time.sleep(bench.random.uniform(0, 0.7) * bench.seconds("classic") if number % 4 else 0.3)
        bench.hear("b")
        found.faults += 1
        code = command.wait()
        if "Traceback" in command.said or code not in (0, 2):
            found.complain("traceback", command.said)
        if not code:
            now = numbers(folder / "out")
            if all(differing(now, bench.truth("classic", sound)) for sound in "ab"):
                found.complain("wrong", f"neither of the two: {command.said[-800:]}")
        for sound in "ba":
            bench.hear(sound)
            command = start(arguments, folder / "log", folder / "cache")
            if command.wait() or differing(numbers(folder / "out"), bench.truth("classic", sound)):
                found.complain("stale", f"not those of {sound}: {command.said[-800:]}")
        bench.hear("a")
        shutil.rmtree(folder)


#: What is done, in words, and how often: all, and with --quick.
KINDS: dict[str, tuple[Callable[[Bench, Found, int], None], int, int]] = {
    "kills of a run": (kills, 48, 1),
    "kills of a sweep": (partial(kills, what="sweep"), 32, 0),
    "workers killed with their sweep": (workers, 6, 0),
    "signals": (signals, 12, 0),
    "power cuts, by what was fsynced": (power_cuts, 48, 1),
    "power cuts, ext4": (images, 12, 0),
    "full disks": (disks, 24, 1),
    "elsewhere": (elsewhere, 16, 1),
    "two at once": (side_by_side, 12, 0),
    "clocks": (clocks, 10, 0),
    "sounds replaced": (sounds, 12, 0),
}


def main(argv: list[str] | None = None) -> Counter[str]:
    """Do it; returns how often what went wrong."""
    arguments = measure.arguments(__doc__ or "", argv, only=None, seed=0, times=1.0, threads=1)
    torch.set_num_threads(1)
    begun, total, bad = time.monotonic(), 0, Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), arguments.seed)
        print(f"{'':34}{'faults':>8}" + "".join(f"{name:>11}" for name in COUNTED))
        for name, (kind, often, once) in KINDS.items():
            if arguments.only and arguments.only not in name:
                continue
            found = Found()
            if times := once if arguments.quick else round(often * arguments.times):
                kind(bench, found, times)
                print(f"{name:34}{found.faults:8}" + "".join(f"{found.bad[what]:11}" for what in COUNTED), flush=True)
            for words in found.words:
                print(f"    {words}", flush=True)
            total, bad = total + found.faults, bad + found.bad
    print(f"{'all':34}{total:8}" + "".join(f"{bad[what]:11}" for what in COUNTED))
    print(f"{time.monotonic() - begun:.0f} s")
    measure.goal("faults", total, at_least=0 if arguments.quick else 200, unit="")
    for what in COUNTED:
        measure.goal(what, bad[what], at_most=0, unit="")
    return bad


if __name__ == "__main__":
    main()
