"""How a command ends when it can't go on: a signal, a disk that takes no more, a terminal
that is gone; one line each.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

#: Nothing more can be written there, and what to do about it.
FULL = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within the quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "give a folder that can be written",
    errno.EACCES: "give a folder that you may write",
    errno.EPERM: "give a folder that you may write",
}
#: A failure to write whose cause is not told: numpy's and torch's.
UNKNOWN = -1
_SILENT = re.compile(r"requested and \d+ written|PytorchStreamWriter failed|iostream error|unexpected pos")
#: The path itself is at fault.
MISTAKEN = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT)
#: Ends that others bring about, each told as Ctrl-C is.
SIGNALS = ("SIGTERM", "SIGHUP")


class Signals:
    """From now on SIGTERM and SIGHUP do what Ctrl-C does; `caught` is the one that came, by name.

    One that is ignored (nohup) stays so. Processes that are forked off die of it silently, as before.
    """

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._process = os.getpid()
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._end)

    def _end(self, number: int, _: Any) -> None:
        if os.getpid() != self._process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # Slurm and others kill for good after half a minute: a second one must not disturb the way out
        signal.signal(number, signal.SIG_IGN)
        self.caught = signal.Signals(number)
        raise KeyboardInterrupt


def errno_of(error: BaseException) -> tuple[int, str | None] | None:
    """(errno, file) of what stopped the writing, wherever in the chain of an exception's causes it stands; None
    where it was something else.

    safetensors and shutil tell it in words alone; numpy and torch not even so: theirs is `UNKNOWN`.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (*FULL, *MISTAKEN):
            return seen.errno, None if seen.filename is None else os.fsdecode(seen.filename)
        told = re.search(r"(?:os error |\[Errno |Os \{ code: )(\d+)", str(seen))
        if told and int(told.group(1)) in FULL:
            return int(told.group(1)), None
        if _SILENT.search(str(seen)):
            return UNKNOWN, None
        seen = seen.__cause__ or seen.__context__
    return None


def storage_line(error: BaseException, places: Sequence[Path]) -> str | None:
    """One line on a failure to write: what, how much is free there, what is safe, how it goes on;
    None for another failure.

    `places` are those that are written to. Where the error names no file it is tried which of them takes no more;
    None also if all take more.
    """
    found = errno_of(error)
    if found is None:
        return None
    number, file = found
    if number in MISTAKEN:
        return f"{file}: {os.strerror(number)}; mend the path" if file else None
    if file is None:
        tried = next(((why, place) for place in places if (why := _refusal(place))), None)
        if tried is None:
            return None
        number, file = tried[0], str(tried[1])
    what = "read or written" if number in (errno.EACCES, errno.EPERM) else "written"
    return (
        f"{file}: cannot be {what}: {os.strerror(number)} ({_free(Path(file)) / 2**20:.0f} MiB are free there); what "
        f"is finished stays whole; {FULL.get(number, 'mend that')}, and the same command continues where it stopped"
    )


def _refusal(place: Path) -> int | None:
    """The errno with which a place, or the next folder above it that is there, refuses a file of 1 MiB;
    None where it takes one.
    """
    try:
        with tempfile.TemporaryFile(dir=_there(place)) as file:
            file.write(bytes(2**20))
    except OSError as error:
        return error.errno
    return None


def _free(place: Path) -> int:
    """Bytes that are free where a path lies or would lie."""
    return shutil.disk_usage(_there(place)).free


def _there(place: Path) -> Path:
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place


def standard_output_is_gone() -> bool:
    """Whether what was printed can't be written; what is left of it is then thrown away, so that the
    end is not disturbed by it.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        return True
    return False


def use_utf8_names() -> None:
    """Start Python again with file names in UTF-8 where its locale takes them for something else
    (LC_ALL=C, PYTHONUTF8=0).

    Names in a manifest are text, and could not be turned into those of files.
    """
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8") and not sys.flags.utf8_mode:
        _again([sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _again(arguments: list[str]) -> NoReturn:
    os.execv(arguments[0], arguments)
