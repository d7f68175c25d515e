"""The folder of a sweep: cells and analyses that all its experiments share, what is known of each, and a journal of who
computed what.

grid.yaml                    the grid with its base experiment cells/<hash>/                finished cells, as in any
run analyses/<hash>/             finished analyses, as in any run experiments/<name>/          a run folder each, whose
cells and analyses are those above sweep/cells/<key>.json       what became of a planned cell: its hash, or its error
sweep/analyses/<key>.json    the same of a planned analysis sweep/running/<hash>.lock    who computes a cell or an
analysis sweep/journal/*.jsonl        a line when one is started, whole or failed; a file for each process, so that no
two write one table1.{csv,md}              Table 1 of all experiments
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import LorascopeError
from ..experiment.grid import Sweep, Variant
from ..experiment.loading import dump_experiment
from ..store.folder import RunFolder, read_json, write_json, write_text
from ..store.locks import abandoned, holder, now, remove_torn
from ..store.units import Units, clear, make_place

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

    def create(self, sweep: Sweep) -> list[str]:
        """Make the folder, or go on with it: the grid, and a run folder for each experiment. Returns lines on what was
        found damaged and is made again. Raises `LorascopeError` where it holds something else.
        """
        if self.root.exists() and not self.root.is_dir():
            raise LorascopeError(f"--out {self.root}: is a file; give a folder")
        there = list(self.root.iterdir()) if self.root.is_dir() else []
        # what a sweep left that was killed over its first file is no one else's
        if any(not path.name.endswith(".partial") for path in there) and not self.grid.is_file():
            raise LorascopeError(f"--out {self.root}: is not empty and holds no sweep of lorascope; give a new folder")
        write_text(self.grid, sweep.text)
        for place in PLACES.values():
            make_place(self.root / place)
        told = [line for variant in sweep.variants for line in self._create_experiment(variant)]
        return [*told, *(f"{file.relative_to(self.root)}: empty or torn; made again" for file in self._remove_torn())]

    def _create_experiment(self, variant: Variant) -> Iterator[str]:
        folder = self.experiment(variant.slug)
        text = dump_experiment(variant.experiment)
        if not folder.config.is_file() or folder.config.read_text(encoding="utf-8") != text:
            write_text(folder.config, text)
        for place, units in ((place, self.units(kind)) for kind, place in PLACES.items()):
            link = folder.root / place
            if link.is_symlink() and link.exists() and link.samefile(units.root):
                continue
            if link.is_symlink():
                link.unlink()
            elif link.is_dir():
                yield self._give_back(link, units)
            elif link.exists():
                raise LorascopeError(f"{link}: is a file where the experiments' {place} should be; move it away")
            try:
                link.symlink_to(Path("..", "..", place), target_is_directory=True)
            except FileExistsError:
                # by another sweep that works here
                continue
            except OSError as error:
                raise LorascopeError(
                    f"{link}: {error.strerror}; give an --out where links can be made, since the experiments share "
                    f"their {place}"
                ) from error

    def _give_back(self, copy: Path, units: Units) -> str:
        """Remove the copy of the shared units that stands where an experiment has a link (`cp -L`); what of it is whole
        and is not among them is put there. Returns a line.
        """
        copied = Units(copy, units.about, units.earlier)
        for place in copy.iterdir():
            own = place.name.startswith(".partial-") or copied.is_whole(place.name)
            if not own and not units.place(place.name).exists():
                raise LorascopeError(
                    f"{copy}: is a folder of its own, with {place.name} in it, where a link to {units.root} should be; "
                    "move it away"
                )
        for place in copy.iterdir():
            shared = units.place(place.name)
            if not shared.exists() or (copied.is_whole(place.name) and not units.is_whole(place.name)):
                clear(shared)
                place.replace(shared)
        shutil.rmtree(copy)
        return f"{copy.relative_to(self.root)}: a copy where a link should be (copied with cp -L?); linked again"

    def _remove_torn(self) -> Iterator[Path]:
        """Remove records and locks that can't be read: they are empty or cut off after a crash of the machine."""
        own = self.root / "sweep"
        for file in own.glob("*/*.json"):
            if _record_in(file) is None:
                file.unlink(missing_ok=True)
                yield file
        yield from (file for file in own.glob("running/*.lock") if remove_torn(file))

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

    def abandoned(self, key: str, kind: str) -> str:
        """The lock of a planned unit whose holder is gone, as `store.locks.held` takes it."""
        about = self._known(key, kind)
        return abandoned(self.lock(about["hash"])) if "hash" in about else ""

    def record(self, key: str, about: dict[str, Any], kind: str = "cell") -> None:
        """Keep what is known of a planned unit: `hash`, or `error`."""
        write_json(self._record(key, kind), about)

    def _known(self, key: str, kind: str) -> dict[str, Any]:
        file = self._record(key, kind)
        return (_record_in(file) if file.is_file() else None) or {}

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


def _record_in(file: Path) -> dict[str, Any] | None:
    """What is known of a planned unit, as its file tells; None of a file that can't be read."""
    try:
        about = read_json(file)
    except LorascopeError:
        return None
    return about if isinstance(about, dict) else None
