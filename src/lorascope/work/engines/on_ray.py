"""The engine for a cluster: one Ray task a job. Scheduling, lost nodes and transport are Ray's; Ray is the extra
`cluster`.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any

from ...errors import LorascopeError
from ...machine.requirements import require
from ..unit import Job, Outcome


class RayEngine:
    """Runs jobs on the Ray cluster at `address` ("auto": the one that this machine belongs to), each with so many CPUs
    and GPUs.

    A job whose node or process was lost is tried again, `retries` times; one that failed by itself is not. Raises
    `LorascopeError` where Ray is not installed.
    """

    def __init__(self, address: str = "auto", cpus: float = 1, gpus: float = 0, retries: int = 3) -> None:
        if importlib.util.find_spec("ray") is None:
            raise LorascopeError(
                "--engine ray: Ray is not installed; install it with `pip install 'lorascope[cluster]'` on every node"
            )
        require("ray")
        self.address, self.cpus, self.gpus, self.retries = address, cpus, gpus, retries
        self._connected = False

    @property
    def words(self) -> str:
        """The engine in words."""
        return f"Ray at {self.address}, {self.cpus:g} CPUs and {self.gpus:g} GPUs a job"

    def outcomes(
        self, work: Callable[[Job], Outcome], jobs: Sequence[Job]
    ) -> Generator[tuple[Job, Outcome | Exception], None, None]:
        """Each job with its outcome as soon as it is there, or with Ray's error where its node or process was lost too
        often.

        Raises `LorascopeError` where there is no cluster, or no node of it is large enough for a job.
        """
        import ray
        from ray.exceptions import RayError

        self._connect(ray)
        pending: dict[Any, Job] = {}
        try:
            self._check_size(ray)
            task: Any = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries)(_on_a_node)
            pending = {task.remote(work, job, max(1, int(self.cpus))): job for job in jobs}
            while pending:
                done, _ = ray.wait(list(pending))
                for reference in done:
                    job = pending.pop(reference)
                    try:
                        outcome: Outcome | Exception = ray.get(reference)
                    except RayError as error:
                        outcome = LorascopeError(f"lost {self.retries + 1} times: {_first_line(error)}")
                    yield job, outcome
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        if self._connected:
            ray.shutdown()
        self._connected = False

    def _connect(self, ray: Any) -> None:
        if self._connected:
            return
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise LorascopeError(
                f"--address {self.address}: no Ray cluster ({_first_line(error)}); start one with `ray start --head`"
            ) from error
        self._connected = True

    def _check_size(self, ray: Any) -> None:
        """Ray waits for ever for a node that is large enough."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in nodes):
            there = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
            raise LorascopeError(
                f"--cpus-per-cell {self.cpus:g} --gpus-per-cell {self.gpus:g}: no node has them (there are {there}); "
                "give fewer"
            )


def _on_a_node(work: Callable[[Job], Outcome], job: Job, threads: int) -> Outcome:
    import torch

    torch.set_num_threads(threads)
    return work(job)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
