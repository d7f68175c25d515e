"""The folder of a sweep: cells and analyses that all its experiments share, what is known of each, and a journal of who
computed what.

grid.yaml                    the grid with its base experiment
cells/<hash>/                finished cells, as in any run
analyses/<hash>/             finished analyses, as in any run
experiments/<name>/          a run folder each, whose cells and analyses are those above
sweep/cells/<key>.json       what became of a planned cell: its hash, or its error
sweep/analyses/<key>.json    the same of a planned analysis
sweep/running/<hash>.lock    who computes a cell or an analysis
sweep/journal/*.jsonl        a line when one is started, whole or failed; a file for each process, so that no two write one
table1.{csv,md}              Table 1 of all experiments
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import LorascopeError
from ..experiment.config import dump_experiment
from ..experiment.grid import Sweep, Variant
from ..store.folder import RunFolder, read_json, write_json, write_text
from ..store.locks import holder, now
from ..store.units import Units

Kind = Literal["whole", "running", "failed", "missing"]
#: Where the units of each kind lie, in a run's folder and in the sweep's own notes.
PLACES = {"cell": "cells", "analysis": "analyses"}


@dataclass(frozen=True)
class State:
    """Where a planned unit stands. `about` is what is known: `error` of a failed one, `host`, `pid` and `since` of a
    running one, `hash` where it has one, `fault` of one that is not as it was sealed.
    """

    kind: Kind
    about: dict[str, Any] = field(default_factory=dict)


class SweepFolder:
    """Reads and writes a sweep's folder; any number of processes may do so at once."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.run = RunFolder(root)

    @property
    def grid(self) -> Path:
        """The grid with its base experiment."""
        return self.root / "grid.yaml"

    @property
    def logs(self) -> Path:
        """What the workers of this machine say."""
        return self.root / "sweep" / "logs"

    def experiment(self, slug: str) -> RunFolder:
        """The run folder of one experiment."""
        return RunFolder(self.root / "experiments" / slug)

    def units(self, kind: str) -> Units:
        """The finished units of a kind: "cell" or "analysis"."""
        return self.run.cells if kind == "cell" else self.run.analyses

    def lock(self, unit: str) -> Path:
        """The lock of a unit, by its hash."""
        return self.root / "sweep" / "running" / f"{unit}.lock"

    def create(self, sweep: Sweep) -> None:
        """Make the folder, or go on with it: the grid, and a run folder for each experiment. Raises `LorascopeError` where it holds something else."""
        if self.root.exists() and not self.root.is_dir():
            raise LorascopeError(f"--out {self.root}: is a file; give a folder")
        if self.root.is_dir() and any(self.root.iterdir()) and not self.grid.is_file():
            raise LorascopeError(f"--out {self.root}: is not empty and holds no sweep of lorascope; give a new folder")
        write_text(self.grid, sweep.text)
        for place in PLACES.values():
            (self.root / place).mkdir(exist_ok=True)
        for variant in sweep.variants:
            self._create_experiment(variant)

    def _create_experiment(self, variant: Variant) -> None:
        folder = self.experiment(variant.slug)
        text = dump_experiment(variant.experiment)
        if not folder.config.is_file() or folder.config.read_text(encoding="utf-8") != text:
            write_text(folder.config, text)
        for place in PLACES.values():
            link = folder.root / place
            if link.is_symlink():
                continue
            try:
                link.symlink_to(Path("..", "..", place), target_is_directory=True)
            except OSError as error:
                raise LorascopeError(
                    f"{link}: {error.strerror}; give an --out where links can be made, since the experiments share "
                    f"their {place}"
                ) from error

    def state(self, key: str, kind: str = "cell", read: bool = False) -> State:
        """Where a planned unit stands, by its key (`Planned.key`): at a glance, or by reading every byte of it.

        A record that can't be read is none: it is made again with the unit, which is found where it is whole.
        """
        about, units = self._known(key, kind), self.units(kind)
        if "hash" in about:
            fault = units.fault_of(about["hash"]) if read else None
            if fault is None and units.is_whole(about["hash"]):
                return State("whole", about)
            about |= {"fault": fault} if fault else {}
            other = holder(self.lock(about["hash"]))
            if other is not None:
                return State("running", about | {"host": other.host, "pid": other.pid, "since": other.since})
        return State("failed" if "error" in about else "missing", about)

    def record(self, key: str, about: dict[str, Any], kind: str = "cell") -> None:
        """Keep what is known of a planned unit: `hash`, or `error`."""
        write_json(self._record(key, kind), about)

    def _known(self, key: str, kind: str) -> dict[str, Any]:
        file = self._record(key, kind)
        try:
            about = read_json(file) if file.is_file() else {}
        except LorascopeError:
            return {}
        return about if isinstance(about, dict) else {}

    def _record(self, key: str, kind: str) -> Path:
        return self.root / "sweep" / PLACES[kind] / f"{key}.json"

    def note(self, event: str, unit: str | None, key: str, **more: Any) -> None:
        """Add a line to the journal: `event` is started, whole or failed; `at`, `host` and `pid` are this moment and
        process unless `more` has them. What is called cell there may be an analysis.
        """
        line = {"event": event, "cell": unit, "key": key, "at": now(), "host": socket.gethostname(), "pid": os.getpid()}
        file = self.root / "sweep" / "journal" / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line | more, ensure_ascii=False) + "\n")

    def journal(self) -> list[dict[str, Any]]:
        """Every line of the journal by time; a line that was cut off when its process was killed is left out."""
        lines = []
        for file in (self.root / "sweep" / "journal").glob("*.jsonl"):
            for text in file.read_text(encoding="utf-8").splitlines():
                try:
                    lines.append(json.loads(text))
                except json.JSONDecodeError:
                    continue
        return sorted(lines, key=lambda line: line["at"])
