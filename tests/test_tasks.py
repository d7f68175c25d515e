"""Two tasks that have nothing to do with emotion run to the report, in which no word of it is left."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

import pandas as pd
import pytest

from lorascope.api import run
from lorascope.experiment.config import experiment_from

from .conftest import settings_of
from .tiny import write_tone

TASKS = {"keyword": ("yes", "no"), "dysarthria": ("control", "mild", "severe")}


def manifest_of(folder: Path, classes: tuple[str, ...]) -> Path:
    rows = []
    for s, speaker in enumerate(("ann", "bob", "cy", "dan")):
        for c, name in enumerate(classes):
            for take in range(3):
                write_tone(folder / f"{speaker}-{name}-{take}.wav", 150 * 2**c + 20 * s + 5 * take, seed=9 * s + take)
                rows.append((f"{speaker}-{name}-{take}.wav", speaker, name))
    pd.DataFrame(rows, columns=["path", "speaker", "label"]).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def packed(page: str) -> str:
    """What the page's data: links hold, as text."""
    links = re.findall(r"data:(text/csv|application/gzip)[^,]*;base64,([A-Za-z0-9+/=]+)", page)
    assert links
    raw = [(kind, base64.b64decode(data)) for kind, data in links]
    return "\n".join((gzip.decompress(data) if kind == "application/gzip" else data).decode() for kind, data in raw)


@pytest.mark.parametrize("task", ["keyword", pytest.param("dysarthria", marks=pytest.mark.slow)])
def test_a_task_runs_to_a_report_without_a_word_of_emotion(tmp_path: Path, backbone_folder: Path, task: str) -> None:
    manifest = manifest_of(tmp_path, TASKS[task])
    settings = settings_of(manifest, backbone_folder, folds={"only": ["ann"]})
    settings["corpus"] = settings["corpus"] | {"task": task}
    results = run(experiment_from(settings), tmp_path / "run")
    page = results.report.read_text(encoding="utf-8")
    assert all(name in page for name in TASKS[task])
    told = page + packed(page) + (tmp_path / "run" / "table1.tex").read_text(encoding="utf-8")
    assert "emotion" not in told.lower()
    assert f"{task.capitalize()} recognition" in told and f"{task},predicted" in told
