"""What lorascope does, in a few sentences each: compute (`work`), then tell (`findings`, `report`). The command
line says the same in words.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .errors import LorascopeError
from .experiment.config import AnalysisConfig, CorpusConfig, Experiment
from .experiment.grid import Sweep
from .findings.compare import TABLE, side_by_side
from .machine import processes
from .machine.processes import refuse_several
from .models.adapters.opening import open_adapted
from .store.finished import FinishedRun
from .store.folder import RunFolder, write_text
from .store.results import Results
from .work import sweep as sweeps
from .work.engines.engine import Engine
from .work.journal import SweepFolder
from .work.kinds.given import analyse_folds, analyse_given
from .work.manifest import moment, write_manifest
from .work.run import compute
from .work.sources import default_context, open_backbone, task_of
from .work.sweep import Summary
from .work.unit import failure

if TYPE_CHECKING:
    from .examination.examine import Examination

Say = Callable[[str], None]


def run(experiment: Experiment, out: str | Path, say: Say = lambda _: None) -> Results:
    """Train and test every cell, analyse one fold, and leave tables, figures and a report in `out`.

    Interrupted, the same call continues. Started by `accelerate launch` or `torchrun`, the processes train each cell
    together, and the first one does all else. Raises `LorascopeError` for bad input before anything is written.
    """
    processes.join()
    if processes.number():
        say = lambda _: None  # noqa: E731
    folder = RunFolder(out)
    compute(experiment, folder, say, lambda manifest: _first_look(folder, manifest, say))
    return processes.on_first(lambda: _report(folder, say))


def run_sweep(
    sweep: Sweep,
    out: str | Path,
    engine: Engine | None = None,
    finisher: Engine | None = None,
    apart: bool = False,
    reports: bool = True,
    say: Say = lambda _: None,
) -> Summary:
    """Compute every cell that is not whole, analyse and report every experiment whose cells are,
    and write one table of all.

    `engine` is this machine by default; it is closed at the end. A cell that fails is told and keeps nobody waiting;
    the same call tries it again. `finisher` runs the analyses (by default the engine). With `apart` the engine's
    workers don't see `out`: they hand their cells back. Without `reports` it ends with the cells.
    """
    summary = sweeps.compute_sweep(sweep, out, engine, finisher, apart, reports, say)
    return _tell(sweep, summary, Path(out).resolve(), say) if reports else summary


def analyze(
    backbone: str,
    adapter: str | Path,
    out: str | Path,
    corpus: str | CorpusConfig,
    root: str | Path | None = None,
    frozen: str | Path | None = None,
    clip_ids: Sequence[str] | None = None,
    context: str | None = None,
    labels: Sequence[str] | None = None,
    config: AnalysisConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
    test_speakers: Sequence[str] | None = None,
) -> Results:
    """Run the analyses on an adapter and leave tables, figures and a report in `out`.

    `backbone` is a folder that `save_pretrained` wrote, a hub id or a short name; `adapter` the folder or hub id of a
    PEFT adapter, with projector and classifier among its saved modules or without, or of a whole checkpoint of the same
    architecture; `frozen` a folder in which only the head was trained. `corpus` is a reader's name, the path of a
    manifest or audiofolder, or a whole section with label map and options. The clips are `clip_ids`, or a seeded
    sample of the corpus, of its `test_speakers` where these are named. `context` ("trim" or "full") defaults to what
    the adapter's folder records, else "full", or "trim" for encoders without a window. The class names are the
    adapter's record's, else the backbone's, else `labels`; they are matched by meaning, whatever their order. Without a
    trained head they only choose the clips, and default to the usual four. What the adapter doesn't allow is left out
    and told, and refused where `config` names it. Raises `LorascopeError` for bad input before anything is written.
    """
    refuse_several("analyze")
    start, created = time.perf_counter(), moment()
    folder = RunFolder(out)
    _refuse_filled(folder)
    settings = config or AnalysisConfig()
    given = (corpus, root, frozen, clip_ids, context, labels, settings, created, say, test_speakers)
    sick = _sick(backbone, [adapter], say)
    with _told_by(sick):
        manifest = analyse_given(backbone, adapter, folder, *given)
    return _show(folder, manifest | {"sick": sick}, start, say)


def analyze_folds(
    backbone: str,
    adapters: Sequence[str | Path],
    test_speakers: Sequence[Sequence[str]],
    out: str | Path,
    corpus: str | CorpusConfig,
    root: str | Path | None = None,
    frozen: Sequence[str | Path] | None = None,
    context: str | None = None,
    labels: Sequence[str] | None = None,
    config: AnalysisConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Results:
    """Analyse adapters that were trained alike on folds of one corpus, each on its own `test_speakers`, and aggregate
    what they show; the other arguments are those of `analyze`, `frozen` names a baseline for each adapter.

    `out` has an analysis each, findings over all and one report. The interval over folds takes each adapter to have
    been trained on the clips of all other speakers. Raises `LorascopeError` for bad input, also where an adapter has no
    test speakers, or two share one.
    """
    refuse_several("analyze")
    start, created = time.perf_counter(), moment()
    folder, settings = RunFolder(out), config or AnalysisConfig()
    _refuse_filled(folder)
    names = name_each(adapters)
    sick = _sick(backbone, adapters, say)
    with _told_by(sick):
        context = _common(backbone, names, labels, context, task_of(corpus))
        manifest = analyse_folds(
            backbone, names, test_speakers, folder, corpus, root, frozen, context, labels, settings, created, say
        )
    return _show(folder, manifest | {"sick": sick}, start, say)


def _sick(backbone: str, adapters: Sequence[str | Path], say: Say) -> list[str]:
    """What the doctor sees in adapters without hearing anything."""
    from .examination.quick import quick

    found = [finding for adapter in adapters for finding in quick(backbone, adapter)]
    sick = list(dict.fromkeys(f"{finding.code}: {finding.message}; {finding.mend}" for finding in found))
    for told in sick:
        say(f"sick: {told}")
    return sick


@contextlib.contextmanager
def _told_by(sick: Sequence[str]) -> Iterator[None]:
    """An error in the block says the likely cause, too."""
    try:
        yield
    except LorascopeError as error:
        if not sick:
            raise
        raise LorascopeError(f"{error} (lorascope doctor finds {sick[0]})") from error


def _show(folder: RunFolder, manifest: dict[str, Any], start: float, say: Say) -> Results:
    folder.unseal()
    folder.show_analysis(manifest["analyses"][0]["hash"])
    write_manifest(folder, manifest, [], start)
    return _report(folder, say)


def analyze_several(
    backbone: str,
    adapters: Sequence[str | Path],
    out: str | Path,
    corpus: str | CorpusConfig,
    root: str | Path | None = None,
    frozen: str | Path | None = None,
    clip_ids: Sequence[str] | None = None,
    context: str | None = None,
    labels: Sequence[str] | None = None,
    config: AnalysisConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Results]:
    """Analyse several adapters of one backbone and compare them; arguments as for `analyze`.

    Each adapter's whole result lies in `out/<name>`, named after its folder; `out` also holds side_by_side.csv
    (adapter, layer, measure, quantity, module, value, low, high, interval_of), figures/side_by_side.{pdf,svg,png} and
    index.html.
    All have the same clips, context and, where their factors have the same shapes, the same random baselines. Raises
    `LorascopeError` for bad input before anything is written: also where the adapters have different classes or
    contexts. Adapters of different backbones cannot be compared here.
    """
    from .report.comparison import write_page

    folder = Path(out)
    names = name_each(adapters)
    # what a killed run left lies in the adapters' own folders, each of which is looked into before it is used
    others = folder.is_dir() and any(p.name not in names and p.suffix != ".partial" for p in folder.iterdir())
    if folder.is_file() or (others and not (folder / TABLE).is_file()):
        raise LorascopeError(f"--out {out}: is not empty and holds no adapters side by side; give a new folder")
    context = _common(backbone, names, labels, context, task_of(corpus))
    results: dict[str, Results] = {}
    for number, (name, adapter) in enumerate(names.items(), 1):
        say(f"[{number}/{len(names)}] adapter {name}")
        results[name] = analyze(
            backbone, adapter, folder / name, corpus, root, frozen, clip_ids, context, labels, config, say
        )
        clip_ids = results[name].manifest["analysis"]["clip_ids"]
    table = side_by_side(results)
    write_text(folder / TABLE, table.to_csv(index=False, lineterminator="\n"))
    page = write_page(folder, {name: result.manifest for name, result in results.items()}, table)
    say(f"side by side: {page}")
    return results


def doctor(
    adapters: str | Path | Sequence[str | Path],
    backbone: str | None = None,
    corpus: str | None = None,
    root: str | Path | None = None,
    manifest: str | Path | None = None,
    labels: Sequence[str] | None = None,
    fix_into: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Examine adapters: whether each is what its owner thinks it is (docs/doctor.md has every sickness by its code).

    `adapters` are folders or hub ids of PEFT adapters or whole checkpoints, or folders that hold several. `backbone`
    defaults to the one that the folder records. Labelled clips, `corpus` and `root` or `manifest`, tell what only
    labels can tell. Returns a table with a row a check: adapter, code, state ("sick", "remark", "well", "skipped",
    "explained", "inapplicable"), layers, message, mend. With `fix_into` what can be mended is written to that new
    folder. Raises `LorascopeError` where an adapter cannot be examined.
    """
    from .examination.table import table_of

    one = isinstance(adapters, str | Path)
    given = [adapters] if isinstance(adapters, str | Path) else list(adapters)
    found = examinations(given, backbone, corpus, root, manifest, labels, fix_into, say)
    for each in found:
        if each.error is not None:
            raise LorascopeError(f"adapter {each.adapter}: {each.error}" if not one else each.error)
    return table_of(found)


def examinations(
    adapters: Sequence[str | Path],
    backbone: str | None = None,
    corpus: str | None = None,
    root: str | Path | None = None,
    manifest: str | Path | None = None,
    labels: Sequence[str] | None = None,
    fix_into: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Examination]:
    """As `doctor`, with all that was found; of several adapters one that cannot be examined keeps nobody waiting."""
    from .examination.examine import examine_all
    from .examination.labelled import read_clips

    clips = read_clips(corpus, root, manifest)
    into = None if fix_into is None else Path(fix_into)
    return list(examine_all(adapters, backbone, clips, labels or (), say, into))


def name_each(adapters: Sequence[str | Path]) -> dict[str, str | Path]:
    """A name for each adapter: the last part of its path, made longer by the folders above, and then by a number,
    where several have the same.
    """
    parts = [Path(adapter).parts for adapter in adapters]
    names: dict[str, str | Path] = {}
    for adapter, own in zip(adapters, parts, strict=True):
        depth = next(
            (depth for depth in range(1, len(own) + 1) if sum(other[-depth:] == own[-depth:] for other in parts) == 1),
            len(own),
        )
        name = base = "-".join(part.strip("/\\:") for part in own[-depth:]).strip("-.") or "adapter"
        number = 2
        while name in names or name == "figures":
            name, number = f"{base}-{number}", number + 1
        names[name] = adapter
    return names


def _common(
    backbone: str, names: Mapping[str, str | Path], labels: Sequence[str] | None, context: str | None, task: str
) -> str:
    """The context of all adapters, `context` where it is given; every one is opened once, so that bad input is told
    before anything is written.
    """
    contexts: dict[str, str] = {}
    classes: dict[str, frozenset[str]] = {}
    for name, adapter in names.items():
        opened = open_backbone(backbone, adapter, labels, task)
        open_adapted(opened.base, opened.source)
        contexts[name] = context or default_context(opened, backbone)
        classes[name] = frozenset(opened.classes)
    (first, common), *others = contexts.items()
    for name, other in others:
        if other != common:
            raise LorascopeError(
                f"adapter {name}: its context is {other}, that of {first} is {common}; name one for all with --context"
            )
        if classes[name] != classes[first]:
            raise LorascopeError(
                f"adapter {name}: its classes are {', '.join(sorted(classes[name]))}, those of {first} are "
                f"{', '.join(sorted(classes[first]))}; "
                "only adapters of the same classes can stand side by side"
            )
    return common


def _tell(sweep: Sweep, summary: Summary, root: Path, say: Say) -> Summary:
    """The report of every experiment that is computed and has none of its results of today, and the table of all."""
    from .report.sweep_table import write_table

    folder, errors = SweepFolder(root), dict(summary.unfinished)
    told: list[str] = []
    for slug in summary.finished:
        run = folder.experiment(slug)
        try:
            for fault in run.faults():
                say(f"{slug}: {fault}; made again")
            if not run.is_told():
                _report(run, lambda text, slug=slug: say(f"{slug}: {text}"))
            told.append(slug)
        except Exception as error:  # a report that cannot be made keeps the others from nothing
            errors[slug] = failure(error).error
    values = {variant.slug: variant.values for variant in sweep.variants}
    runs = {slug: folder.experiment(slug).root for slug in told}
    table = write_table(sweep.axes, values, runs, root)
    return replace(summary, unfinished=errors, table=table)


def _first_look(folder: RunFolder, manifest: dict[str, Any], say: Say) -> None:
    """Figures of the first adapter, long before the report; the report's own take their place."""
    from .report.figures import draw

    first = manifest["analyses"][0]
    unit = FinishedRun(folder.root, only=first["hash"], given=manifest)
    drawn = [file for file in draw(unit, folder.root / "figures", formats=("png",)) if file.stem == "fig1"]
    if drawn:
        say(f"a first picture, of one adapter alone (fold {first['fold']}): {drawn[0]}")


def _report(folder: RunFolder, say: Say) -> Results:
    """Tables, figures and report of what is computed."""
    from .report import write_all

    report = write_all(folder.root)
    folder.tidy()
    say(f"report: {report}")
    return Results(folder.root)


def _refuse_filled(folder: RunFolder) -> None:
    root = folder.root
    if root.is_file() or (folder.holds_others() and not folder.manifest.is_file()):
        raise LorascopeError(f"--out {root}: is not empty and holds no result of lorascope; give a new folder")
