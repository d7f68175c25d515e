"""Made-up run folders and their reports, each made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorascope.report import write_all

from ..conftest import all_figures
from .folders import make_analysis, make_run
from .recipe import Recipe

OPTIMISTIC = "the best epoch was chosen on the test fold"
HOSTILE = "</script><script>alert(1)</script><img src=http://example.com/x onerror=alert(2)>"


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest run on real speech, with its report."""
    run = make_run(tmp_path_factory.mktemp("plain") / "run")
    with all_figures():
        write_all(run)
    return run


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on synthetic speech whose selection leaked, with two adapted modules; names in it are HTML."""
    recipe = Recipe(
        synthetic=True,
        optimistic=(OPTIMISTIC,),
        modules=("q_proj", "v_proj"),
        ranks=(32,),
        clip_prefix=HOSTILE,
        classes=("anger", "<b>$x$</b>", "neutrality", "sadness"),
        seed=1,
    )
    run = make_run(tmp_path_factory.mktemp("marked") / "run", recipe)
    with all_figures():
        write_all(run)
    return run


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis of an adapter made elsewhere: no cells, no frozen model, some measures not taken."""
    recipe = Recipe(frozen_model=False, without=("contribution", "ranks", "cka", "rank_scores", "erasure"), seed=2)
    run = make_analysis(tmp_path_factory.mktemp("bare") / "run", recipe)
    with all_figures():
        write_all(run)
    return run
