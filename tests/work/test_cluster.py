"""A Ray cluster of two nodes on loopback, one of which is killed in mid-run: all cells whole, none computed twice,
results as on one machine.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from lorascope.api import run_sweep
from lorascope.experiment.grid import load_sweep
from lorascope.work.engines.local import LocalEngine
from lorascope.work.journal import SweepFolder
from lorascope.work.sweep import status

from ..conftest import settings_of
from .here import QUICK

pytest.importorskip("ray", reason="the extra cluster is not installed")
pytestmark = pytest.mark.cluster

PATIENCE = 300
# both are trained through the encoder: a head alone takes so little time that a node is never seen at it
METHODS = {
    "frozen": None,
    "lora": {"rank": 2, "alpha": 4, "learning_rate": 1e-2, "epochs": 2},
    "bitfit": {"learning_rate": 1e-2, "epochs": 2},
}


class Node:
    """One `ray start` with all its processes. `--block` keeps it in the foreground, so that they are its children."""

    def __init__(self, log: Path, *arguments: str) -> None:
        command = [Path(sys.executable).with_name("ray"), "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
        self.log = log
        self.process = psutil.Popen(
            [*map(str, command), "--object-store-memory=80000000", *arguments],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while "This command will now block" not in self.log.read_text(errors="replace"):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text(errors="replace")
            time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def kill(self) -> None:
        """Every process that this node started, and no other."""
        try:
            processes = self.processes()
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(processes, timeout=20)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def two_nodes(logs: Path):
    """(address, the second node, what starts another) of a cluster of two nodes with a CPU each."""
    # sockets lie below it, and their paths may not be long
    temporary, port = tempfile.mkdtemp(prefix="ray-"), free_port()
    nodes = []
    try:
        head = ["--head", f"--port={port}", f"--temp-dir={temporary}"]
        nodes.append(Node(logs / "head.log", *head, "--node-ip-address=127.0.0.1", "--include-dashboard=false"))
        nodes[0].wait()

        def join() -> Node:
            number = len(nodes) + 1
            own = f"--node-ip-address=127.0.0.{number}"
            nodes.append(Node(logs / f"node-{number}.log", f"--address=127.0.0.1:{port}", own))
            nodes[-1].wait()
            return nodes[-1]

        yield f"127.0.0.1:{port}", join(), join
    finally:
        for node in reversed(nodes):
            node.kill()
        shutil.rmtree(temporary, ignore_errors=True)


def lorascope(log: Path, *arguments, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "lorascope", *map(str, arguments)]
    with log.open("w") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, env=os.environ | environment)


def kill_in_a_cell(node: Node, folder: SweepFolder, driver: subprocess.Popen, after: int) -> str:
    """Kill a node while it computes a unit, once `after` units are whole; returns its address."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and driver.poll() is None:
        journal = folder.journal()
        own = {process.pid: process for process in node.processes()}
        last = {line["pid"]: line for line in journal if line["pid"] in own}
        if sum(line["event"] == "whole" for line in journal) >= after:
            for pid, line in last.items():
                if line["event"] != "started":
                    continue
                # stopped, so that the cell cannot become whole while we look
                own[pid].suspend()
                if [line for line in folder.journal() if line["pid"] == pid][-1] == line:
                    node.kill()
                    return line["cell"]
                own[pid].resume()
        time.sleep(0.05)
    raise AssertionError("the node computed nothing after the first ones were whole")


def test_a_node_is_killed_in_mid_run(tmp_path, corpus, backbone_folder):
    base = settings_of(corpus, backbone_folder, analysis=None, methods=METHODS, folds={})
    grid = {"name": "cluster", "experiment": base, "grid": {"seed": [1, 2, 3]}}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    sweep = load_sweep(tmp_path / "grid.yaml")
    local, folder, apart = (SweepFolder(tmp_path / name) for name in ("local", "out", "apart"))
    arguments = ["sweep", tmp_path / "grid.yaml", "--out", folder.root, "--cells-only", "--engine", "ray"]

    with two_nodes(tmp_path) as (address, second, join):
        driver = lorascope(tmp_path / "driver.log", *arguments, "--address", address)
        try:
            killed = kill_in_a_cell(second, folder, driver, after=6)
            assert driver.wait(PATIENCE) == 0, (tmp_path / "driver.log").read_text()
        finally:
            driver.kill()

        # on the node that is left, without a folder that it sees
        (tmp_path / "apart.yaml").write_text(yaml.safe_dump(grid | {"grid": {"seed": [1]}}))
        arguments[1:4] = [tmp_path / "apart.yaml", "--out", apart.root]
        extra = ["--storage", "node", "--set", "folds.only=[ann]", "--address", address]
        code = lorascope(tmp_path / "apart.log", *arguments, *extra).wait(PATIENCE)
        assert code == 0, (tmp_path / "apart.log").read_text()

        # analyses run on the cluster too; the command makes the reports of their tables
        analysed = SweepFolder(tmp_path / "analysed")
        # the rank space of several models takes seconds: of less a node is never seen at an analysis
        analysis = {"measures": ["contribution", "ranks"], "clips_per_class": 3, "draws": 500}
        only = {"analysis": analysis | {"folds": "all"}, "methods": QUICK}
        (tmp_path / "analysed.yaml").write_text(
            yaml.safe_dump(grid | {"experiment": base | only, "grid": {"seed": [1]}})
        )
        third = join()
        arguments[1:4] = [tmp_path / "analysed.yaml", "--out", analysed.root]
        arguments.remove("--cells-only")
        # the command itself has no cache, without which nobody can analyse
        (tmp_path / "no-folder").touch()
        nowhere = str(tmp_path / "no-folder" / "cache")
        driver = lorascope(tmp_path / "analysed.log", *arguments, "--address", address, LORASCOPE_CACHE=nowhere)
        try:
            # when all cells of four folds are whole: in the midst of an analysis
            stopped = kill_in_a_cell(third, analysed, driver, after=4 * len(QUICK))
            code = driver.wait(PATIENCE)
        finally:
            driver.kill()
        assert code == 0, (tmp_path / "analysed.log").read_text()
        assert len(list(analysed.root.glob("experiments/*/report.html"))) == 1

    alone = SweepFolder(tmp_path / "alone")
    assert not run_sweep(load_sweep(tmp_path / "analysed.yaml"), alone.root, LocalEngine(1, 1)).errors
    computed = Counter(line["cell"] for line in analysed.journal() if line["event"] == "whole")
    assert set(computed.values()) == {1} and len(computed) == 4 * len(QUICK) + 4
    begun = Counter(line["cell"] for line in analysed.journal() if line["event"] == "started")
    assert begun == dict.fromkeys(computed, 1) | {stopped: 2}
    there = [path.relative_to(alone.root) for path in alone.root.glob("analyses/*/*.parquet")]
    there += [path.relative_to(alone.root) for path in alone.root.glob("experiments/*/findings/*.parquet")]
    # three of each of four analyses; positions of clips have no mean
    assert len(there) == 3 * 4 + 2
    for table in there:
        ours, theirs = (pd.read_parquet(one.root / table) for one in (analysed, alone))
        pd.testing.assert_frame_equal(ours, theirs)

    summary = status(sweep, folder.root)
    assert Counter(state.kind for state in summary.states.values()) == {"whole": 24}
    journal = folder.journal()
    whole = {line["cell"]: line["at"] for line in journal if line["event"] == "whole"}
    assert len(whole) == 24 == sum(line["event"] == "whole" for line in journal)
    assert all(line["at"] <= whole[line["cell"]] for line in journal)
    started = Counter(line["cell"] for line in journal if line["event"] == "started")
    assert started == dict.fromkeys(whole, 1) | {killed: 2}

    assert not run_sweep(sweep, local.root, LocalEngine(1, 1), reports=False).errors
    assert len(list(apart.root.glob("cells/*"))) == 2
    for name in whole:
        for other in (folder, *([apart] if apart.run.is_whole(name) else [])):
            tables = (pd.read_parquet(one.run.cell(name) / "predictions.parquet") for one in (local, other))
            pd.testing.assert_frame_equal(*tables)
            ours, theirs = (json.loads((one.run.cell(name) / "metrics.json").read_text()) for one in (local, other))
            assert ours | {"seconds": 0} == theirs | {"seconds": 0}
    # or the comparison would compare nothing
    told = pd.concat(pd.read_parquet(local.run.cell(name) / "predictions.parquet") for name in whole)
    assert told["predicted"].nunique() > 1
