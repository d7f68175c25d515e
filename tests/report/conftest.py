"""Made-up run folders and their reports, each made once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from lorascope.report import write_all

from ..conftest import all_figures
from .folders import make_analysis, make_run
from .recipe import Recipe

OPTIMISTIC = "the best epoch was chosen on the test fold"
HOSTILE = "</script><script>alert(1)</script><img src=http://example.com/x onerror=alert(2)>"


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest run on real speech, with its report."""
    return _told(tmp_path_factory, "plain", make_run, Recipe())


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
    return _told(tmp_path_factory, "marked", make_run, recipe)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis of an adapter made elsewhere: no cells, no frozen model, some measures not taken."""
    recipe = Recipe(frozen_model=False, without=("contribution", "ranks", "cka", "rank_scores", "erasure"), seed=2)
    return _told(tmp_path_factory, "bare", make_analysis, recipe)


def _told(factory: pytest.TempPathFactory, name: str, make: Callable[[Path, Recipe], Path], recipe: Recipe) -> Path:
    """A made-up folder with its report, made by whichever of several processes needs it first; nobody changes it."""
    base = factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"told-{name}"
    with FileLock(f"{place}.lock"):
        if not place.exists():
            with all_figures():
                write_all(make(base / f"making-{name}" / "run", recipe))
            (base / f"making-{name}").rename(place)
    return place / "run"
