"""The page: one file that loads nothing, escapes everything, names what is missing and shows the numbers of the
tables.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from lorascope.errors import LorascopeError
from lorascope.findings.scores import summarise
from lorascope.report import write_all

from .conftest import HOSTILE, OPTIMISTIC
from .folders import make_analysis
from .recipe import Recipe

pytestmark = pytest.mark.figures

#: Attributes that make a browser fetch something.
LOADING = {"src", "href", "xlink:href", "srcset", "poster", "data", "action", "formaction", "background", "ping"}
SIZE_LIMIT = 6_000_000


class Page(HTMLParser):
    """The tags, the text and the scripts of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._inside = ""
        self.source = file.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append((tag, values))
        self._inside = tag
        if tag == "script":
            self.scripts.append((values.get("type", "text/javascript"), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
        elif self._inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        there = [attributes for name, attributes in self.tags if name == tag]
        return [attributes for attributes in there if wanted.items() <= attributes.items()]

    def download(self, name: str) -> pd.DataFrame:
        link = next(link for link in self.all("a") if link.get("download") == name)
        content = base64.b64decode(link["href"].partition("base64,")[2])
        return pd.read_csv(io.BytesIO(gzip.decompress(content) if name.endswith(".gz") else content))


@pytest.fixture(scope="module")
def pages(plain: Path, marked: Path, bare: Path) -> dict[str, Page]:
    return {run: Page(folder / "report.html") for run, folder in (("plain", plain), ("marked", marked), ("bare", bare))}


@pytest.mark.parametrize("run", ["plain", "marked", "bare"])
def test_the_page_loads_nothing_from_outside(pages: dict[str, Page], run: str) -> None:
    page = pages[run]
    for tag, attributes in page.tags:
        for name in LOADING & set(attributes):
            assert attributes[name].startswith(("#", "data:")), (tag, name, attributes[name][:80])
        assert "url(http" not in attributes.get("style", "")
    styles = re.findall(r"<style>(.*?)</style>", page.source, re.DOTALL)
    assert len(styles) == 1
    assert "@import" not in styles[0]
    assert "url(" not in styles[0]
    own = "".join(text for kind, text in page.scripts if kind == "text/javascript")
    assert "http" not in own
    # plotly's mode bar would offer to upload the plot with its clips and speakers
    drawn = bool(page.all("script", id="plotly"))
    assert own.count("Plotly.react(") == own.count("showSendToCloud: false") == drawn
    assert len(page.source.encode()) < SIZE_LIMIT


def test_the_plotting_library_is_embedded_once_and_whole(pages: dict[str, Page]) -> None:
    assert len(pages["plain"].all("script", id="plotly")) == 1
    packed = [text for kind, text in pages["plain"].scripts if kind == "application/octet-stream"]
    assert [b"plotly.js v" in gzip.decompress(base64.b64decode(text)) for text in packed].count(True) == 1


def test_names_from_files_never_become_markup(pages: dict[str, Page]) -> None:
    page = pages["marked"]
    assert HOSTILE not in page.source
    assert not [text for kind, text in page.scripts if kind == "text/javascript" and "alert(1)" in text]
    assert not page.all("img")
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert "<b>$x$</b>" in page.text
    packed = [text for kind, text in page.scripts if kind == "application/octet-stream"]
    texts = [gzip.decompress(base64.b64decode(text)).decode() for text in packed]
    drawn = [json.loads(text) for text in texts if text.startswith('{"stem"')]
    (rank_space,) = (plot for plot in drawn if plot["stem"] == "fig2b")
    # a click on a point names its clip, which is no markup there
    for curve in [curve for rows in rank_space["views"].values() for curve in rows[0][0]["curves"]]:
        curve.pop("clips")
    told = json.dumps(drawn).replace("<br>", "")
    assert "&lt;script&gt;alert(1)" in told
    assert "<" not in told


def test_ids_are_unique_and_local_links_lead_somewhere(pages: dict[str, Page]) -> None:
    for page in pages.values():
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        targets = {attributes["href"][1:] for _, attributes in page.tags if attributes.get("href", "").startswith("#")}
        assert targets <= set(ids)


def test_a_screen_reader_finds_its_way(pages: dict[str, Page]) -> None:
    page = pages["plain"]
    assert page.all("html")[0]["lang"] == "en"
    small = [svg for svg in page.all("svg") if svg.get("class") == "small"]
    assert len(small) == 3 and len(page.all("svg")) == 3 + 7
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 40 for svg in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert all(head["scope"] == "col" for head in page.all("th"))


def test_the_page_shows_the_numbers_of_table_1(pages: dict[str, Page], plain: Path) -> None:
    for _, row in summarise(plain).iterrows():
        assert f"{row['uar_mean']:.3f} ± {row['uar_std']:.3f}" in pages["plain"].text
        assert (
            f"{row['pooled_uar']:.3f} [{row['pooled_uar_low']:.3f}, {row['pooled_uar_high']:.3f}]"
            in pages["plain"].text
        )


def test_the_downloads_are_the_tables(pages: dict[str, Page], plain: Path) -> None:
    lens = pd.read_parquet(plain / "analysis" / "lens.parquet")
    got = pages["plain"].download("lens.csv")
    assert got["kl"].tolist() == pytest.approx(lens["kl"].tolist(), rel=1e-5)
    assert not got["synthetic"].any()
    table = pages["marked"].download("table1.csv")
    assert table["synthetic"].all()
    assert table["optimistic"].eq(OPTIMISTIC).all()
    cka = next(link["download"] for link in pages["marked"].all("a") if link.get("download", "").startswith("cka"))
    assert pages["marked"].download(cka)["optimistic"].eq(OPTIMISTIC).all()


def test_marks_come_first(pages: dict[str, Page]) -> None:
    text = pages["marked"].text
    # The first "What was run" is the link to it.
    assert text.index("synthetic speech") < text.rindex("What was run")
    assert text.index(OPTIMISTIC) < text.rindex("What was run")
    honest = pages["plain"].text.lower()
    assert "optimistic:" not in honest
    assert "synthetic speech" not in honest


def test_what_is_missing_is_named_and_the_rest_is_there(pages: dict[str, Page]) -> None:
    text = pages["bare"].text
    for stem in ("contribution", "ranks", "rank_scores", "cka", "erasure"):
        assert f"analysis/{stem}.parquet" in text
    assert "No cell was trained here" in text
    assert "No frozen model was analysed" in text
    assert "holds no trained cell of Table 1" in text
    assert "KL from the final answer" in text
    assert "analysis/lens.parquet" not in text


def test_who_chose_and_what_was_left_out_is_told(pages: dict[str, Page]) -> None:
    text = pages["plain"].text
    for words in ("validation speakers", "emotion 'boredom' is in none of the classes", "learning rate", "best epoch"):
        assert words in text
    for words in ("lorascope run made-up.yaml", "made-up CPU", "2.13.0", "Seed: analysis", "754 s"):
        assert words in text


def test_every_variant_is_explained(pages: dict[str, Page]) -> None:
    text = pages["plain"].text
    for section in (2, 3, 4, 5, 6, 7):
        assert f"section {section}" in text
    assert text.count("How this was computed") == 6


def test_a_command_may_be_a_list_of_words(tmp_path: Path) -> None:
    every = ("contribution", "lens", "ranks", "rank_scores", "spectra", "spectra_summary", "cka", "erasure")
    run = make_analysis(tmp_path / "run", Recipe(without=every))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["command"] = ["lorascope", "analyze", "--out", "a b"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    page = Page(write_all(run))
    assert "lorascope analyze --out 'a b'" in page.text
    assert not page.all("svg")
    assert not [kind for kind, _ in page.scripts if kind == "application/octet-stream"]


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LorascopeError, match=r"manifest\.json: no such file"):
        write_all(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(LorascopeError, match=r"manifest\.json: not readable as JSON"):
        write_all(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]


def test_every_figure_tells_what_its_intervals_speak_of(plain: Path) -> None:
    text = (plain / "report.html").read_text()
    assert text.count("<li>95 % intervals speak of these clips: ") == 5
    assert "intervals speak of speakers, by leaving out each of the test speakers" in text
