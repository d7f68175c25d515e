"""What holds for every reader: it is listed, documented, refuses another folder; and one's own reader is used
as docs/corpora.md says.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from lorascope.corpora import CORPORA, PUBLISHED, READERS, load_corpus
from lorascope.corpora.corpus import About, Published
from lorascope.corpora.labels import SYNONYMS
from lorascope.errors import LorascopeError

from ..tiny import write_tone
from .conftest import real_corpus
from .refusals import refused
from .trees import emodb_tree, iemocap_tree, manifest, manifest_rows, ravdess_tree
from .trees_labelled import audformat_tree, msp_tree, nemo_tree
from .trees_more import cremad_tree, emovo_tree, esd_tree, savee_tree, tess_tree

#: A tree of every reader that reads a folder; an audiofolder's metadata are read at any depth.
NESTED = {
    "audformat": audformat_tree,
    "cremad": cremad_tree,
    "csv": lambda folder: manifest(folder, manifest_rows()),
    "emodb": emodb_tree,
    "emovo": emovo_tree,
    "esd": esd_tree,
    "iemocap": iemocap_tree,
    "msp_podcast": msp_tree,
    "nemo": nemo_tree,
    "ravdess": ravdess_tree,
    "savee": savee_tree,
    "tess": tess_tree,
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "corpora.md"


@pytest.fixture(scope="module")
def document() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_every_reader_says_what_it_is() -> None:
    assert set(CORPORA) == set(READERS)
    for about in CORPORA.values():
        assert isinstance(about, About)
        assert all(about.__dict__[name] for name in ("title", "language", "speech", "licence", "reference"))


def test_published_counts_add_up_and_agree_with_the_listing() -> None:
    assert set(PUBLISHED) == {"emodb", "ravdess", "cremad", "savee", "tess", "emovo", "nemo", "esd"}
    for name, published in PUBLISHED.items():
        assert isinstance(published, Published)
        assert (published.clips, published.speakers) == (CORPORA[name].clips, CORPORA[name].speakers)
        if published.by_class is not None:
            assert sum(published.by_class.values()) == published.clips
            assert set(published.by_class) <= set(SYNONYMS)


@pytest.mark.parametrize("name", ["emodb", "ravdess"])
def test_real_corpora_are_as_published(name: str) -> None:
    published = PUBLISHED[name]
    assert published.by_class is not None
    corpus = load_corpus(name, real_corpus(name), classes=tuple(published.by_class))
    assert corpus.clips["emotion"].value_counts().to_dict() == published.by_class
    assert len(corpus.clips) == published.clips and len(corpus.speakers) == published.speakers


@pytest.mark.parametrize("name", sorted(set(READERS) - {"synthetic"}))
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "README.txt").write_text("nothing here")
    refused(lambda: load_corpus(name, tmp_path), str(tmp_path), "corpus.root", "--root")


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_reader_and_option_is_documented(document: str, name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \|.*$", document, flags=re.MULTILINE)
    for option in set(inspect.signature(READERS[name]).parameters) - {"root"}:
        assert f"`{option}`" in row


def test_a_reader_of_ones_own_is_used_as_documented(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", document, flags=re.DOTALL)
    for speaker in ("s01", "s02"):
        for emotion in ("angry", "happy", "neutral", "sad", "afraid"):
            for take in (1, 2):
                write_tone(
                    tmp_path / "corpora" / "mine" / speaker / f"{speaker}-{emotion}-take{take}.wav", seconds=0.03
                )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lorascope.corpora.READERS", READERS.copy())
    names: dict[str, Any] = {}
    exec(compile(example, "docs/corpora.md", "exec"), names)
    corpus = names["corpus"]
    assert corpus.name == "mine" and corpus.speakers == ("s01", "s02") and len(corpus.clips) == 8
    assert corpus.left_out.set_index("reason")["clips"].to_dict() == {
        "later than take 1": 10,
        "emotion fear is not among the classes": 2,
    }
    write_tone(tmp_path / "corpora" / "mine" / "intro.wav")
    refused(lambda: load_corpus("mine", "corpora/mine"), "intro.wav", "s01-happy-take1.wav")
    refused(lambda: load_corpus("mine", "corpora/mine", take=1), "corpus.options.take:", "did you mean 'takes'")


@pytest.mark.parametrize("reader", NESTED)
def test_every_reader_names_the_folder_in_which_its_corpus_lies_deeper(tmp_path: Path, reader: str) -> None:
    inside = tmp_path / "archive" / "data"
    inside.mkdir(parents=True)
    NESTED[reader](inside)
    with pytest.raises(LorascopeError, match="the corpus lies deeper, in ") as caught:
        load_corpus(reader, tmp_path)
    named = Path(str(caught.value).split("deeper, in ")[1].split(";")[0])
    assert named.is_relative_to(inside) and len(READERS[reader](root=named).table)
