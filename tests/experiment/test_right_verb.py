"""A grid given to `run` and an experiment given to `sweep` name the verb that takes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorascope.errors import LorascopeError
from lorascope.experiment.grid import load_sweep
from lorascope.experiment.loading import load_experiment


def test_each_names_the_other(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("name: g\nexperiment: e.yaml\ngrid: {seed: [1, 2]}\n")
    (tmp_path / "e.yaml").write_text("name: e\ncorpus: {reader: emodb}\nbackbone: {name: openai/whisper-tiny}\n")
    with pytest.raises(LorascopeError, match=r"grid\.yaml: a grid .*`lorascope sweep`"):
        load_experiment(tmp_path / "grid.yaml")
    with pytest.raises(LorascopeError, match=r"e\.yaml: a single experiment.*`lorascope run`"):
        load_sweep(tmp_path / "e.yaml")
