"""The names that 0.1.0 made public: whoever imports them finds them, wherever their modules have moved."""

from __future__ import annotations

import pytest

import lorascope

NAMES_OF_0_1_0 = {
    "Corpus",
    "Experiment",
    "LorascopeError",
    "Results",
    "__version__",
    "analyze",
    "analyze_several",
    "load_backbone",
    "load_corpus",
    "load_experiment",
    "load_sweep",
    "make_folds",
    "plan",
    "run",
    "run_sweep",
}


@pytest.mark.parametrize("name", sorted(NAMES_OF_0_1_0 - {"__version__"}))
def test_a_name_of_0_1_0_is_there(name: str) -> None:
    assert name in lorascope.__all__
    assert getattr(lorascope, name).__name__ == name


def test_the_version_is_public() -> None:
    assert "__version__" in lorascope.__all__ and lorascope.__version__
