"""What faults.py disturbs: the smallest run and the smallest sweep, each as the command does it, in a process of its
own that is forked from this one (which has imported everything, so that a start takes no seconds); and their numbers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import yaml
from material import random_folder

# here, so that none of the forked processes has to
import lorascope.api
import lorascope.findings.over_units
import lorascope.report.page
import lorascope.report.tables
import lorascope.sound.functionals  # noqa: F401
from lorascope.store import seals

SPEAKERS, EMOTIONS = ("ann", "bob", "cy"), ("anger", "sadness")
METHODS = {
    "frozen": {"learning_rate": 1e-2, "epochs": 1},
    "lora": {"rank": 2, "alpha": 4, "learning_rate": 1e-2, "epochs": 2},
}
ANALYSIS = {"measures": ["contribution"], "draws": 50, "clips_per_class": 1, "seed": 1}
RATE = 16_000


def corpus(folder: Path, change: float = 0.0) -> Path:
    """A manifest of tones, a clip for each speaker and emotion; with `change` one of them is another sound."""
    folder.mkdir(parents=True, exist_ok=True)
    random, rows = np.random.default_rng(0), []
    for s, speaker in enumerate(SPEAKERS):
        for e, emotion in enumerate(EMOTIONS):
            time = np.arange(int(0.3 * RATE)) / RATE
            hertz = 200 * 2**e + 20 * s + (change if (s, e) == (0, 0) else 0)
            name = f"{speaker}-{emotion}.wav"
            tone = 0.3 * np.sin(2 * np.pi * hertz * time) + 0.01 * random.standard_normal(len(time))
            soundfile.write(folder / name, tone, RATE)
            rows.append((name, speaker, emotion))
    pd.DataFrame(rows, columns=["path", "speaker", "emotion"]).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def experiment(manifest: Path, methods: dict[str, Any] | None = None, **analysis: Any) -> dict[str, Any]:
    """The smallest experiment, as its file has it."""
    return {
        "name": "faults",
        "corpus": {"reader": "csv", "root": str(manifest), "classes": list(EMOTIONS)},
        "backbone": {"name": str(random_folder("mini"))},
        "head": {"projection": 8},
        "methods": METHODS if methods is None else methods,
        "folds": {"only": ["ann"]},
        "analysis": ANALYSIS | analysis,
    }


def write(file: Path, content: dict[str, Any]) -> Path:
    """Write a configuration."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def grid(manifest: Path, **analysis: Any) -> dict[str, Any]:
    """The smallest sweep: two experiments that share a cell."""
    axis = [{"name": f"r{rank}", "set": {"methods.lora.rank": rank}} for rank in (2, 3)]
    return {"name": "faults", "experiment": experiment(manifest, **analysis), "grid": {"rank": axis}}


class Here:
    """An engine of one process, that of the sweep itself: a new worker imports for seconds what is there already."""

    words = "here"

    def __init__(self, *_: Any) -> None: ...

    def outcomes(self, work: Callable[[Any], Any], jobs: Any) -> Iterator[tuple[Any, Any]]:
        """Each job with its outcome."""
        for job in jobs:
            yield job, work(job)

    def close(self) -> None:
        """Nothing to let go."""


@dataclass
class Command:
    """A `lorascope` command in a process of its own, from its start on; `log` gets what it says."""

    pid: int
    log: Path
    status: int | None = None

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self.status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if ended else None
        return self.status is None

    def wait(self, seconds: float = 300.0) -> int:
        """Its exit code, negative for a signal. Kills it and all that it started after so many seconds."""
        until = time.monotonic() + seconds
        while self.running() and time.monotonic() < until:
            time.sleep(0.005)
        if self.running():
            self.end(signal.SIGKILL)
            raise TimeoutError(f"no end after {seconds:.0f} s:\n{self.said}")
        return os.waitstatus_to_exitcode(self.status or 0)

    def end(self, number: int) -> int:
        """Send a signal to it and all that it started; returns its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        return self.wait()

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""


def quick_looks() -> None:
    """Let locks be touched and looked at often, and a silent holder elsewhere be believed for two seconds; and leave
    the figures out of the report, but for the files: they take most of the time, and have no numbers of their own.
    """
    from lorascope.report import figures, page
    from lorascope.store import locks
    from lorascope.work import sweep

    locks.STALE, locks.BEAT, locks.POLL = 2.0, 0.1, 0.05
    sweep.BEAT, sweep.POLL = 0.1, 0.05
    figures.draw = page.draw = _undrawn
    page.panels = lambda _: {}


def _undrawn(_: Any, folder: Path, formats: Any = ("pdf", "svg", "png")) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{stem}.{suffix}" for stem in ("fig1", "confusion") for suffix in formats]
    for file in files:
        file.write_text("<svg></svg>", encoding="utf-8")
    return files


def start(arguments: list[str], log: Path, cache: Path, prepare: Callable[[], Any] = lambda: None) -> Command:
    """Start a command; `prepare` is called in its process first. A sweep computes in that process, unless `prepare`
    says otherwise.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        # here as well as there: whoever is first
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        return Command(child, log)
    code = 70
    try:
        os.setpgid(0, 0)
        with log.open("ab") as stream:
            for number in (1, 2):
                os.dup2(stream.fileno(), number)
        # who started this may have put something else in their place
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
        os.environ["LORASCOPE_CACHE"] = str(cache)
        import lorascope.work.engines.local as local

        if "--workers" not in arguments:
            local.LocalEngine = Here  # type: ignore[misc, assignment]
        quick_looks()
        sys.argv = ["lorascope", *arguments]
        prepare()
        from lorascope.cli import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def whole(out: Path) -> dict[str, str]:
    """Every unit that is whole in a folder, with what names its content: one that is computed again has another."""
    found = {}
    for unit in [*out.glob("cells/[!.]*"), *out.glob("analyses/[!.]*")]:
        if seals.fault(unit) is None:
            found[f"{unit.parent.name}/{unit.name}"] = seals.name_of(unit)
    return found


def numbers(out: Path) -> dict[str, Any]:
    """All numbers of a finished run or sweep: of every run the bytes of Table 1 and every table of results, seconds
    apart. Raises `AssertionError` where something of it is not whole.
    """
    found: dict[str, Any] = {}
    runs = sorted(path.parent for path in out.glob("experiments/*/config.yaml")) or [out]
    for run in runs:
        assert seals.fault(run) is None, f"{run}: {seals.fault(run)}"
        assert (run / "report.html").stat().st_size, run
        found[f"{run.relative_to(out)}/table1"] = (run / "table1.csv").read_bytes()
    for file in [*out.glob("cells/[!.]*/*.parquet"), *out.glob("analyses/[!.]*/*.parquet")]:
        assert seals.fault(file.parent) is None, f"{file.parent}: {seals.fault(file.parent)}"
        found[str(file.relative_to(out))] = pd.read_parquet(file)
    for run in runs:
        for file in run.glob("analysis/*.parquet"):
            found[f"{run.relative_to(out)}/analysis/{file.name}"] = pd.read_parquet(file)
    if len(runs) > 1:
        found["table"] = (out / "table1.csv").read_bytes()
    return found


def differing(found: dict[str, Any], truth: dict[str, Any]) -> list[str]:
    """Names of what is another than in the truth, or not there; what is there beyond it is nobody's error."""
    wrong = []
    for name, value in truth.items():
        mine = found.get(name)
        same = mine is not None and (mine.equals(value) if isinstance(value, pd.DataFrame) else mine == value)
        wrong += [] if same else [name]
    return wrong
