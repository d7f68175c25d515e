"""Adapters that are to be made smaller: those of a run, each with its fold, or one that was made anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import LorascopeError
from ..experiment.config import CorpusConfig
from ..experiment.loading import load_experiment
from ..experiment.methods import LORA_KINDS
from ..experiment.planning import Cell, corpus_of, plan
from ..models.adapters.opening import Source, read_source
from ..models.adapters.pruning import Keep
from ..models.weights.backbone import Backbone
from ..sound.context import no_window
from ..sound.decoding import Clip
from ..store.folder import RunFolder, read_json
from .kinds.given import TRUSTED, UNKNOWN_SPEAKERS
from .sources import (
    Say,
    corpus_section,
    default_context,
    load_section,
    of_speakers,
    open_backbone,
    open_inputs,
    prepare,
)

#: Clips at a time where no training says how many.
BATCH = 8


@dataclass(frozen=True)
class Prunable:
    """An adapter and the clips that it is chosen and tested on; without clips nothing of it is measured.

    `folder` is the name of what becomes of it, "" where it is alone. `names` are method, label, fold and seed.
    `labels` and `speakers` are by clip; `validation` and `test` are clips of different speakers.
    """

    folder: str
    what: str
    names: Mapping[str, Any]
    source: Source
    load: Callable[[], Backbone]
    classes: tuple[str, ...] = ()
    context: str = "full"
    clips: Mapping[str, Clip] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    speakers: Mapping[str, str] = field(default_factory=dict)
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    trained_on: int | None = None
    batch_size: int = BATCH
    note: str = ""


def of_run(run: Path, keep: Keep, say: Say) -> Iterator[Prunable]:
    """Every adapter of a run's LoRA methods in Table 1, their controls left out. Raises `LorascopeError` where the
    folder is no run, has none, or they are not whole.
    """
    folder = RunFolder(run)
    if not folder.manifest.is_file():
        raise LorascopeError(f"{run}: no manifest.json; give a folder that `lorascope run` wrote")
    if not read_json(folder.manifest).get("cells"):
        raise LorascopeError(
            f"{run}: no adapter was trained here; name what was analysed with --adapter and --backbone"
        )
    experiment = load_experiment(folder.config)
    corpus = corpus_of(experiment)
    cells = [cell for cell in plan(experiment, corpus) if _is_wanted(cell)]
    if not cells:
        kinds = ", ".join(dict.fromkeys(method.kind for method in experiment.conditions.values()))
        raise LorascopeError(
            f"{run}: no LoRA among its methods ({kinds}), and only a LoRA has directions to choose from"
        )
    for cell in cells:
        if keep.auto and not cell.fold.validation:
            raise LorascopeError(
                f"--keep auto: fold {cell.fold.name} has no validation speakers to choose on (folds.selection: "
                f"{cell.fold.selection}); give a share or a number"
            )
    inputs, backbone = open_inputs(experiment, corpus, cells, say)
    for cell in cells:
        name = cell.address(backbone.fingerprint, inputs.clips, inputs.labels)
        if not folder.cells.is_whole(name):
            raise LorascopeError(
                f"{run}: {cell.label}, {cell.where} is not there as it would be trained today (the corpus, the "
                "backbone or config.yaml is another); run it again with the same --out"
            )
        fault = folder.cells.fault_of(name)
        if fault is not None:
            raise LorascopeError(f"{run}/cells/{name}/{fault}; run it again with the same --out")
        yield Prunable(
            folder=re.sub(r"[^\w.+-]", "_", f"{cell.name}-fold-{cell.fold.name}-seed-{cell.of_seed}"),
            what=f"{cell.label}, {cell.where}",
            names={"method": cell.name, "label": cell.label, "fold": cell.fold.name, "seed": cell.of_seed},
            source=read_source(folder.cell(name) / "adapter"),
            load=inputs.load,
            classes=cell.classes,
            context=cell.context,
            clips=inputs.clips,
            labels=inputs.labels,
            speakers=inputs.speakers,
            validation=cell.fold.validation,
            test=cell.fold.test,
            trained_on=len(cell.fold.train),
            batch_size=getattr(cell.method, "batch_size", BATCH),
            note="; ".join(cell.fold.optimistic),
        )


def _is_wanted(cell: Cell) -> bool:
    return cell.kind in LORA_KINDS and cell.role == "table1" and cell.method.control is None


def given(
    backbone: str,
    adapter: str | Path,
    keep: Keep,
    corpus: str | CorpusConfig | None,
    root: str | Path | None,
    validation_speakers: Sequence[str],
    test_speakers: Sequence[str],
    context: str | None,
    labels: Sequence[str] | None,
    say: Say,
) -> Prunable:
    """An adapter that was made anywhere, with clips of the corpus where one is named; the test clips are all of it
    without `test_speakers`. Raises `LorascopeError` for bad input.
    """
    _check_speakers(keep, corpus, root, validation_speakers, test_speakers)
    opened = open_backbone(backbone, adapter, labels)

    def load() -> Backbone:
        return open_backbone(backbone, adapter, labels).base

    alone = Prunable("", f"adapter {adapter}", {"method": "given", "label": "adapter"}, opened.source, load)
    if corpus is None:
        return alone
    if not (opened.source.head or opened.base.has_head):
        raise LorascopeError(
            f"adapter {adapter}: no trained head, so there is no answer to measure; leave the corpus out, and give "
            "--keep a share or a number"
        )
    chosen_context = context or default_context(opened, backbone)
    if chosen_context == "full" and not opened.base.model.has_window:
        raise LorascopeError(no_window(opened.base.name, "--context"))
    whole = load_section(corpus_section(corpus, root, opened.classes))
    validation = of_speakers(whole, validation_speakers, "--validation-speakers").clips.index
    test = of_speakers(whole, test_speakers, "--test-speakers").clips.index if test_speakers else whole.clips.index
    heard = [*map(str, validation), *map(str, test)]
    kept = replace(whole, clips=whole.clips.loc[heard])
    return replace(
        alone,
        classes=opened.classes,
        context=chosen_context,
        clips=prepare(kept, opened.base, say),
        labels={str(clip): opened.classes.index(name) for clip, name in kept.clips["emotion"].items()},
        speakers={str(clip): name for clip, name in kept.clips["speaker"].items()},
        validation=tuple(map(str, validation)),
        test=tuple(map(str, test)),
        note=TRUSTED if test_speakers else UNKNOWN_SPEAKERS,
    )


def _check_speakers(
    keep: Keep,
    corpus: str | CorpusConfig | None,
    root: str | Path | None,
    validation_speakers: Sequence[str],
    test_speakers: Sequence[str],
) -> None:
    if corpus is None and (root is not None or validation_speakers or test_speakers):
        raise LorascopeError("--root and speakers are of a corpus; name its reader with --corpus")
    if keep.auto and not (corpus and validation_speakers and test_speakers):
        raise LorascopeError(
            "--keep auto: no validation speakers to choose on; name a --corpus, --validation-speakers whom the adapter "
            "was not trained on, and others as --test-speakers; or give a share or a number"
        )
    if validation_speakers and not keep.auto:
        raise LorascopeError("--validation-speakers: only --keep auto chooses on them; take them out")
    shared = sorted(set(validation_speakers) & set(test_speakers))
    if shared:
        raise LorascopeError(f"--validation-speakers and --test-speakers both name {shared[0]}; they share nobody")
