"""Files under a sound's name that hold something else, and what to do about each. No samples are read here."""

from __future__ import annotations

from pathlib import Path

#: How a Git LFS pointer begins (Git LFS specification, version 1).
LFS = b"version https://git-lfs.github.com/spec/"
#: A pointer is a few short lines of text; nothing longer is one.
LONGEST_POINTER = 1024


def is_pointer(path: str | Path) -> bool:
    """Whether a file is what Git LFS leaves in the place of one that was not fetched."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(LONGEST_POINTER + 1)
    except OSError:
        return False
    return head.startswith(LFS) and len(head) <= LONGEST_POINTER


def told_otherwise(path: str | Path) -> str | None:
    """What a file is that can't be read as audio, with the way out; None where nothing is known of it."""
    if is_pointer(path):
        return "a Git LFS pointer in the sound's place; fetch the sounds with `git lfs pull`"
    try:
        with Path(path).open("rb") as file:
            head = file.read(12)
    except OSError:
        return None
    if head[4:8] == b"ftyp":
        # libsndfile decodes no AAC
        return "MP4 or M4A (AAC), which soundfile doesn't decode; convert it, as with `ffmpeg -i old.m4a new.wav`"
    return None
