"""Tasks other than emotion: labels as they are, classes all that occur, and what the readers know beside emotion."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lorascope.corpora import load_corpus, make_folds
from lorascope.errors import LorascopeError

from ..tiny import write_tone
from .conftest import real_corpus
from .trees import emodb_tree


def keywords(folder: Path, column: str = "label") -> Path:
    """Two words that are no emotions, by three speakers."""
    rows = []
    for speaker in ("01", "02", "03"):
        for word in ("yes", "No"):
            write_tone(folder / word / f"{speaker}.wav", 200 + 30 * int(speaker) + 100 * (word == "yes"))
            rows.append((f"{word}/{speaker}.wav", speaker, word))
    pd.DataFrame(rows, columns=["path", "speaker", column]).to_csv(folder / "manifest.csv", index=False)
    return folder


def test_labels_of_another_task_are_taken_as_they_are(tmp_path: Path) -> None:
    for word in ("yes", "No"):
        (tmp_path / word).mkdir()
    corpus = load_corpus("csv", keywords(tmp_path), task="keyword")
    assert corpus.classes == ("No", "yes") and corpus.task == "keyword" and len(corpus.clips) == 6
    assert len(make_folds(corpus)) == 3
    with pytest.raises(LorascopeError, match=r"'No' is not a known label|'yes' is not a known label"):
        load_corpus("csv", tmp_path)


def test_classes_and_a_label_map_of_another_task(tmp_path: Path) -> None:
    for word in ("yes", "No"):
        (tmp_path / word).mkdir()
    keywords(tmp_path)
    corpus = load_corpus("csv", tmp_path, task="keyword", label_map={"No": "no"})
    assert corpus.classes == ("no", "yes")
    with pytest.raises(LorascopeError, match=r"corpus\.label_map\.nope: no clip has this label"):
        load_corpus("csv", tmp_path, task="keyword", label_map={"nope": "no"})


def test_a_reader_gives_what_it_knows_beside_emotion(tmp_path: Path) -> None:
    emodb_tree(tmp_path)
    corpus = load_corpus("emodb", tmp_path, task="gender")
    assert corpus.classes == ("female", "male") and len(corpus.clips) == 40
    with pytest.raises(LorascopeError, match=r"corpus\.task: .* no 'gendre' \(did you mean 'gender'\?\)"):
        load_corpus("emodb", tmp_path, task="gendre")


def test_sentences_of_emodb() -> None:
    corpus = load_corpus("emodb", real_corpus("emodb"), task="text")
    assert len(corpus.classes) == 10 and len(corpus.clips) == 535
