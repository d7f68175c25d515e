"""Adapters that were made anywhere, analysed: one, several side by side, several of folds."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import LorascopeError
from ..experiment.config import AnalysisConfig, CorpusConfig
from ..findings.compare import TABLE, side_by_side
from ..machine.processes import refuse_several
from ..models.adapters.opening import open_adapted
from ..store.folder import RunFolder, write_text
from ..store.locks import awaited
from ..work.kinds.given import analyse_folds, analyse_given
from ..work.manifest import moment, write_manifest
from ..work.sources import default_context, open_backbone, task_of
from .results import Results
from .telling import Say, report


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
    with _alone(folder, say), _told_by(sick):
        manifest = analyse_given(backbone, adapter, folder, *given)
        _tell(folder, manifest | {"sick": sick}, start)
    return report(folder, say)


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
    with _alone(folder, say), _told_by(sick):
        context = _common(backbone, names, labels, context, task_of(corpus))
        manifest = analyse_folds(
            backbone, names, test_speakers, folder, corpus, root, frozen, context, labels, settings, created, say
        )
        _tell(folder, manifest | {"sick": sick}, start)
    return report(folder, say)


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
    from ..report.comparison import write_page

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


def _sick(backbone: str, adapters: Sequence[str | Path], say: Say) -> list[str]:
    """What the doctor sees in adapters without hearing anything."""
    from ..examination.quick import quick

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


@contextlib.contextmanager
def _alone(folder: RunFolder, say: Say) -> Iterator[None]:
    """Nobody else works in the folder during the block; a new one that is empty after it is taken away again."""
    new = not folder.root.exists()
    try:
        with awaited(folder.lock, uuid.uuid4().hex, say):
            yield
    finally:
        if new:
            with contextlib.suppress(OSError):
                folder.root.rmdir()


def _tell(folder: RunFolder, manifest: dict[str, Any], start: float) -> None:
    folder.unseal()
    folder.show_analysis(manifest["analyses"][0]["hash"])
    write_manifest(folder, manifest, [], start)


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


def _refuse_filled(folder: RunFolder) -> None:
    root = folder.root
    if root.is_file() or (folder.holds_others() and not folder.manifest.is_file()):
        raise LorascopeError(f"--out {root}: is not empty and holds no result of lorascope; give a new folder")
