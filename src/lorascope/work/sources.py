"""Analyse an adapter that was made anywhere: no training, the same tables, figures and report as a run leaves."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
import yaml

from ..analysis.analyse import analyse, cannot_be_had, open_adapter
from ..api import base_manifest, finish, prepare
from ..corpora import DEFAULT_CLASSES, load_corpus
from ..corpora.corpus import Corpus
from ..corpora.folds.folds import sample_from
from ..corpora.labels import match_classes
from ..errors import LorascopeError
from ..experiment.config import AnalysisConfig
from ..machine.devices import device
from ..machine.processes import refuse_several
from ..models.adapters.folder import load_frozen_head, read_record
from ..models.adapters.opening import Source, read_source
from ..models.families.known import parts_of
from ..models.weights.backbone import Backbone, load_backbone
from ..models.weights.hub import adapter_folder
from ..sound.context import no_window
from ..store.folder import RunFolder, write_text
from ..store.results import Results

UNKNOWN_SPEAKERS = "Whether these speakers were in the adapter's training is not known here: accuracies are honest only if they were not."


def analyze(
    backbone: str,
    adapter: str | Path,
    out: str | Path,
    corpus: str,
    root: str | Path | None = None,
    frozen: str | Path | None = None,
    clip_ids: Sequence[str] | None = None,
    context: str | None = None,
    labels: Sequence[str] | None = None,
    config: AnalysisConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Results:
    """Run the analyses on an adapter and leave tables, figures and a report in `out`.

    `backbone` is a folder that `save_pretrained` wrote, a hub id or a short name; `adapter` the folder or hub id of a PEFT adapter, with projector and classifier
    among its saved modules or without, or of a whole checkpoint of the same architecture; `frozen` a folder in which only the head was trained. The clips are
    `clip_ids`, or a seeded sample of the corpus. `context` ("trim" or "full") defaults to what the adapter's folder records, else "full", or "trim" for encoders
    without a window. The class names are the adapter's record's, else the backbone's, else `labels`; they are matched by meaning, whatever their order. Without
    a trained head they only choose the clips, and default to the usual four. What the adapter doesn't allow is left out and told, and refused where
    `config` names it. Raises `LorascopeError` for bad input before anything is written.
    """
    refuse_several("analyze")
    start = time.perf_counter()
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    settings = config or AnalysisConfig()
    folder = RunFolder(out)
    _refuse_filled(folder)
    opened = open_backbone(backbone, adapter, labels)
    base, source, classes = opened.base, opened.source, opened.classes
    chosen_context = context or default_context(opened, backbone)
    if chosen_context == "full" and not base.model.has_window:
        raise LorascopeError(no_window(base.name, "--context"))
    notes, head = [], None
    if frozen is not None and source.head:
        head = _in_order(load_frozen_head(Path(frozen), base), Path(frozen), classes, base)
    elif frozen is not None:
        notes.append("The frozen baseline's head is left aside, since the adapter has none to compare it with.")
    clips = load_corpus(corpus, root=Path(root) if root is not None else None, classes=classes)
    sample, counts = _choose(clips, clip_ids, settings)
    kept = replace(clips, clips=clips.clips.loc[list(sample["clip"])])
    features = prepare(kept, base, say)
    first = features[sample["clip"].iloc[0]].features
    adapted = open_adapter(base, source, first, chosen_context, device())
    impossible = cannot_be_had(settings.measures, bool(parts_of(adapted.model).adapted()), adapted.has_head)
    if impossible and "measures" in settings.model_fields_set:
        name, reason = next(iter(impossible.items()))
        raise LorascopeError(f"analysis.measures: {name} cannot be had: {reason}; take it out")
    say(f"analysis of {adapter}: {len(sample)} clips, context {chosen_context}")
    analysis = analyse(
        adapted.model, head, sample, features, classes, chosen_context, settings, has_head=adapted.has_head
    )
    notes += [*adapted.notes, *analysis.notes]
    for note in notes:
        say(f"note: {note}")
    about = {
        "fold": None,
        "speakers": {"test": sorted(sample["speaker"].unique()), "validation": []},
        "clips": len(sample),
        "clip_ids": list(sample["clip"]),
        "per_class": counts.to_dict(orient="records"),
        "models": list(analysis.models),
        "draws": settings.draws,
        "left_out": analysis.left_out,
        "notes": [*notes, UNKNOWN_SPEAKERS],
        "seconds": analysis.seconds,
    }
    folder.replace_tables(analysis.tables, about)
    write_text(folder.config, _config_text(backbone, adapter, frozen, corpus, root, chosen_context, classes, settings))
    manifest = {
        **base_manifest(created, clips, base, chosen_context, features),
        "adapter": str(adapter),
        "frozen": None if frozen is None else str(frozen),
        "seeds": {"analysis": settings.seed},
        "cells": [],
        "analysis": about,
    }
    return finish(folder, manifest, [], start, say)


def read_clip_ids(file: Path) -> list[str]:
    """Clip ids from a text file, one a line; empty lines are passed over. Raises `LorascopeError` where it cannot be read, is empty or repeats one."""
    try:
        ids = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise LorascopeError(
            f"--clip-ids {file}: cannot be read ({error}); give a text file with one clip id a line"
        ) from error
    if not ids:
        raise LorascopeError(f"--clip-ids {file}: no clip ids in it; give one a line")
    for number, name in enumerate(ids, 1):
        if name in ids[: number - 1]:
            raise LorascopeError(f"--clip-ids {file} line {number}: {name} is named twice; keep one")
    return ids


@dataclass(frozen=True)
class Opened:
    """A backbone with a head of the adapter's size, what the adapter's folder holds, and the classes in the order of its logits, in our own names."""

    base: Backbone
    source: Source
    classes: tuple[str, ...]


def open_backbone(name: str, adapter: str | Path, labels: Sequence[str] | None) -> Opened:
    """Read an adapter's folder and load the backbone for it. Raises `LorascopeError` where either cannot be read or the class names don't fit."""
    source = read_source(adapter_folder(adapter))
    head = source.head
    base = load_backbone(name)
    if not head:
        return Opened(base, source, match_classes(labels) if labels else DEFAULT_CLASSES)
    names = labels or source.classes or base.labels
    if not names:
        raise LorascopeError(
            f"backbone {name}: it names no classes, and adapter {adapter} records none; name them with --labels in the order of the logits"
        )
    count = base.model.config.num_labels if base.has_head else len(head.get("classifier.weight", names))
    if len(names) != count:
        raise LorascopeError(
            f"--labels names {len(names)} classes, but there are {count}; name them in the order of the logits"
        )
    if not base.has_head and "projector.weight" in head:
        base = load_backbone(name, names, projection=head["projector.weight"].shape[0])
    return Opened(base, source, match_classes(names))


def default_context(opened: Opened, backbone: str) -> str:
    """What the adapter's folder or the backbone's records, else Whisper's full window, or `trim` where the encoder has none."""
    record = opened.source.record or (read_record(Path(backbone)) if Path(backbone).is_dir() else None)
    return record.context if record else "full" if opened.base.model.has_window else "trim"


def _in_order(
    head: dict[str, torch.Tensor], folder: Path, classes: tuple[str, ...], base: Backbone
) -> dict[str, torch.Tensor]:
    """The frozen head with its classes in the adapter's order, where its folder names them."""
    record = read_record(folder)
    names: Sequence[str] = record.classes if record else ()
    config = folder / "config.json"
    if not names and config.is_file():
        labels = json.loads(config.read_text(encoding="utf-8")).get("id2label", {})
        names = [labels[key] for key in sorted(labels, key=int)]
    if not names:
        return head
    theirs = match_classes(names)
    if set(theirs) != set(classes):
        raise LorascopeError(
            f"frozen {folder}: its classes are {', '.join(theirs)}, the adapter's are {', '.join(classes)}; give the baseline of the same classes"
        )
    order = [theirs.index(name) for name in classes]
    return {name: tensor[order] if name.startswith("classifier") else tensor for name, tensor in head.items()}


def _choose(
    corpus: Corpus, clip_ids: Sequence[str] | None, config: AnalysisConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    if clip_ids is None:
        return sample_from(corpus, list(corpus.clips.index), config.clips_per_class, config.seed)
    unknown = [name for name in clip_ids if name not in corpus.clips.index]
    if unknown:
        raise LorascopeError(
            f"--clip-ids: {unknown[0]} is not among the corpus' {len(corpus.clips)} clips of these classes; check the ids ({len(unknown)} are unknown)"
        )
    return sample_from(corpus, list(clip_ids), len(clip_ids), config.seed)


def _config_text(
    backbone: str,
    adapter: str | Path,
    frozen: str | Path | None,
    corpus: str,
    root: str | Path | None,
    context: str,
    classes: Sequence[str],
    config: AnalysisConfig,
) -> str:
    return yaml.safe_dump(
        {
            "name": Path(adapter).name,
            "backbone": {"name": backbone, "context": context},
            "adapter": str(adapter),
            "frozen": None if frozen is None else str(frozen),
            "corpus": {"reader": corpus, "root": None if root is None else str(root), "classes": list(classes)},
            "analysis": config.model_dump(mode="json"),
        },
        sort_keys=False,
    )


def _refuse_filled(folder: RunFolder) -> None:
    root = folder.root
    if root.is_file() or (folder.holds_others() and not folder.manifest.is_file()):
        raise LorascopeError(f"--out {root}: is not empty and holds no result of lorascope; give a new folder")
