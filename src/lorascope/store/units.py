"""Finished units of one kind of work, each under its address: built beside their place, sealed, and moved there when
they are whole; taken up where every byte is as it was sealed, and never written to again.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import LorascopeError
from . import seals
from .files import make_folder, read_json, sync_folder, write_json

#: The form of a unit's folder, in its file of numbers: from 2 on it has a seal, and no names of the experiment in it.
FORM = 2
# what trainings leave in the folder that a cell is built in: it is moved with it, and removed then
LEFTOVERS = ("candidate-*",)


class Units:
    """The units in a folder, `root`. `about` is the file of each that tells of it, and is written before its seal.

    With `earlier` there may be some of before there were seals.
    """

    def __init__(self, root: Path, about: str, earlier: bool = False) -> None:
        self.root, self.about, self.earlier = root, about, earlier

    def place(self, name: str) -> Path:
        """Folder of a finished unit."""
        return self.root / name

    def holds_own_alone(self) -> bool:
        """Whether the folder is there and has nothing in it but units, finished or being built."""
        there = list(self.root.iterdir()) if self.root.is_dir() else []
        return bool(there) and all(place.name.startswith(".partial-") or seals.is_sealed(place) for place in there)

    def read(self, name: str) -> dict[str, Any]:
        """What a unit tells of itself. Raises `LorascopeError` where it can't be read."""
        return read_json(self.place(name) / self.about)

    def is_whole(self, name: str) -> bool:
        """Whether a unit is finished, at a glance: its seal is there, and its files are in their sizes. Those of before
        there were seals are whole where they have told of themselves.
        """
        place = self.place(name)
        return seals.is_complete(place) or (not seals.is_sealed(place) and self._is_earlier(place))

    def fault_of(self, name: str) -> str | None:
        """What is wrong with the unit that lies at its place, with the file's name; None where it is as it was sealed,
        which every byte is read for, and where nothing is there.

        One of before there were seals is given one, if its files can be read: what happened to them until then nobody
        can tell.
        """
        place = self.place(name)
        if not place.is_dir():
            return "a link that leads nowhere" if place.is_symlink() else None
        if not seals.is_sealed(place) and self._is_earlier(place):
            unreadable = _unreadable(place, name)
            if unreadable is None:
                seals.seal(place, LEFTOVERS)
            return unreadable
        fault = seals.fault(place)
        return None if fault is None else str(fault)

    def take_up(self, name: str, say: Callable[[str], None], building: bool = False) -> bool:
        """Whether a unit is whole in its place, every byte of it; one that was built and not moved is moved now, unless
        another is `building` it. What is wrong with it is told.
        """
        sealed = seals.is_sealed(self.place(name))
        fault = self.fault_of(name)
        if fault is not None:
            say(f"{self.root.name}/{name}: {fault}; computed again")
        elif not sealed and seals.is_sealed(self.place(name)):
            say(f"{self.root.name}/{name}: had no seal (made by an earlier version); sealed as it was found")
        if fault is None and self.is_whole(name):
            return True
        if not building and self._is_built(name):
            self._put_in_place(name, self._partial(name))
            return True
        return False

    def begin(self, name: str) -> Path:
        """A folder to build a unit in; what an interrupted run left in it is still there, but for files that it was
        writing.
        """
        make_place(self.root)
        partial = self._partial(name)
        partial.mkdir(exist_ok=True)
        for file in partial.glob(".*.partial"):
            file.unlink()
        return partial

    def finish(self, name: str, about: Mapping[str, Any]) -> None:
        """Let the unit that was built tell of itself, seal it, and move it to where finished units lie; what lies there
        and is not whole makes room.
        """
        partial = self._partial(name)
        write_json(partial / self.about, {**about, "hash": name, "form": FORM})
        seals.seal(partial, LEFTOVERS)
        self._put_in_place(name, partial)

    def tidy(self, name: str) -> None:
        """Remove what its building left in a unit's folder: only now, since a run that is killed before the move goes
        on from there.
        """
        for pattern in LEFTOVERS:
            for leftover in self.place(name).glob(pattern):
                shutil.rmtree(leftover)

    def pack(self, name: str) -> bytes:
        """A finished unit as bytes (tar)."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.add(self.place(name), arcname=".")
        return buffer.getvalue()

    def land(self, name: str, packed: bytes) -> bool:
        """Put a unit that another machine packed in its place; False where it is whole already. Raises `LorascopeError`
        where it did not arrive as it was sealed.
        """
        if self.fault_of(name) is None and self.is_whole(name):
            return False
        landing = self.root / f".partial-landing-{uuid.uuid4().hex}"
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
                tar.extractall(landing, filter="data")
            fault = seals.fault(landing)
            if fault is not None:
                raise LorascopeError(
                    f"{self.root.name}/{name}: {fault} when it arrived; the same command computes it again"
                )
            # what was unpacked is not on the disk yet
            seals.seal(landing)
            self._put_in_place(name, landing)
        finally:
            shutil.rmtree(landing, ignore_errors=True)
        shutil.rmtree(self._partial(name), ignore_errors=True)
        return True

    def _is_built(self, name: str) -> bool:
        partial = self._partial(name)
        return (partial / self.about).is_file() and seals.fault(partial) is None

    def _put_in_place(self, name: str, built: Path) -> None:
        clear(self.place(name))
        built.replace(self.place(name))
        sync_folder(self.root)

    def _partial(self, name: str) -> Path:
        return self.root / f".partial-{name}"

    def _is_earlier(self, place: Path) -> bool:
        """Whether a unit was finished before there were seals."""
        if not self.earlier or not (place / self.about).is_file():
            return False
        try:
            return "form" not in read_json(place / self.about)
        except LorascopeError:
            return True


def make_place(folder: Path) -> None:
    """Make a folder for units, which may be a link to one. Raises `LorascopeError` where something else is there."""
    if folder.is_dir():
        return
    if folder.is_symlink():
        raise LorascopeError(f"{folder}: is a link to {folder.readlink()}, which isn't there; make that folder")
    if folder.exists():
        raise LorascopeError(f"{folder}: is a file where a folder should be; move it away")
    make_folder(folder)


def clear(place: Path) -> None:
    """Remove whatever lies at a place, a link that leads nowhere included."""
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)


def _unreadable(cell: Path, name: str) -> str | None:
    """What of a cell of before there were seals can't be read; None where all can."""
    try:
        if read_json(cell / "metrics.json")["hash"] != name:
            return "metrics.json: of another cell"
        if pd.read_parquet(cell / "predictions.parquet").empty:
            return "predictions.parquet: no rows"
    except (LorascopeError, OSError, ValueError, KeyError, TypeError) as error:
        return f"not readable ({' '.join(str(error).split())})"
    empty = [file for file in sorted(cell.rglob("*")) if file.is_file() and not file.stat().st_size]
    return f"{empty[0].relative_to(cell).as_posix()}: empty" if empty else None
