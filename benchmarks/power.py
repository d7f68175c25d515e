"""What is left on a disk after a power cut: rebuilt from what a process brought there with fsync, without a disk.

POSIX promises of a file its bytes at its last fsync, and of a folder its entries at its own. So `watch` keeps a copy of
either when it is fsynced, and `cut` builds what may be found afterwards: `strict` has nothing else, and of a file that
was never synced it has the name and no byte; otherwise a seeded coin says for every folder whether its later entries
were written, and for every file whether it has its later bytes, zeros, a part of them or none.

Inodes must not be used twice meanwhile: on Linux' tmpfs (/dev/shm) they are not.
"""

from __future__ import annotations

import json
import os
import random
import signal
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def begin(disk: Path, shadow: Path) -> None:
    """Take all that is in a folder to be on the disk."""
    shadow.mkdir(parents=True)
    for folder, _, files in os.walk(disk):
        (shadow / str(Path(folder).stat().st_ino)).write_text(json.dumps(_entries(folder)))
        for name in files:
            file = Path(folder) / name
            if not file.is_symlink():
                (shadow / str(file.stat().st_ino)).write_bytes(file.read_bytes())


def watch(shadow: Path, at: int | None = None) -> None:
    """From now on keep in `shadow` what this process brings to the disk, and what it takes to be there for good (units
    that it finished, reports that it sealed); with `at` it dies before its fsync or move of that number (from 0).
    """
    fsync, replace, count = os.fsync, os.replace, [0]

    def step() -> None:
        if count[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        count[0] += 1
        (shadow / "steps").write_text(str(count[0]))

    def keep(name: str, content: bytes) -> None:
        beside = shadow / f".{name}"
        beside.write_bytes(content)
        replace(beside, shadow / name)

    def synced(descriptor: Any) -> None:
        step()
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        fsync(number)
        told = os.fstat(number)
        if stat.S_ISDIR(told.st_mode):
            keep(f"{told.st_ino}", json.dumps(_entries(f"/proc/self/fd/{number}")).encode())
        else:
            keep(f"{told.st_ino}", Path(f"/proc/self/fd/{number}").read_bytes())

    def moved(*args: Any, **settings: Any) -> None:
        step()
        replace(*args, **settings)

    os.fsync, os.replace = synced, moved
    _note_promises(lambda line: keep_line(shadow / "promised", line))


def keep_line(file: Path, line: str) -> None:
    """Append a line to a file."""
    with file.open("a", encoding="utf-8") as opened:
        opened.write(f"{line}\n")


def promised(shadow: Path) -> dict[str, str]:
    """What a watched process took to be there for good: the name of its seal by folder."""
    file = shadow / "promised"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    # of a report the last one; while one is made, none is promised
    last = {folder: name for folder, _, name in (line.rpartition(" ") for line in lines)}
    return {folder: name for folder, name in last.items() if name != "-"}


def _note_promises(note: Callable[[str], None]) -> None:
    from lorascope.store import seals
    from lorascope.store.folder import RunFolder
    from lorascope.store.units import Units

    finish, seal, unseal = Units.finish, RunFolder.seal, RunFolder.unseal

    def finished(self: Units, name: str, about: Mapping[str, Any]) -> None:
        finish(self, name, about)
        note(f"{self.place(name)} {seals.name_of(self.place(name))}")

    def sealed(self: RunFolder) -> None:
        seal(self)
        note(f"{self.root} {seals.name_of(self.root)}")

    def unsealed(self: RunFolder) -> None:
        note(f"{self.root} -")
        unseal(self)

    Units.finish, RunFolder.seal, RunFolder.unseal = finished, sealed, unsealed


def _entries(folder: str | Path) -> dict[str, list[Any]]:
    """[inode, target of a link] of everything in a folder, by name."""
    with os.scandir(folder) as found:
        return {
            entry.name: [entry.inode(), os.readlink(entry.path) if entry.is_symlink() else None]  # noqa: PTH115
            for entry in found
        }


def cut(disk: Path, shadow: Path, into: Path, coin: random.Random | None) -> None:
    """Build in `into` what may be left of the folder `disk`; strictly where there is no `coin`."""
    now = {disk.stat().st_ino: disk}
    for folder, folders, files in os.walk(disk):
        now |= {(Path(folder) / name).lstat().st_ino: Path(folder) / name for name in (*folders, *files)}
    _folder(disk.stat().st_ino, now, shadow, into, coin)


def _folder(inode: int, now: dict[int, Path], shadow: Path, into: Path, coin: random.Random | None) -> None:
    into.mkdir(parents=True)
    kept, here = shadow / str(inode), now.get(inode)
    entries = json.loads(kept.read_bytes()) if kept.is_file() else {}
    if coin and here is not None and coin.random() < 0.5:
        entries = _entries(here)
    for name, (inner, target) in entries.items():
        path = now.get(inner)
        if target is not None:
            (into / name).symlink_to(target)
        elif (path is not None and path.is_dir()) or (path is None and _is_folder(shadow / str(inner))):
            _folder(inner, now, shadow, into / name, coin)
        else:
            (into / name).write_bytes(_content(shadow / str(inner), path, coin))


def _is_folder(kept: Path) -> bool:
    """Whether what was kept of an inode that is gone are a folder's entries, which their form tells."""
    try:
        entries = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(entries, dict) and all(isinstance(entry, list) and len(entry) == 2 for entry in entries.values())


def _content(kept: Path, here: Path | None, coin: random.Random | None) -> bytes:
    before = kept.read_bytes() if kept.is_file() else b""
    if coin is None or here is None:
        return before
    later = here.read_bytes()
    if later == before:
        return before
    return coin.choice([before, later, bytes(len(later)), later[: len(later) // 2]])
