"""Tiny trees of corpora that are read by their label files, in their own layouts, filled with tones. Each builder
returns the folder that a reader is given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .trees_more import blip

#: As MSP-Podcast writes it: name, EmoClass, SpkrID, Gender, Split_Set. X is no agreement, O another emotion.
MSP_ROWS = (
    ("MSP-PODCAST_0001_0008.wav", "A", "127", "Male", "Train"),
    ("MSP-PODCAST_0001_0019.wav", "H", "127", "Male", "Train"),
    ("MSP-PODCAST_0001_0020.wav", "N", "Unknown", "Unknown", "Train"),
    ("MSP-PODCAST_0002_0033.wav", "S", "Unknown", "Unknown", "Development"),
    ("MSP-PODCAST_0002_0039.wav", "N", "8", "Female", "Validation"),
    ("MSP-PODCAST_0003_0054.wav", "S", "9", "Female", "Test1"),
    ("MSP-PODCAST_0003_0064.wav", "U", "9", "Female", "Test1"),
    ("MSP-PODCAST_0153_0002_0001.wav", "X", "9", "Female", "Test2"),
    ("MSP-PODCAST_0153_0002_0002.wav", "O", "9", "Female", "Test3"),
)
NEMO_WORDS = ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
FOLDER_LABELS = ("angry", "happy", "neutral", "sad")


def nemo_tree(root: Path) -> Path:
    """`samples` and `data.tsv`, whose speakers have spaces before them: three of them say two sentences in six
    emotions, one with quotation marks.
    """
    lines = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    for speaker, gender in (("WR0", "male"), ("EB0", "female"), ("KD0", "female")):
        for word in NEMO_WORDS:
            for sentence, text in ((1, "Lubię czytać przed snem."), (38, '"Ród smoka" to serial.')):
                name = f"{speaker}_{word}_{sentence}.wav"
                blip(root / "samples" / name, sentence)
                lines.append(f"{name}\t{word}\t{text}\t{text.lower()}\t        {speaker}\t{gender}\t23")
    (root / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def msp_tree(
    root: Path, labels: str = "Labels/labels_consensus.csv", rows: Sequence[tuple[str, ...]] = MSP_ROWS
) -> Path:
    """`Audios`, `Labels` and the transcript of the first clip; one sound has no row, as in the blind test set."""
    lines = ["FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"]
    for number, (name, emotion, speaker, gender, split) in enumerate(rows):
        blip(root / "Audios" / name, number)
        lines.append(f"{name},{emotion},4.0,3.2,4.6,{speaker},{gender},{split}")
    blip(root / "Audios" / "MSP-PODCAST_9999_0001.wav", 1)
    for path, text in ((root / labels, "\n".join(lines)), (root / "Transcripts/MSP-PODCAST_0001_0008.txt", "no way\n")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def folder_rows(speakers: Sequence[object] = (1, 2, 3)) -> list[dict[str, Any]]:
    """Rows of a metadata file: every speaker once in each of four emotions."""
    return [
        {"file_name": f"{speaker}-{label}.wav", "speaker_id": speaker, "label": label, "transcription": f"so {label}"}
        for speaker in speakers
        for label in FOLDER_LABELS
    ]


def metadata(folder: Path, rows: Sequence[Mapping[str, Any]], form: str = "csv", sounds: bool = True) -> Path:
    """`metadata.<form>` in `folder`, with a tone for every row. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"metadata.{form}"
    if form == "jsonl":
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif form == "parquet":
        pd.DataFrame(rows).to_parquet(file, index=False)
    else:
        pd.DataFrame(rows).to_csv(file, index=False)
    for number, row in enumerate(rows if sounds else ()):
        blip(folder / row["file_name"], number)
    return file


def label_folders(root: Path, splits: Sequence[str] = ("train", "test")) -> Path:
    """`<split>/<label>/<speaker>_<n>.wav`; speakers are of one split, and two folders hold files of one name."""
    for number, split in enumerate(splits):
        for label in FOLDER_LABELS:
            for speaker in range(2):
                blip(root / split / label / f"spk{2 * number + speaker}_1.wav", speaker)
    return root


def audformat_tree(root: Path, segmented: bool = False) -> Path:
    """A database as audformat saves it: emotions in tables emotion (filewise or of pieces of files), emotion.train
    and emotion.test; speakers, with gender in their scheme, in table files.
    """
    import audformat

    database = audformat.Database("tiny", languages=["deu"])
    people = {f"{number:02d}": {"gender": "female" if number % 2 else "male"} for number in (3, 8, 9)}
    database.schemes["emotion"] = audformat.Scheme(labels=[*FOLDER_LABELS, "boredom"])
    database.schemes["speaker"] = audformat.Scheme(labels=people)
    database.schemes["text"] = audformat.Scheme("str")
    files = [f"wav/{speaker}-{label}.wav" for speaker in people for label in FOLDER_LABELS]
    for number, file in enumerate(files):
        blip(root / file, number)
    labels = [file[7:-4] for file in files]
    labels[-1] = None
    index = audformat.filewise_index(files)
    _table(database, "files", index, speaker=[file[4:6] for file in files], text=["a01"] * len(files))
    if segmented:
        index = audformat.segmented_index(
            [*files, files[0]], ["0s"] * len(files) + ["0.01s"], ["0.01s"] * len(files) + [None]
        )
        labels = [*labels, "boredom"]
    _table(database, "emotion", index, emotion=labels)
    for split, kind in (("train", "train"), ("dev", "dev"), ("test", "test")):
        database.splits[split] = audformat.Split(kind)
        part = [
            place for place, file in enumerate(files) if file[4:6] == {"train": "03", "dev": "08", "test": "09"}[split]
        ]
        _table(
            database,
            f"emotion.{split}",
            audformat.filewise_index([files[i] for i in part]),
            split,
            emotion=[labels[i] for i in part],
        )
    database.save(str(root), storage_format="csv")
    return root


def _table(database: Any, name: str, index: pd.Index, split: str | None = None, **columns: Sequence[object]) -> None:
    import audformat

    table = database[name] = audformat.Table(index, split_id=split)
    for column, values in columns.items():
        table[column] = audformat.Column(scheme_id=column)
        table[column].set(list(values))
