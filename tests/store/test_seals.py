"""A seal knows every byte of a folder: whatever is changed, cut off, emptied or taken away is named."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lorascope.store import cache, files, seals
from lorascope.store.folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "unit" / "adapter").mkdir(parents=True)
    (tmp_path / "unit" / "adapter" / "weights.bin").write_bytes(bytes(range(200)))
    (tmp_path / "unit" / "ümlaut.json").write_text('{"uar": 0.5}')
    seals.seal(tmp_path / "unit")
    return tmp_path / "unit"


def flip(file, place=None):
    content = bytearray(file.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    file.write_bytes(content)


def test_a_sealed_folder_has_no_faults(folder):
    assert seals.fault(folder) is None and seals.is_sealed(folder) and seals.is_complete(folder)
    # what does not belong to the unit may lie in it
    (folder / "notes.txt").write_text("mine")
    assert seals.fault(folder) is None


def test_every_flipped_byte_is_found_in_files_and_in_the_seal_itself(folder):
    for file in ("adapter/weights.bin", "ümlaut.json", seals.SEAL):
        whole = (folder / file).read_bytes()
        for place in range(len(whole)):
            flip(folder / file, place)
            found = seals.fault(folder)
            assert found is not None and found.name == file and not found.gone, place
            (folder / file).write_bytes(whole)
    assert seals.fault(folder) is None


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda file: file.unlink(), "adapter/weights.bin: not there"),
        (lambda file: file.write_bytes(b""), "adapter/weights.bin: empty, though it was sealed with 200 bytes"),
        (lambda file: file.write_bytes(file.read_bytes()[:150]), "adapter/weights.bin: not what was sealed"),
        (lambda file: file.write_bytes(file.read_bytes() + b"0"), "adapter/weights.bin: not what was sealed"),
        (lambda file: shutil.rmtree(file.parent), "adapter/weights.bin: not there"),
    ],
)
def test_harm_is_told_with_the_name_of_the_file(folder, harm, told):
    harm(folder / "adapter" / "weights.bin")
    assert str(seals.fault(folder)) == told
    assert not seals.is_complete(folder) or told.endswith("sealed")


def test_a_seal_names_the_content(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert seals.name_of(tmp_path / "copy") == seals.name_of(folder) == seals.seal(folder)
    flip(tmp_path / "copy" / "ümlaut.json")
    assert seals.seal(tmp_path / "copy") != seals.name_of(folder)
    assert seals.name_of(tmp_path) == ""


def test_what_a_seal_vouches_for_is_on_the_disk_before_it_and_in_place_after_it(tmp_path, monkeypatch):
    """The order in which a power cut must find things: files, their folders, the seal, then the move and its parent."""
    run, order = RunFolder(tmp_path), []
    fsync, replace = os.fsync, type(tmp_path).replace

    def synced(descriptor):
        order.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        return fsync(descriptor)

    def replaced(path, target):
        order.append(("move", str(target)))
        return replace(path, target)

    monkeypatch.setattr(files.os, "fsync", synced)
    monkeypatch.setattr(type(tmp_path), "replace", replaced)
    built = run.cells.begin("a")
    (built / "adapter").mkdir()
    (built / "adapter" / "weights.bin").write_bytes(b"weights")
    run.cells.finish("a", {"uar": 0.5})
    cells = tmp_path / "cells"
    steps = [
        ("fsync", str(built / "adapter" / "weights.bin")),
        ("fsync", str(built / "adapter")),
        ("move", str(built / "seal.json")),
        ("fsync", str(built)),
        ("move", str(cells / "a")),
        ("fsync", str(cells)),
    ]
    places = [len(order) - 1 - order[::-1].index(step) for step in steps]
    assert places == sorted(places)
    assert order.index(("fsync", str(built / "metrics.json"))) < order.index(steps[2])


def test_an_array_in_the_cache_is_itself_or_made_again(tmp_path, caplog):
    file, array = tmp_path / "pooled" / "a.npy", np.arange(12, dtype=np.float32).reshape(3, 4)
    cache.keep_array(file, array)
    np.testing.assert_array_equal(cache.read_array(file), array)
    whole = file.read_bytes()
    for place in range(len(whole)):
        flip(file, place)
        assert cache.read_array(file) is None, place
        file.write_bytes(whole)
    for cut in (0, 10, len(whole) - 1):
        file.write_bytes(whole[:cut])
        assert cache.read_array(file) is None
    assert cache.read_array(tmp_path / "nowhere.npy") is None
    # one line each, with the file's name; none for what was never there
    assert [record.args for record in caplog.records] == [(file,)] * (len(whole) + 3)
