"""The five analyses and the erasure on one adapted model: choose clips, trace, compute, and say what could not be done."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import PeftModel
from torch import Tensor

from .audio import Clip
from .config import AnalysisConfig
from .errors import LorascopeError
from .features import Features
from .measures import MEASURES
from .measures.ranks import Ranks
from .models.adaptation import load_adapter
from .models.backbone import Backbone
from .models.families import parts_of
from .models.states import BASELINES, ModelStates
from .tracing import batches_of, study_of, trace
from .training.data import context_frames


@dataclass
class Analysis:
    """Tables by the stem of their file, the clips that they were computed on, and notes for the reader."""

    tables: dict[str, pd.DataFrame]
    clips: pd.DataFrame
    models: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def analyse(
    model: PeftModel,
    frozen_head: Mapping[str, Tensor] | None,
    clips: pd.DataFrame,
    features: Mapping[str, Clip],
    classes: Sequence[str],
    context: str,
    config: AnalysisConfig,
    other_ranks: Sequence[PeftModel] = (),
) -> Analysis:
    """Measure one adapted model against its frozen self and the random baselines.

    `clips` has columns `clip`, `speaker`, `emotion`; `features` their log-mels by id. `frozen_head` is the frozen baseline's head
    (None: what needs it is left out). `other_ranks` are adapters of other ranks, for the rank space alone.
    """
    start = time.perf_counter()
    labels = {name: index for index, name in enumerate(classes)}
    table = clips.assign(
        label=clips["emotion"].map(labels), frames=[features[clip].features.valid for clip in clips["clip"]]
    )
    table = table.reset_index(drop=True)
    contexts = {clip: context_frames(features[clip].features.valid, context) for clip in table["clip"]}
    parts = parts_of(model)
    device = next(model.parameters()).device
    states = ModelStates(parts, frozen_head, BASELINES, config.seed)

    def window(clip: str, frames: int) -> Any:
        return features[clip].features.window(frames)

    def batches() -> Any:
        return batches_of(table, window, contexts, config.batch_size, context == "trim", device)

    total = sum(math.ceil(count / config.batch_size) for count in Counter(contexts.values()).values())
    study = study_of(states, table, classes, config.seed, config.draws)
    measures = {name: MEASURES[name](study) for name in config.measures}
    trace(states, batches(), list(measures.values()), total)
    tables: dict[str, list[pd.DataFrame]] = {}
    for measure in measures.values():
        for stem, part in measure.compute().items():
            tables.setdefault(stem, []).append(part)
    if "ranks" in measures:
        for other in other_ranks:
            alone = ModelStates(parts_of(other), None, (), config.seed)
            ranks = Ranks(study_of(alone, table, classes, config.seed, config.draws))
            trace(alone, batches(), [ranks], total)
            for stem, part in ranks.compute().items():
                tables[stem].append(part)
    return Analysis(
        tables={stem: pd.concat(parts, ignore_index=True) for stem, parts in tables.items()},
        clips=table,
        models=states.names,
        notes=_notes(states, table, classes),
        seconds=time.perf_counter() - start,
    )


def open_adapter(backbone: Backbone, folder: Path, clip: Features, context: str, device: str) -> PeftModel:
    """Load an adapter and prove on a real clip that the encoder's parts are what they are called.

    Raises `LorascopeError` as `load_adapter` does, where the parts don't add up, and where nothing of the encoder is adapted.
    """
    features = torch.as_tensor(clip.window(context_frames(clip.valid, context)))[None].to(device)
    valid = torch.tensor([clip.valid], device=device) if context == "trim" else None
    backbone.model.to(device)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        bare = backbone.model.encode(features, valid)
    model = load_adapter(backbone, folder)
    parts = parts_of(model)
    if not parts.adapted():
        raise LorascopeError(f"adapter {folder}: it adapts no linear layer of the encoder; there is nothing to analyse")
    parts.prove(features, valid, bare)
    return model


def _notes(states: ModelStates, table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    notes = []
    if "frozen" in states.headless:
        notes.append(
            "No frozen baseline with a trained head was given: lens and erasure of the frozen model are left out."
        )
    counts = table["emotion"].value_counts().reindex(list(classes), fill_value=0)
    few = [f"{name} {count}" for name, count in counts.items() if count < 10]
    if few:
        notes.append(f"Few clips a class ({', '.join(few)}): intervals are wide, and small differences mean nothing.")
    return notes
