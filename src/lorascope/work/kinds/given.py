"""An analysis of an adapter that was made anywhere as a unit of work, and of several that were trained alike on folds
of a corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ...analysis.analyse import analyse, cannot_be_had, open_adapter
from ...errors import LorascopeError
from ...experiment.analyses import versions_of
from ...experiment.config import AnalysisConfig, CorpusConfig
from ...machine.devices import device
from ...models.adapters.folder import load_frozen_head
from ...models.families.known import parts_of
from ...sound.context import no_window
from ...store import seals
from ...store.folder import RunFolder, digest, write_text
from ..manifest import base_manifest
from ..sources import (
    Say,
    choose,
    corpus_section,
    default_context,
    in_order,
    load_section,
    means_of,
    of_speakers,
    open_backbone,
    prepare,
    samples_of,
    task_of,
    with_acoustics,
)
from .analysis import about_of

TRUSTED = "That the adapter has not heard these speakers in its training was said, and cannot be seen here."
UNKNOWN_SPEAKERS = (
    "Whether these speakers were in the adapter's training is not known here: "
    "accuracies are honest only if they were not."
)


def analyse_given(
    backbone: str,
    adapter: str | Path,
    folder: RunFolder,
    corpus: str | CorpusConfig,
    root: str | Path | None,
    frozen: str | Path | None,
    clip_ids: Sequence[str] | None,
    context: str | None,
    labels: Sequence[str] | None,
    settings: AnalysisConfig,
    created: str,
    say: Say,
    test_speakers: Sequence[str] | None = None,
    fold: str | None = None,
) -> dict[str, Any]:
    """Analyse an adapter that was made anywhere, as `lorascope.analyze` says; returns the manifest. An analysis that is
    whole in the folder is taken up. With `test_speakers` the clips are theirs; `fold` is what the adapter is called
    among others of its kind.
    """
    opened = open_backbone(backbone, adapter, labels, task_of(corpus))
    base, source, classes = opened.base, opened.source, opened.classes
    chosen_context = context or default_context(opened, backbone)
    if chosen_context == "full" and not base.model.has_window:
        raise LorascopeError(no_window(base.name, "--context"))
    notes, head = [], None
    if frozen is not None and source.head:
        head = in_order(load_frozen_head(Path(frozen), base), Path(frozen), classes, base)
    elif frozen is not None:
        notes.append("The frozen baseline's head is left aside, since the adapter has none to compare it with.")
    section = corpus_section(corpus, root, classes)
    clips = load_section(section)
    classes = classes or clips.classes
    heard = clips if test_speakers is None else of_speakers(clips, test_speakers, f"--test-speakers of {adapter}")
    sample, counts = choose(heard, clip_ids, settings)
    kept = replace(clips, clips=clips.clips.loc[list(sample["clip"])])
    features = prepare(kept, base, say)
    first = features[sample["clip"].iloc[0]].features
    adapted = open_adapter(base, source, first, chosen_context, device())
    samples = samples_of(kept, features)
    means = means_of(settings, features, samples, base)
    impossible = cannot_be_had(settings.measures, parts_of(adapted.model), adapted.has_head, means.missing)
    if impossible and "measures" in settings.model_fields_set:
        reason = next(iter(impossible.values()))
        names = ", ".join(name for name, why in impossible.items() if why == reason)
        rest = ",".join(name for name in settings.measures if name not in impossible)
        raise LorascopeError(f'analysis.measures: {names} cannot be had: {reason}; take --set "measures=[{rest}]"')
    versions = versions_of(settings.measures)
    contents = [seals.content_of(Path(given)) if given else None for given in (source.folder, frozen)]
    told = [chosen_context, list(classes), [(clip, features[clip].hash) for clip in sample["clip"]]]
    unit = digest(["given", versions, settings.settings, base.fingerprint, contents, told])
    if folder.analyses.take_up(unit, say):
        say(f"analysis of {adapter}: done before")
    else:
        say(f"analysis of {adapter}: {len(sample)} clips, context {chosen_context}")
        built = folder.analyses.begin(unit)
        described = with_acoustics(sample, settings, features, samples)
        analysis = analyse(
            adapted.model,
            head,
            described,
            features,
            classes,
            chosen_context,
            settings,
            has_head=adapted.has_head,
            means=means,
        )
        for stem, table in analysis.tables.items():
            table.to_parquet(built / f"{stem}.parquet", index=False)
        notes += [*adapted.notes, *analysis.notes]
        about = {
            "fold": fold,
            "speakers": {"analysed" if test_speakers is None else "test": sorted(sample["speaker"].unique())},
            "trained_on": None if test_speakers is None else len(clips.clips) - len(heard.clips),
            "tested_on": None if test_speakers is None else len(heard.clips),
            "settings": settings.settings,
            "versions": versions,
            **about_of(sample, counts, settings, analysis, [TRUSTED if test_speakers else UNKNOWN_SPEAKERS, *notes]),
        }
        folder.analyses.finish(unit, about)
    about = folder.analyses.read(unit)
    for note in about["notes"][1:]:
        say(f"note: {note}")
    write_text(folder.config, _config_text(backbone, adapter, frozen, section, chosen_context, settings))
    named = {"name": "given", "label": "adapter", "control": None, "fold": fold or "", "seed": 0, "clips_from": "test"}
    return {
        **base_manifest(created, clips, base, chosen_context, features),
        "adapter": str(adapter),
        "frozen": None if frozen is None else str(frozen),
        "seeds": {"analysis": settings.seed},
        "cells": [],
        "analyses": [named | {key: about[key] for key in ("hash", "seconds")}],
        "analysis": about,
    }


def analyse_folds(
    backbone: str,
    adapters: Mapping[str, str | Path],
    test_speakers: Sequence[Sequence[str]],
    folder: RunFolder,
    corpus: str | CorpusConfig,
    root: str | Path | None,
    frozen: Sequence[str | Path] | None,
    context: str | None,
    labels: Sequence[str] | None,
    settings: AnalysisConfig,
    created: str,
    say: Say,
) -> dict[str, Any]:
    """Analyse adapters, by their names, each on its own test speakers; returns the manifest of all. Raises
    `LorascopeError` where one has no test speakers or baseline, or two share a speaker.
    """
    for what, given in (("--test-speakers", test_speakers), ("--frozen", frozen or adapters)):
        if len(given) != len(adapters):
            raise LorascopeError(
                f"{what}: {len(given)} for {len(adapters)} adapters; give one for each, in their order"
            )
    _refuse_shared(dict(zip(adapters, test_speakers, strict=True)))
    # before anything is measured
    classes = open_backbone(backbone, next(iter(adapters.values())), labels, task_of(corpus)).classes
    clips = load_section(corpus_section(corpus, root, classes))
    for adapter, speakers in zip(adapters.values(), test_speakers, strict=True):
        of_speakers(clips, speakers, f"--test-speakers of {adapter}")
    manifests: list[dict[str, Any]] = []
    for number, (name, adapter) in enumerate(adapters.items()):
        baseline = frozen[number] if frozen else None
        count = f"[{number + 1}/{len(adapters)}] "
        manifests.append(
            analyse_given(
                backbone,
                adapter,
                folder,
                corpus,
                root,
                baseline,
                None,
                context,
                labels,
                settings,
                created,
                lambda text, count=count: say(count + text),
                test_speakers[number],
                name,
            )
        )
    return manifests[0] | {
        "adapter": ", ".join(map(str, adapters.values())),
        "frozen": ", ".join(map(str, frozen)) if frozen else None,
        "analyses": [manifest["analyses"][0] for manifest in manifests],
        "clips": {name: content for manifest in manifests for name, content in manifest["clips"].items()},
    }


def _refuse_shared(test_speakers: Mapping[str, Sequence[str]]) -> None:
    whose: dict[str, str] = {}
    for name, speakers in test_speakers.items():
        if not speakers:
            raise LorascopeError(f"--test-speakers of {name}: names nobody; name those that it was not trained on")
        for speaker in speakers:
            if whose.setdefault(speaker, name) != name:
                raise LorascopeError(
                    f"--test-speakers: {speaker} is tested by {whose[speaker]} and by {name}; folds share no test "
                    "speaker"
                )


def _config_text(
    backbone: str,
    adapter: str | Path,
    frozen: str | Path | None,
    corpus: CorpusConfig,
    context: str,
    config: AnalysisConfig,
) -> str:
    return yaml.safe_dump(
        {
            "name": Path(adapter).name,
            "backbone": {"name": backbone, "context": context},
            "adapter": str(adapter),
            "frozen": None if frozen is None else str(frozen),
            "corpus": corpus.model_dump(mode="json", exclude_defaults=True) | {"classes": list(corpus.classes)},
            "analysis": config.model_dump(mode="json"),
        },
        sort_keys=False,
    )
