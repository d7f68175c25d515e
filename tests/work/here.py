"""An engine of one process, this one, for the tests: real cells without the cost of new processes; and
grids of small experiments.
"""

from __future__ import annotations

from lorascope.experiment.grid import Grid, Point, expand

from ..conftest import settings_of


class Here:
    """Does every job at once. `stop` is raised instead of the job of that number (from 0)."""

    words = "here"

    def __init__(self, stop=None, number=None):
        self.stop, self.number, self.jobs, self.closed = stop, number, [], False

    def outcomes(self, work, jobs):
        for job in jobs:
            if self.stop is not None and len(self.jobs) == self.number:
                raise self.stop
            self.jobs.append(job)
            yield job, work(job)

    def close(self):
        self.closed = True


QUICK = {
    "frozen": {"learning_rate": 1e-2, "epochs": 1},
    "lora": {"rank": 2, "alpha": 4, "learning_rate": 1e-2, "epochs": 1},
}


def small(manifest, encoder, axes, **changes):
    """A sweep over a quick experiment: without analysis, two folds unless told otherwise. `axes` are
    {axis: {name: {key: value}}}.
    """
    base = settings_of(manifest, encoder, **({"analysis": None, "methods": QUICK} | changes))
    points = {axis: tuple(Point(name=name, set=keys) for name, keys in values.items()) for axis, values in axes.items()}
    return expand(Grid(name="small", experiment=base, grid=points), base)


RANKS = {"rank": {f"r{rank}": {"methods.lora.rank": rank, "methods.lora.alpha": 2 * rank} for rank in (2, 4)}}
