"""The job of a sweep: every cell of every experiment of a grid, once, on an engine; then each experiment's analysis."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..corpora import Corpus
from ..errors import LorascopeError
from ..experiment.grid import Sweep, Variant
from ..experiment.planning import Cell, corpus_of, plan
from .engines.engine import Engine
from .engines.local import LocalEngine
from .journal import State, SweepFolder
from .unit import Job, Outcome, failure, is_computed, note_failure, work

Say = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """A cell that a sweep needs: `cell` of the plan of `variant`, and the slugs of all experiments that share it. `corpus` is that of the experiment."""

    key: str
    cell: Cell
    variant: Variant
    corpus: Corpus
    slugs: tuple[str, ...]

    @property
    def words(self) -> str:
        """The cell in words."""
        return f"{self.variant.slug}: {self.cell.label}, fold {self.cell.fold.name}"


@dataclass(frozen=True)
class Summary:
    """How a sweep ended: the state of every cell by key, the errors of experiments whose cells are whole by slug, the slugs of
    those that are computed, and the combined table where there is one."""

    planned: tuple[Planned, ...]
    states: dict[str, State]
    unfinished: dict[str, str] = field(default_factory=dict)
    finished: tuple[str, ...] = ()
    table: Path | None = None

    @property
    def errors(self) -> list[str]:
        """One line for each cell that failed and each experiment that could not be finished."""
        failed = [(cell, self.states[cell.key]) for cell in self.planned if self.states[cell.key].kind == "failed"]
        return [
            *(f"{cell.words}: {state.about['error']}" for cell, state in failed),
            *(f"{slug}: {error}" for slug, error in self.unfinished.items()),
        ]


def plan_sweep(sweep: Sweep) -> tuple[Planned, ...]:
    """Every cell of a sweep once, in the order of its experiments; reads the corpora's labels, but neither sounds nor weights.

    Raises `LorascopeError`, naming the experiment, where one cannot be planned.
    """
    corpora: dict[str, Corpus] = {}
    first: dict[str, Planned] = {}
    slugs: dict[str, list[str]] = {}
    for variant in sweep.variants:
        experiment = variant.experiment
        sections = str((experiment.corpus, experiment.test_corpus))
        try:
            corpus = corpora[sections] = corpora.get(sections) or corpus_of(experiment)
            cells = plan(experiment, corpus)
        except LorascopeError as error:
            raise LorascopeError(f"{variant.slug}: {error}") from error
        for cell in cells:
            key = cell.key
            first.setdefault(key, Planned(key, cell, variant, corpus, ()))
            slugs.setdefault(key, []).append(variant.slug)
    return tuple(replace(cell, slugs=tuple(dict.fromkeys(slugs[key]))) for key, cell in first.items())


def status(sweep: Sweep, out: str | Path) -> Summary:
    """Where every cell stands, from the files in `out` alone."""
    folder, planned = SweepFolder(out), plan_sweep(sweep)
    return Summary(planned, {cell.key: folder.state(cell.key) for cell in planned})


def compute_sweep(
    sweep: Sweep,
    out: str | Path,
    engine: Engine | None = None,
    finisher: Engine | None = None,
    apart: bool = False,
    reports: bool = True,
    say: Say = lambda _: None,
) -> Summary:
    """Compute every cell that is not whole, and analyse every experiment whose cells are; arguments as for `lorascope.run_sweep`. It knows no pages."""
    planned, folder = plan_sweep(sweep), SweepFolder(Path(out).resolve())
    with contextlib.ExitStack() as engines:
        engine = engine or LocalEngine(logs=folder.logs)
        for one in (engine, finisher):
            if one is not None:
                engines.callback(one.close)
        return _run(sweep, planned, folder, engine, finisher or engine, apart, reports, say)


def _run(
    sweep: Sweep,
    planned: tuple[Planned, ...],
    folder: SweepFolder,
    engine: Engine,
    finisher: Engine,
    apart: bool,
    reports: bool,
    say: Say,
) -> Summary:
    folder.create(sweep)
    before = {cell.key: folder.state(cell.key, read=True) for cell in planned}
    for cell in planned:
        about = before[cell.key].about
        if "fault" in about:
            say(f"cells/{about['hash']}: {about['fault']}; computed again ({cell.words})")
    todo = [cell for cell in planned if before[cell.key].kind != "whole"]
    say(
        f"{sweep.name}: {len(sweep.variants)} experiments, {len(planned)} cells, {len(planned) - len(todo)} of them whole"
    )
    owner = uuid.uuid4().hex
    if todo:
        say(engine.words)
        whole = frozenset(state.about["hash"] for state in before.values() if state.kind == "whole")
        jobs = [_job(cell, folder, owner, apart, whole if apart else frozenset()) for cell in todo]
        for number, (job, outcome) in enumerate(_each(engine, jobs), 1):
            told = _settle(folder, job, outcome)
            say(f"[{number}/{len(jobs)}] {job.words}: {told}")
    states = {cell.key: folder.state(cell.key) for cell in planned}
    if not reports:
        return Summary(planned, states)
    finished, unfinished = _finish(sweep, planned, states, folder, owner, finisher, say)
    return Summary(planned, states, unfinished, tuple(finished))


def _each(engine: Engine, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
    """Outcomes of jobs; the engine is ended with the loop over them, however that ends."""
    with contextlib.closing(engine.outcomes(work, jobs)) as outcomes:
        for job, outcome in outcomes:
            yield job, outcome if isinstance(outcome, Outcome) else failure(outcome)


def _job(cell: Planned, folder: SweepFolder, owner: str, apart: bool, whole: frozenset[str]) -> Job:
    return Job(
        kind="cell",
        experiment=cell.variant.experiment,
        key=cell.key,
        words=cell.words,
        out=str(folder.root),
        owner=f"{owner}:{cell.key}",
        here=str(Path.cwd()),
        apart=apart,
        whole=whole,
    )


def _settle(folder: SweepFolder, job: Job, outcome: Outcome) -> str:
    """Keep what the worker couldn't: the cell that it handed back, and the error of one that died. Returns the outcome in words."""
    cell = outcome.cell
    if outcome.state == "failed":
        if job.apart or not outcome.host:
            note_failure(folder, job, outcome)
        return f"failed: {outcome.error}"
    if outcome.state == "running":
        return outcome.error
    assert cell is not None
    if outcome.packed is not None and folder.run.cells.land(cell, outcome.packed):
        where = {"host": outcome.host, "pid": outcome.pid}
        folder.note("started", cell, job.key, at=outcome.started, **where)
        folder.note("whole", cell, job.key, at=outcome.ended, **where)
    if job.apart:
        folder.record(job.key, {"hash": cell})
    return f"whole ({outcome.seconds:.0f} s)" if outcome.computed else "whole before"


def _finish(
    sweep: Sweep,
    planned: Sequence[Planned],
    states: dict[str, State],
    folder: SweepFolder,
    owner: str,
    engine: Engine,
    say: Say,
) -> tuple[list[str], dict[str, str]]:
    """Analyse every experiment whose cells are whole; returns those that are computed, and the errors of those that could not."""
    jobs, finished, errors = [], [], {}
    for variant in sweep.variants:
        own = [states[cell.key] for cell in planned if variant.slug in cell.slugs]
        lacking = sum(state.kind != "whole" for state in own)
        if lacking:
            say(f"{variant.slug}: no report, {lacking} of its {len(own)} cells are not whole")
        elif is_computed(folder.experiment(variant.slug), frozenset(state.about["hash"] for state in own)):
            finished.append(variant.slug)
        else:
            job = Job(
                "experiment",
                variant.experiment,
                variant.slug,
                variant.slug,
                str(folder.root),
                owner,
                str(Path.cwd()),
            )
            jobs.append(job)
    for job, outcome in _each(engine, jobs) if jobs else ():
        if outcome.state == "failed":
            errors[job.key] = outcome.error
        else:
            finished.append(job.key)
        say(f"{job.key}: {outcome.error or f'computed ({outcome.seconds:.0f} s)'}")
    return finished, errors
