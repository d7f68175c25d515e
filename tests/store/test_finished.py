"""What the report reads of a run folder."""

from __future__ import annotations

from lorascope.store.finished import FinishedRun
from lorascope.store.folder import write_json


def test_a_shared_cell_bears_the_name_of_its_own_experiment(tmp_path):
    """Two experiments of a sweep may call one method differently; the cell's own file has but one of the names."""
    listed = {"hash": "abc", "role": "table1", "name": "mine", "label": "LoRA r=4 v_proj (mine)"}
    write_json(tmp_path / "manifest.json", {"cells": [listed]})
    metrics = {"name": "lora", "label": "LoRA r=4 v_proj", "role": "rank-space", "uar": 0.5}
    write_json(tmp_path / "cells" / "abc" / "metrics.json", metrics)
    (cell,) = FinishedRun(tmp_path).cells
    assert (cell.role, cell.metrics["name"], cell.metrics["label"]) == ("table1", "mine", "LoRA r=4 v_proj (mine)")
    assert cell.metrics["uar"] == 0.5
