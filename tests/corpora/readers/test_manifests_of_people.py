"""Manifests as people's programs leave them: signs between cells, marks, line ends, numbers, paths of other systems."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorascope.corpora.readers import manifest
from lorascope.errors import LorascopeError

from ...tiny import write_tone

ROWS = [("path", "speaker", "emotion"), ("03_1.wav", "007", "angry"), ("03_2.wav", "070", "sad")]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("between", [",", ";", "\t", " ; ", " , "])
def test_speakers_keep_their_zeros_whatever_stands_around_them(
    tmp_path: Path, between: str, end: str, mark: str
) -> None:
    text = mark + end.join(between.join(row) for row in ROWS) + end
    (tmp_path / "manifest.csv").write_bytes(text.encode())
    table = manifest.read(tmp_path).table
    assert list(table["speaker"]) == ["007", "070"]
    assert list(table["emotion"]) == ["angry", "sad"]
    assert list(table["id"]) == ["03_1", "03_2"]


def test_paths_of_windows_are_read_and_told(tmp_path: Path) -> None:
    for folder in ("angry", "happy"):
        (tmp_path / folder).mkdir()
        write_tone(tmp_path / folder / "03_1.wav")
    lines = ["path,speaker,emotion", "angry\\03_1.wav,1,angry", "happy\\03_1.wav,2,happy"]
    (tmp_path / "manifest.csv").write_text("\r\n".join(lines))
    found = manifest.read(tmp_path)
    assert all(Path(path).is_file() for path in found.table["path"])
    assert any("\\" in note and note.endswith(": 2") for note in found.notes)
    # one name in two folders: the path is the id, as in an audiofolder
    assert list(found.table["id"]) == ["angry/03_1", "happy/03_1"]


def test_a_manifest_that_was_not_fetched_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(LorascopeError, match=r"manifest\.csv: a Git LFS pointer .*git lfs pull"):
        manifest.read(tmp_path)
