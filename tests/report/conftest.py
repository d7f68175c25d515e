"""Made-up run folders, each written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from .folders import Recipe, make_analysis, make_run

OPTIMISTIC = "the best epoch was chosen on the test fold"


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest run on real speech."""
    return make_run(tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on synthetic speech whose selection leaked, with two adapted modules."""
    recipe = Recipe(synthetic=True, optimistic=(OPTIMISTIC,), modules=("q_proj", "v_proj"), seed=1)
    return make_run(tmp_path_factory.mktemp("marked") / "run", recipe)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis of an adapter made elsewhere: no cells, no frozen model, some measures not taken."""
    recipe = Recipe(frozen_model=False, without=("cka", "rank_scores", "erasure"), seed=2)
    return make_analysis(tmp_path_factory.mktemp("bare") / "run", recipe)
