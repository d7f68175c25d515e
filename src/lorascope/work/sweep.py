"""The job of a sweep: every cell of every experiment of a grid, once, on an engine; then every analysis, once; then
what belongs to each experiment alone.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..corpora import Corpus
from ..errors import LorascopeError
from ..experiment.analyses import AnalysisUnit, plan_analyses
from ..experiment.grid import Sweep, Variant
from ..experiment.planning import Cell, corpus_of, plan
from ..store.locks import BEAT, POLL
from .engines.engine import Engine
from .engines.local import LocalEngine
from .journal import PLACES, State, SweepFolder
from .unit import Job, Outcome, failure, is_computed, note_failure, work

Say = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """A unit that a sweep needs: a `cell` of the plan of `variant`, or an `analysis`, whose main cell is `cell`; and
    the slugs of all experiments that share it. `corpus` is that of the experiment.
    """

    key: str
    cell: Cell
    variant: Variant
    corpus: Corpus
    slugs: tuple[str, ...]
    analysis: AnalysisUnit | None = None

    @property
    def kind(self) -> Literal["cell", "analysis"]:
        """ "cell" or "analysis"."""
        return "cell" if self.analysis is None else "analysis"

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the cells that must be whole before."""
        return () if self.analysis is None else tuple(cell.key for cell in self.analysis.cells)

    @property
    def label(self) -> str:
        """What is computed, in words."""
        return self.cell.label if self.analysis is None else f"analysis of {self.cell.label}"

    @property
    def words(self) -> str:
        """The unit in words."""
        return f"{self.variant.slug}: {self.label}, {self.cell.where}"


@dataclass(frozen=True)
class Summary:
    """How a sweep ended: the state of every unit by key, the errors of experiments whose units are whole by slug, the
    slugs of those that are computed, and the combined table where there is one.
    """

    planned: tuple[Planned, ...]
    states: dict[str, State]
    unfinished: dict[str, str] = field(default_factory=dict)
    finished: tuple[str, ...] = ()
    table: Path | None = None

    @property
    def lacking(self) -> tuple[Planned, ...]:
        """The units that were to be computed and are neither whole nor known to have failed."""
        return tuple(unit for unit in self.planned if self.states[unit.key].kind in ("missing", "running"))

    @property
    def errors(self) -> list[str]:
        """One line for each unit that failed and each experiment that could not be finished."""
        failed = [(unit, self.states[unit.key]) for unit in self.planned if self.states[unit.key].kind == "failed"]
        return [
            *(f"{unit.words}: {state.about['error']}" for unit, state in failed),
            *(f"{slug}: {error}" for slug, error in self.unfinished.items()),
        ]


def plan_sweep(sweep: Sweep) -> tuple[Planned, ...]:
    """Every cell of a sweep once, in the order of its experiments, then every analysis once; reads the corpora's
    labels, but neither sounds nor weights.

    Raises `LorascopeError`, naming the experiment, where one cannot be planned.
    """
    corpora: dict[str, Corpus] = {}
    cells: dict[str, Planned] = {}
    analyses: dict[str, Planned] = {}
    slugs: dict[str, list[str]] = {}
    for variant in sweep.variants:
        experiment = variant.experiment
        sections = str((experiment.corpus, experiment.test_corpus))
        try:
            corpus = corpora[sections] = corpora.get(sections) or corpus_of(experiment)
            planned = plan(experiment, corpus)
            units = plan_analyses(experiment, corpus, planned)
        except LorascopeError as error:
            raise LorascopeError(f"{variant.slug}: {error}") from error
        for cell in planned:
            cells.setdefault(cell.key, Planned(cell.key, cell, variant, corpus, ()))
        for unit in units:
            analyses.setdefault(unit.key, Planned(unit.key, unit.main, variant, corpus, (), unit))
        for needed in (*planned, *units):
            slugs.setdefault(needed.key, []).append(variant.slug)
    return tuple(
        replace(unit, slugs=tuple(dict.fromkeys(slugs[key]))) for key, unit in [*cells.items(), *analyses.items()]
    )


def status(sweep: Sweep, out: str | Path) -> Summary:
    """Where every unit stands, from the files in `out` alone."""
    folder, planned = SweepFolder(out), plan_sweep(sweep)
    return Summary(planned, {unit.key: folder.state(unit.key, unit.kind) for unit in planned})


def compute_sweep(
    sweep: Sweep,
    out: str | Path,
    engine: Engine | None = None,
    finisher: Engine | None = None,
    apart: bool = False,
    reports: bool = True,
    say: Say = lambda _: None,
) -> Summary:
    """Compute every cell and every analysis that is not whole, and finish every experiment of which all are; arguments
    as for `lorascope.run_sweep`. It knows no pages.
    """
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
    for line in folder.create(sweep):
        say(line)
    owner = uuid.uuid4().hex
    cells = [unit for unit in planned if unit.kind == "cell"]
    analyses = [unit for unit in planned if unit.kind == "analysis"] if reports else []
    before = {unit.key: folder.state(unit.key, unit.kind, read=True) for unit in (*cells, *analyses)}
    counted = _counted(cells, before, "cells") + (f", {_counted(analyses, before, 'analyses')}" if analyses else "")
    say(f"{sweep.name}: {len(sweep.variants)} experiments, {counted}")
    _compute(cells, before, folder, owner, engine, apart, say)
    states = {unit.key: folder.state(unit.key, unit.kind) for unit in planned}
    if not reports:
        return Summary(tuple(cells), states)
    ready = [unit for unit in analyses if all(states[key].kind == "whole" for key in unit.needs)]
    # nodes that don't see the folder have none of its cells to measure: there is a finisher for that
    _compute(ready, before, folder, owner, finisher, False, say)
    states |= {unit.key: folder.state(unit.key, unit.kind) for unit in analyses}
    finished, unfinished = _finish(sweep, planned, states, folder, owner, finisher, say)
    return Summary(planned, states, unfinished, tuple(finished))


def _counted(units: Sequence[Planned], states: Mapping[str, State], what: str) -> str:
    whole = sum(states[unit.key].kind == "whole" for unit in units)
    return f"{len(units)} {what}, {whole} of them whole"


def _compute(
    units: Sequence[Planned],
    before: Mapping[str, State],
    folder: SweepFolder,
    owner: str,
    engine: Engine,
    apart: bool,
    say: Say,
) -> None:
    """Compute the units of a kind that are not whole."""
    todo = [unit for unit in units if before[unit.key].kind != "whole"]
    for unit in todo:
        about = before[unit.key].about
        if "fault" in about:
            say(f"{PLACES[unit.kind]}/{about['hash']}: {about['fault']}; computed again ({unit.words})")
    if not todo:
        return
    say(engine.words)
    whole = frozenset(state.about["hash"] for state in before.values() if state.kind == "whole")
    jobs = [_job(unit, folder, owner, apart, whole if apart else frozenset()) for unit in todo]
    number, waited, told_of = 0, [], set()
    while jobs or waited:
        for job, outcome in _each(engine, jobs):
            told = _settle(folder, job, outcome)
            if outcome.state == "running":
                waited.append(job)
                if job.key not in told_of:
                    say(f"{job.words}: {told}; waited for at the end")
                told_of.add(job.key)
                continue
            number += 1
            say(f"[{number}/{len(todo)}] {job.words}: {told}")
        jobs = _freed(waited, folder)
        waited = [job for job in waited if job.key not in {freed.key for freed in jobs}]


def _freed(waited: Sequence[Job], folder: SweepFolder) -> list[Job]:
    """Wait until nobody computes one of the units any more that others computed; returns the jobs to do again: for one
    that is whole now or was given up, and for one whose holder is gone, which the job is told.
    """
    while waited:
        if waited[0].apart:
            # the lock is on the node, which is asked again
            time.sleep(BEAT)
            return list(waited)
        time.sleep(POLL)
        freed = [job for job in waited if folder.state(job.key, job.kind).kind != "running"]
        if freed:
            return [replace(job, gone=folder.abandoned(job.key, job.kind)) for job in freed]
    return []


def _each(engine: Engine, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
    """Outcomes of jobs; the engine is ended with the loop over them, however that ends."""
    with contextlib.closing(engine.outcomes(work, jobs)) as outcomes:
        for job, outcome in outcomes:
            yield job, outcome if isinstance(outcome, Outcome) else failure(outcome)


def _job(unit: Planned, folder: SweepFolder, owner: str, apart: bool, whole: frozenset[str]) -> Job:
    return Job(
        kind=unit.kind,
        experiment=unit.variant.experiment,
        key=unit.key,
        words=unit.words,
        out=str(folder.root),
        owner=f"{owner}:{unit.key}",
        here=str(Path.cwd()),
        apart=apart,
        whole=whole,
    )


def _settle(folder: SweepFolder, job: Job, outcome: Outcome) -> str:
    """Keep what the worker couldn't: the cell that it handed back, and the error of one that died. Returns the outcome
    in words.
    """
    unit = outcome.unit
    if outcome.state == "failed":
        if job.apart or not outcome.host:
            note_failure(folder, job, outcome)
        return f"failed: {outcome.error}"
    if outcome.state == "running":
        return outcome.error
    assert unit is not None
    if outcome.packed is not None and folder.units(job.kind).land(unit, outcome.packed):
        where = {"host": outcome.host, "pid": outcome.pid}
        folder.note("started", unit, job.key, at=outcome.started, **where)
        folder.note("whole", unit, job.key, at=outcome.ended, **where)
    if job.apart:
        folder.record(job.key, {"hash": unit}, job.kind)
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
    """Finish every experiment whose cells and analyses are whole; returns those that are computed, and the errors of
    those that could not be.
    """
    jobs, finished, errors = [], [], {}
    for variant in sweep.variants:
        own = {
            kind: [states[unit.key] for unit in planned if unit.kind == kind and variant.slug in unit.slugs]
            for kind in PLACES
        }
        lacking = {kind: sum(state.kind != "whole" for state in found) for kind, found in own.items()}
        named = {kind: frozenset(state.about.get("hash", "") for state in found) for kind, found in own.items()}
        if lacking["cell"]:
            say(f"{variant.slug}: no report, {lacking['cell']} of its {len(own['cell'])} cells are not whole")
        elif lacking["analysis"]:
            count = f"{lacking['analysis']} of its {len(own['analysis'])} analyses"
            say(f"{variant.slug}: no report, {count} {'is' if lacking['analysis'] == 1 else 'are'} not whole")
        elif is_computed(folder.experiment(variant.slug), named["cell"], named["analysis"]):
            finished.append(variant.slug)
        else:
            slug = variant.slug
            here = str(Path.cwd())
            jobs.append(Job("experiment", variant.experiment, slug, slug, str(folder.root), owner, here))
    for job, outcome in _each(engine, jobs) if jobs else ():
        if outcome.state == "failed":
            errors[job.key] = outcome.error
        else:
            finished.append(job.key)
        say(f"{job.key}: {outcome.error or f'computed ({outcome.seconds:.0f} s)'}")
    return finished, errors
