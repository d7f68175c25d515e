"""nEMO (Christop 2024): Polish, acted, 9 speakers, 4481 clips.

`samples/` holds the sounds, `data.tsv` says what they are: file_id (the file's name, suffix and all), emotion,
raw_text, speaker_id (with spaces before it), gender.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import LorascopeError
from ..corpus import About, Published, Recordings
from .files import without_label
from .tables import filled, read_table

COLUMNS = {"file_id": "id", "emotion": "emotion", "raw_text": "text", "speaker_id": "speaker", "gender": "gender"}
ABOUT = About("nEMO", "Polish", "acted", 9, 4481, "CC BY-NC-SA 4.0", "Christop 2024")
PUBLISHED = Published(4481, 9, None)


def read(root: Path) -> Recordings:
    """Read `root/data.tsv` and `root/samples`; sounds that no line names are counted and left out.

    Raises `LorascopeError` where the table is missing, lacks a column, or a file, emotion or speaker in it is empty.
    """
    file = root / "data.tsv"
    if not file.is_file():
        raise LorascopeError(
            f"{root}: no data.tsv; give nEMO's folder (samples/ and data.tsv) with corpus.root (on the command line "
            "--root)"
        )
    table, where, *_ = read_table(file, tuple(COLUMNS), quotes=False)
    table = table[list(COLUMNS)].rename(columns=COLUMNS)
    for column in ("id", "emotion", "speaker"):
        table[column] = filled(table[column], column, where)
    names = [name if Path(name).suffix else f"{name}.wav" for name in table["id"]]
    table = table.assign(
        path=[str(root / "samples" / name) for name in names], id=[Path(name).stem for name in names], language="pl"
    )
    return Recordings(table, where=where, left_out=without_label(root / "samples", table["path"], "*"))
