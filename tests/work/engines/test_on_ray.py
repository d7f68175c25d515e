"""What the engine for a cluster refuses. What it does is shown on a real cluster, in `test_cluster`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lorascope.errors import LorascopeError
from lorascope.work.engines import on_ray
from lorascope.work.engines.on_ray import RayEngine


def cluster(*nodes):
    """Ray, with nodes of (CPUs, GPUs, alive)."""
    resources = [{"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus}} for cpus, gpus, alive in nodes]
    return SimpleNamespace(nodes=lambda: resources)


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(on_ray.importlib.util, "find_spec", lambda name: object())


def test_a_cell_that_fits_no_node_is_refused():
    """Ray would wait for ever."""
    engine = RayEngine(cpus=4, gpus=1)
    engine._check_size(cluster((8, 0, True), (4, 1, True)))
    with pytest.raises(
        LorascopeError, match=r"--cpus-per-cell 4 --gpus-per-cell 1: no node .* 8 CPUs and 0 GPUs, 2 CPUs"
    ):
        engine._check_size(cluster((8, 0, True), (2, 1, True), (64, 8, False)))


def test_no_cluster_is_told():
    def init(**_):
        raise ConnectionError("Could not find any running Ray instance.\nmore")

    with pytest.raises(LorascopeError, match=r"--address auto: no Ray cluster \(.*any running Ray instance\.\); start"):
        RayEngine()._connect(SimpleNamespace(init=init))
