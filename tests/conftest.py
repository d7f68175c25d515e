"""Fixtures that several rooms share: a small corpus as a manifest, a small backbone, and one finished run of both."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

# the test runner has a worker for every core already; read when the numerical libraries are first imported
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pandas as pd
import pytest
import torch

from lorascope.report import figures

from .tiny import CLASSES, tiny_whisper, write_tone

#: Every kind of figure, whichever of them a test lets be drawn.
EVERY = dict(figures._MODULES)

torch.set_num_threads(1)

SPEAKERS = ("ann", "bob", "cy", "dee")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or leaves anything in the user's own cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LORASCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@contextmanager
def all_figures():
    """Let reports draw all of their figures, whatever `few_figures` says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_MODULES", EVERY)
        yield


@pytest.fixture(scope="module", autouse=True)
def few_figures(request):
    """Reports draw two kinds of figures alone, the cheapest, since drawing takes most of a small run's time; all of
    them where a module is marked so (`pytestmark = pytest.mark.figures`), in `finished`, and in other processes.
    """
    if request.node.get_closest_marker("figures"):
        yield
        return
    patch = pytest.MonkeyPatch()
    drawn = {figures.contribution: ("contribution",), figures.confusion: ()}
    patch.setattr(figures, "_MODULES", drawn)
    yield
    patch.undo()


def make_corpus(folder: Path, clips_per_class: int = 3) -> Path:
    """A manifest of tones whose pitch tells the emotion, roughly."""
    rows = []
    for s, speaker in enumerate(SPEAKERS):
        for e, emotion in enumerate(CLASSES):
            for take in range(clips_per_class):
                name = f"{speaker}-{emotion}-{take}"
                write_tone(
                    folder / f"{name}.wav",
                    150 * 2**e + 20 * s + 5 * take,
                    0.5 + 0.45 * (take % 2) + 0.02 * s,
                    seed=hash((s, e, take)) % 2**32,
                )
                rows.append((f"{name}.wav", speaker, emotion))
    pd.DataFrame(rows, columns=["path", "speaker", "emotion"]).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    tiny_whisper().save_pretrained(folder)
    return folder


def settings_of(manifest, backbone_folder, **changes):
    """A small experiment as plain data."""
    data = {
        "name": "small",
        "corpus": {"reader": "csv", "root": str(manifest)},
        "backbone": {"name": str(backbone_folder)},
        "head": {"projection": 16},
        "methods": {
            "frozen": {"learning_rate": [1e-3, 1e-2], "epochs": 3},
            "lora": {"rank": 4, "alpha": 8, "learning_rate": 1e-3, "epochs": 2},
        },
        "folds": {"only": ["ann", "cy"]},
        "analysis": {"draws": 50, "ranks": [2]},
    }
    return data | changes


@pytest.fixture(scope="session")
def finished(tmp_path_factory, corpus, backbone_folder):
    """(experiment, results) of one small run."""
    from lorascope.api import run
    from lorascope.experiment.loading import experiment_from

    experiment = experiment_from(settings_of(corpus, backbone_folder))
    with all_figures():
        return experiment, run(experiment, tmp_path_factory.mktemp("runs") / "small")
