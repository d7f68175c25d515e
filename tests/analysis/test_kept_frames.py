"""Kept frames come back as they went in, from memory or from disk, and the disk is left clean."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from lorascope.analysis import kept_frames
from lorascope.analysis.kept_frames import KeptFrames, Space, Spilled
from lorascope.analysis.measure import Batch
from lorascope.errors import LorascopeError


@pytest.mark.parametrize("budget", [0, 100, 1 << 20])
def test_pieces_are_the_padded_clips(budget, monkeypatch):
    monkeypatch.setitem(kept_frames.PIECE, "cpu", 2 * 3 * 5)
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(frames, 3)).astype(np.float32) for frames in (7, 4, 7, 4, 7)]
    frames = KeptFrames(5, Space(budget))
    for rows in ([0, 2], [1, 3], [4]):
        tensor = torch.from_numpy(np.stack([clips[row] for row in rows]))
        length = tensor.shape[1]
        valid = torch.full((len(rows),), length)
        batch = Batch(torch.tensor(rows), torch.zeros(len(rows), 1, 2 * length), length, valid, valid, True)
        frames.add(batch, tensor)
    expected = np.stack([np.pad(clip, ((0, 7 - len(clip)), (0, 0))) for clip in clips])
    pieces = list(frames.pieces())
    assert [piece.shape[1] for piece in pieces] == [2, 2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), expected)


def test_the_file_goes_with_the_space():
    space = Space(0)
    kept = space.keep(np.ones(3))
    folder = space._folder
    assert (folder / "frames").stat().st_size == 24
    del space, kept
    assert not folder.exists()


def test_memory_is_used_first():
    space = Space(24)
    array = np.ones(3)
    assert space.keep(array) is array and space._folder is None
    spilled = space.keep(array)
    assert isinstance(spilled, Spilled) and (spilled[:] == array).all()


def test_a_full_disk_is_told_in_one_line(monkeypatch):
    space = Space(0)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(LorascopeError, match="TMPDIR") as caught:
        space.keep(np.ones(3))
    assert "\n" not in str(caught.value)
