"""The run folder: where things lie, how they are named by their content, and how they are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LorascopeError
from . import seals
from .writing import sync_folder
from .writing import write_json as write_json
from .writing import write_text as write_text


def digest(content: Any) -> str:
    """Name of a content: the first 16 hexadecimal digits of the SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_json(path: Path) -> Any:
    """Read JSON. Raises `LorascopeError` naming the file where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LorascopeError(f"{path}: cannot be read ({error}); delete it and run the same command again") from error


# where tables wait to be put in place, and those that they replace to be removed
PARTIAL = ".analysis-partial"
OLD = ".analysis-old"
ABOUT = "about.json"
METRICS = "metrics.json"
#: The form of a cell's folder, in its metrics.json: from 2 on it has a seal, and no names of the experiment in it.
FORM = 2
#: What is made last of all, from everything else: the run's own seal stands over it, and over manifest and configuration.
TOLD = ("table1.csv", "table1.md", "table1.tex", "comparison.csv", "report.html", "figures", "findings")
# what trainings leave in the folder that a cell is built in: it is moved with it, and removed then
LEFTOVERS = ("candidate-*",)


def _remove_unfinished(folder: Path) -> None:
    """Remove the files that `write_text` was killed over."""
    for file in folder.glob(".*.partial"):
        file.unlink()


def _clear(place: Path) -> None:
    """Remove whatever lies at a place, a link that leads nowhere included."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)


class RunFolder:
    """The folder of one run (its layout is in the README under "Results")."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def manifest(self) -> Path:
        """Versions, hardware, seeds, clip hashes, times."""
        return self.root / "manifest.json"

    @property
    def config(self) -> Path:
        """The resolved experiment."""
        return self.root / "config.yaml"

    @property
    def analysis(self) -> Path:
        """Tables of the analyses."""
        return self.root / "analysis"

    def holds_others(self) -> bool:
        """Whether anything lies in the folder but the configuration, tables of analyses, and what a killed run was
        writing before there was more.
        """
        own = {self.config.name, PARTIAL, OLD, *([self.analysis.name] if (self.analysis / ABOUT).is_file() else [])}
        there = self.root.iterdir() if self.root.is_dir() else ()
        return any(path.name not in own and not path.name.endswith(".partial") for path in there)

    # cells

    def cell(self, name: str) -> Path:
        """Folder of a finished cell."""
        return self.root / "cells" / name

    def is_whole(self, name: str) -> bool:
        """Whether a cell is finished, at a glance: its seal is there, and its files are in their sizes. Cells of before
        there were seals are whole where they have metrics.
        """
        place = self.cell(name)
        return seals.is_complete(place) or (_is_of_before(place) and not seals.is_sealed(place))

    def is_sealed(self, name: str) -> bool:
        """Whether a cell has a seal, broken or not."""
        return seals.is_sealed(self.cell(name))

    def fault_of(self, name: str) -> str | None:
        """What is wrong with the cell that lies at its place, with the file's name; None where it is as it was sealed,
        which every byte is read for, and where nothing is there.

        A cell of before there were seals is given one, if its files can be read: what happened to them until then
        nobody can tell.
        """
        place = self.cell(name)
        if not place.is_dir():
            return "a link that leads nowhere" if place.is_symlink() else None
        if not seals.is_sealed(place) and _is_of_before(place):
            wrong = _unreadable(place, name)
            if wrong is None:
                seals.seal(place, LEFTOVERS)
            return wrong
        wrong = seals.fault(place)
        return None if wrong is None else str(wrong)

    def begin(self, name: str) -> Path:
        """A folder to build a cell in; what an interrupted run left in it is still there, but for files that it was
        writing.
        """
        partial = self._partial(name)
        partial.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(partial)
        return partial

    def finish(self, name: str, metrics: Mapping[str, Any]) -> None:
        """Write the metrics of the cell that was built, seal it, and move it to where finished cells lie; what lies
        there and is not whole makes room.
        """
        write_json(self._partial(name) / METRICS, {**metrics, "hash": name, "form": FORM})
        seals.seal(self._partial(name), LEFTOVERS)
        self.put_in_place(name)

    def is_built(self, name: str) -> bool:
        """Whether a cell is whole but was not moved into place: its run was killed just then."""
        partial = self._partial(name)
        return (partial / METRICS).is_file() and seals.fault(partial) is None

    def put_in_place(self, name: str, built: Path | None = None) -> None:
        """Move a sealed cell from where it was `built` to where finished cells lie."""
        _clear(self.cell(name))
        (built or self._partial(name)).replace(self.cell(name))
        sync_folder(self.cell(name).parent)

    def _partial(self, name: str) -> Path:
        return self.root / "cells" / f".partial-{name}"

    # analyses

    def replace_tables(self, tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]) -> None:
        """Write all tables of the analyses as Parquet, with `about.json` beside them, and move the folder into place."""
        partial = self.root / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for stem, table in tables.items():
            table.to_parquet(partial / f"{stem}.parquet", index=False)
        write_json(partial / ABOUT, dict(about))
        seals.seal(partial)
        old = self.root / OLD
        _clear(old)
        if self.analysis.exists():
            self.analysis.replace(old)
        partial.replace(self.analysis)
        sync_folder(self.root)
        _clear(old)

    def about_analysis(self) -> dict[str, Any] | None:
        """What `replace_tables` was told about the tables that are in place and as they were sealed; None where there
        are none.

        A run that was killed between taking the old tables away and putting the new ones in their place left both,
        whole: the new ones are put there.
        """
        if not self.analysis.exists():
            for left in (self.root / PARTIAL, self.root / OLD):
                if left.is_dir() and seals.fault(left) is None:
                    left.replace(self.analysis)
                    sync_folder(self.root)
                    break
        return read_json(self.analysis / ABOUT) if seals.fault(self.analysis) is None else None

    # the run as a whole

    def stands_on(self, cells: Iterable[str]) -> dict[str, str]:
        """What results are made from, as a manifest keeps it: SHA-256 of the configuration, of the seals of these cells
        and of the analysis.
        """
        named = {self.config.name: hashlib.sha256(self.config.read_bytes()).hexdigest()}
        if self.analysis.is_dir():
            named[self.analysis.name] = seals.name_of(self.analysis)
        return named | {f"cells/{name}": seals.name_of(self.cell(name)) for name in cells}

    def moved_on(self, manifest: Mapping[str, Any]) -> str | None:
        """What of that is another by now than the manifest tells, in words; None where all is the same or gone, and for
        a manifest that keeps no such list.
        """
        then: Mapping[str, str] = manifest.get("stands_on") or {}
        for name, digest_then in then.items():
            place = self.root / name
            if place.exists():
                today = seals.name_of(place) if place.is_dir() else hashlib.sha256(place.read_bytes()).hexdigest()
                if today != digest_then:
                    what = f"{name}/{seals.SEAL}" if place.is_dir() else name
                    return f"{what}: another than the results were made from"
        return None

    def lacks(self, manifest: Mapping[str, Any]) -> bool:
        """Whether anything that the manifest stands on is gone."""
        return not all((self.root / name).exists() for name in manifest.get("stands_on") or {})

    def seal(self) -> None:
        """Seal what stands in the folder beside cells and analyses; to be called last of all."""
        told = [self.root / name for name in (self.manifest.name, self.config.name, *TOLD)]
        files = [file for path in told for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
        seals.seal(self.root, only=files)

    def unseal(self) -> None:
        """Take the seal away: what follows changes the folder."""
        (self.root / seals.SEAL).unlink(missing_ok=True)

    def faults(self) -> Iterator[seals.Fault]:
        """What of the sealed files is not as it was sealed; nothing of a folder without a seal."""
        if seals.is_sealed(self.root):
            yield from seals.faults(self.root)

    def is_told(self) -> bool:
        """Whether tables, figures and report are whole, and made from what the manifest stands on."""
        return seals.fault(self.root) is None

    def tidy(self) -> None:
        """Remove what a killed run was writing when it was killed; to be called when nothing is being written."""
        _remove_unfinished(self.root)
        for name in (PARTIAL, OLD):
            shutil.rmtree(self.root / name, ignore_errors=True)


def _is_of_before(cell: Path) -> bool:
    """Whether a cell was finished before there were seals."""
    if not (cell / METRICS).is_file():
        return False
    try:
        return "form" not in read_json(cell / METRICS)
    except LorascopeError:
        return True


def _unreadable(cell: Path, name: str) -> str | None:
    """What of a cell of before there were seals can't be read; None where all can."""
    try:
        if read_json(cell / METRICS)["hash"] != name:
            return f"{METRICS}: of another cell"
        if pd.read_parquet(cell / "predictions.parquet").empty:
            return "predictions.parquet: no rows"
    except (LorascopeError, OSError, ValueError, KeyError, TypeError) as error:
        return f"not readable ({' '.join(str(error).split())})"
    empty = [file for file in sorted(cell.rglob("*")) if file.is_file() and not file.stat().st_size]
    return f"{empty[0].relative_to(cell).as_posix()}: empty" if empty else None
