"""Trees that many tests read, written once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .trees import iemocap_hub_copy, iemocap_tree


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small IEMOCAP as USC releases it; not to be changed."""
    return iemocap_tree(tmp_path_factory.mktemp("iemocap"))


@pytest.fixture(scope="session")
def hub_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clips as the hub's copy holds them; not to be changed."""
    return iemocap_hub_copy(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, of lorascope and of datasets, for this test alone."""
    import datasets

    monkeypatch.setenv("LORASCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache" / "datasets")
    return tmp_path / "cache"


def real_corpus(name: str) -> Path:
    """A real corpus' folder, or skip the test."""
    folder = os.environ.get("LORASCOPE_CORPORA")
    if not folder:
        pytest.skip("LORASCOPE_CORPORA is not set: it names a folder with one folder for each real corpus")
    if not (Path(folder) / name).is_dir():
        pytest.skip(f"LORASCOPE_CORPORA holds no folder {name}")
    return Path(folder) / name
