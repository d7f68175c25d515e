"""One flipped byte in each kind of file that a run leaves, one by one: it is found and told by name, the file is made
again or refused, and no number comes from it.
"""

import shutil

import pandas as pd
import pytest

from lorascope.api import run
from lorascope.cli import main
from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.store.results import Results

from .conftest import settings_of
from .store.test_seals import flip

LORA = {"lora": {"rank": 2, "alpha": 4, "learning_rate": 1e-2, "epochs": 1}}
QUICK = {"frozen": {"learning_rate": [1e-3, 1e-2], "epochs": 1}, **LORA}
CELL = ("metrics.json", "predictions.parquet", "train.log", "seal.json", "adapter/adapter_config.json")
CELL = (*CELL, "adapter/lorascope.json", "adapter/adapter_model.safetensors")
ANALYSIS = ("about.json", "contribution.parquet", "lens.parquet", "seal.json")
TOLD = ("table1.csv", "table1.md", "table1.tex", "comparison.csv", "report.html", "figures/fig1.svg")


def few(kinds):
    """The first and the last of them; `make test-slow` has the others, which take the same way."""
    kinds = list(kinds)
    told = {0, len(kinds) - 1}
    return [kind if at in told else pytest.param(kind, marks=pytest.mark.slow) for at, kind in enumerate(kinds)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus, backbone_folder):
    """(experiment, folder, its table, its predictions) of one run, with a cache of its own."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LORASCOPE_CACHE", str(tmp_path_factory.mktemp("flipped") / "cache"))
    analysis = {"draws": 50, "measures": ["contribution", "lens"], "clips_per_class": 2}
    changes = {"folds": {"only": ["ann"]}, "analysis": analysis, "methods": QUICK}
    experiment = experiment_from(settings_of(corpus, backbone_folder, **changes))
    results = run(experiment, tmp_path_factory.mktemp("whole") / "run")
    yield experiment, results.folder.root, results.table1, results.predictions, results["contribution"]
    patch.undo()


@pytest.fixture
def copied(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "run")
    return tmp_path / "run"


def of(root, kind):
    """A file of a kind: of cells the one of the LoRA."""
    if not kind.startswith("cells/"):
        return root / kind
    listed = {cell["method"]: cell["hash"] for cell in Results(root).manifest["cells"]}
    return root / "cells" / listed["lora"] / kind.removeprefix("cells/")


def again(whole, root):
    """Run again; returns what was said, having asked for the numbers of the undisturbed run."""
    experiment, _, table, predictions, contribution = whole
    said = []
    results = run(experiment, root, said.append)
    pd.testing.assert_frame_equal(results.table1, table)
    pd.testing.assert_frame_equal(results.predictions, predictions, check_exact=True)
    pd.testing.assert_frame_equal(results["contribution"], contribution, check_exact=True)
    return said


@pytest.mark.parametrize("kind", few(f"cells/{file}" for file in CELL))
def test_a_cell(whole, copied, kind, capsys):
    file = of(copied, kind)
    flip(file)
    name = file.relative_to(copied).as_posix()
    with pytest.raises(SystemExit):
        main(["report", str(copied)])
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and name in told
    with pytest.raises(LorascopeError, match=file.name):
        Results(copied).predictions.count()
    said = again(whole, copied)
    cell, _, inner = name.removeprefix("cells/").partition("/")
    assert f"cells/{cell}: {inner}: not what was sealed; computed again" in said
    # the other one is not
    assert [text for text in said if "done before" in text and "frozen" in text]
    assert not again(whole, copied)[-1].startswith("cells/")


@pytest.mark.parametrize("where", [pytest.param("analysis", marks=pytest.mark.slow), "analyses"])
@pytest.mark.parametrize("kind", few(ANALYSIS))
def test_an_analysis(whole, copied, where, kind, capsys):
    (unit,) = [unit["hash"] for unit in Results(copied).manifest["analyses"]]
    name = kind if where == "analysis" else f"{unit}/{kind}"
    flip(copied / where / name)
    with pytest.raises(SystemExit):
        main(["report", str(copied)])
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"{where}/{name}" in told
    if where == "analysis" or kind == "seal.json":
        with pytest.raises(LorascopeError, match=f"{where}/{name}"):
            Results(copied)["contribution"].count()
    said = again(whole, copied)
    # what is shown is a copy of the unit's tables
    done = [text for text in said if text.endswith("analysis of LoRA r=2 v_proj, fold ann: done before")]
    assert len(done) == (where == "analysis")
    assert (f"analyses/{unit}: {kind}: not what was sealed; computed again" in said) == (where == "analyses")
    assert any("done before" in text and "analysis" in text for text in again(whole, copied))


@pytest.mark.parametrize("kind", ["manifest.json", "config.yaml", "seal.json"])
def test_what_results_are_made_from(whole, copied, kind, capsys):
    flip(copied / kind)
    with pytest.raises(SystemExit):
        main(["report", str(copied)])
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and kind in told
    with pytest.raises(LorascopeError, match=kind):
        Results(copied)
    said = again(whole, copied)
    assert f"{kind}: not what was sealed; made again" in said and any(
        "done before" in text and "analysis" in text for text in said
    )


@pytest.mark.parametrize("kind", few(TOLD))
def test_tables_figures_and_report(whole, copied, kind, capsys):
    before = (copied / kind).read_bytes()
    flip(copied / kind)
    if kind == "table1.csv":
        with pytest.raises(LorascopeError, match=r"table1\.csv: not what was sealed; `lorascope report`"):
            Results(copied).table1.count()
    if kind == "report.html":
        # a page tells when it was made
        assert f"{kind}: not what was sealed; made again" in again(whole, copied)
    else:
        with pytest.raises(SystemExit):
            main(["report", str(copied)])
        told = [f"{copied / kind}: not what was sealed; made again", f"report: {copied / 'report.html'}"]
        assert capsys.readouterr().err.splitlines() == told
        assert (copied / kind).read_bytes() == before
    assert Results(copied).folder.is_told()


@pytest.mark.parametrize("kind", ["features", "pooled"])
def test_the_cache(whole, copied, kind, caplog):
    from lorascope.store.cache import cache_folder

    files = [file for file in sorted((cache_folder() / kind).rglob("*")) if file.is_file()]
    before = {file: file.read_bytes() for file in files}
    flip(files[0])
    shutil.rmtree(copied / "cells")
    again(whole, copied)
    assert [record.args for record in caplog.records if record.name == "lorascope.store.cache"] == [(files[0],)]
    assert {file: file.read_bytes() for file in files} == before
