"""Faults of every kind, some hundred of them, and what became of the results: lost, stale, wrong, or a traceback.

    python benchmarks/faults.py              # all, with seed 0
    python benchmarks/faults.py --quick      # one of three kinds; `make test` does this
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
from functools import partial
from pathlib import Path
from typing import Any

import measure
import power
import torch
from disturbed import COUNTED, Bench, Found
from isolation import Isolated, mount, possible
from tiny_runs import Command, differing, numbers, start, whole

from lorascope.store import seals


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
        while found.faults < times:
            what, coin = ("run", "sweep")[found.faults // 4 % 2], bench.random.random() < 0.5
            case, kept = bench.fresh(Path(place)), {}
            disk = case / "disk"
            disk.mkdir()
            for number in range(min(4, times - found.faults)):
                shadow, left, log = case / f"shadow-{number}", case / "left", bench.fresh() / "log"
                power.begin(disk, shadow)
                # some are after the end
                at = bench.random.randrange(25, 180) if number else bench.random.randrange(180)
                arguments = bench.arguments(what, disk / "out")
                code = start(arguments, log, disk / "cache", partial(power.watch, shadow, at)).wait()
                if code not in (0, -signal.SIGKILL):
                    found.complain("traceback", f"code {code}: {log.read_text()[-1500:]}")
                found.faults += 1
                power.cut(disk, shadow, left, random.Random(bench.random.random()) if coin else None)
                shutil.rmtree(disk)
                left.replace(disk)
                words = f"{what}, step {at}, {'a coin' if coin else 'strictly'}"
                _keeps_promises(found, power.promised(shadow), words)
                kept |= whole(disk / "out")
            bench.goes_on(found, what, disk, kept)
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
    shadow.mkdir()
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
    return _told(found)


def disks(bench: Bench, found: Found, times: int) -> None:
    """A disk that is full (tmpfs), a limit on the size of files where that cannot be: a line, and it goes on."""
    for what in ("run", "sweep")[:times]:
        # here, since what is computed in the processes below goes with them
        bench.truth(what)
    while found.faults < times:
        what, tries = ("run", "sweep")[found.faults // 3 % 2], min(3, times - found.faults)
        shares = sorted(bench.random.uniform(0.02, 0.9) for _ in range(tries))
        case = partial(_on_small_disks if possible() and found.faults % 4 else _limited, bench, what, shares)
        for category, words in Isolated(case).result() if possible() else case():
            found.complain(category, words)
        found.faults += tries


def _on_small_disks(bench: Bench, what: str, shares: list[float]) -> list[tuple[str, str]]:
    folder, found = bench.fresh(), Found()
    disk, kept = folder / "disk", {}
    mount("tmpfs", disk, "size=4k")
    for share in shares:
        # of what a run or a sweep takes with its cache
        mount("", disk, f"remount,size={int(share * (400 if what == 'run' else 700))}k")
        command = start(bench.arguments(what, disk / "out"), folder / "log", disk / "cache")
        _ends_in_a_line(found, command, command.wait(), "No space left on device")
        kept |= whole(disk / "out")
    mount("", disk, "remount,size=64m")
    (folder / "log").unlink()
    bench.goes_on(found, what, disk, kept)
    return _told(found)


def _limited(bench: Bench, what: str, shares: list[float]) -> list[tuple[str, str]]:
    folder, found, kept = bench.fresh(), Found(), {}
    for share in shares:
        limit = int(share * 100_000)
        lower = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
        command = start(bench.arguments(what, folder / "out"), folder / "log", folder / "cache", lower)
        _ends_in_a_line(found, command, command.wait(), "File too large")
        kept |= whole(folder / "out")
    (folder / "log").unlink()
    bench.goes_on(found, what, folder, kept)
    shutil.rmtree(folder)
    return _told(found)


def _told(found: Found) -> list[tuple[str, str]]:
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
    while found.faults < times:
        what, folder = ("run", "sweep")[found.faults // 2 % 2], bench.fresh()
        arguments, kept = bench.arguments(what, folder / "out"), {}
        prepare = bench.random.choice((lambda: None, partial(mount, "proc", Path("/proc"), "", "proc")))

        def once(seconds: float | None, arguments=arguments, folder=folder, prepare=prepare) -> tuple[int, str]:
            command = start(arguments, folder / "log", folder / "cache", prepare)
            if seconds is None:
                return command.wait(), command.said
            time.sleep(seconds)
            return command.end(signal.SIGKILL), command.said

        for _ in range(min(bench.random.randint(1, 3), times - found.faults)):
            Isolated(partial(once, bench.moment(what)), pids=True, host=f"node-{found.faults}").result()
            found.faults += 1
            kept = whole(folder / "out")
        code, said = Isolated(partial(once, None), pids=True, host="node-last").result()
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
                os.utime(file, (time.time() + shift, time.time() + shift), follow_symlinks=False)
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


#: What is done, in words, and how often: in all, and with --quick (tests/test_resilience.py has kills at every write).
KINDS: dict[str, tuple[Callable[[Bench, Found, int], None], int, int]] = {
    "kills of a run": (kills, 60, 0),
    "kills of a sweep": (partial(kills, what="sweep"), 24, 0),
    "workers killed with their sweep": (workers, 4, 0),
    "signals": (signals, 6, 0),
    "power cuts, by what was fsynced": (power_cuts, 60, 1),
    "power cuts, ext4": (images, 8, 0),
    "full disks": (disks, 24, 1),
    "elsewhere": (elsewhere, 10, 1),
    "two at once": (side_by_side, 6, 0),
    "clocks": (clocks, 4, 0),
    "sounds replaced": (sounds, 6, 0),
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
