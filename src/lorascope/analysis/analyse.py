"""The five analyses and the erasure on one adapted model: choose clips, trace, compute, and say what could not be
done.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from peft import PeftModel
from torch import Tensor

from ..errors import LorascopeError
from ..experiment.config import AnalysisConfig
from ..models.adapters.opening import Adapted, Source, open_adapted
from ..models.adapters.tuned import TunedModel
from ..models.families.known import parts_of
from ..models.parts import EncoderParts
from ..models.updates import turnable, why_no_update
from ..models.weights.backbone import Backbone
from ..sound.context import context_frames
from ..sound.decoding import Clip
from ..sound.features import Features
from .batches import Heard, batch_limits
from .means import Means
from .measure import Pass
from .measures import MEASURES
from .measures.ranks import Ranks
from .one_pass import computed, trace
from .states import ModelStates
from .study import study_of


@dataclass
class Analysis:
    """Tables by the stem of their file, the clips that they were computed on, the measures that could not be had and
    why, notes for the reader, and which columns tell the rows of a table apart, where its measure says so.
    """

    tables: dict[str, pd.DataFrame]
    clips: pd.DataFrame
    models: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)


def analyse(
    model: PeftModel | TunedModel,
    frozen_head: Mapping[str, Tensor] | None,
    clips: pd.DataFrame,
    features: Mapping[str, Clip],
    classes: Sequence[str],
    context: str,
    config: AnalysisConfig,
    other_ranks: Sequence[PeftModel | TunedModel] = (),
    has_head: bool = True,
    means: Means | None = None,
) -> Analysis:
    """Measure one adapted model against its frozen self and the random baselines.

    `clips` has columns `clip`, `speaker`, `emotion`; `features` their log-mels by id. `frozen_head` is the frozen
    baseline's head (None: what needs it is left out). `other_ranks` are adapters of other ranks, for the rank space
    alone. `means` are what some measures need beside. Without `has_head`, for an adapter that is not low-rank pairs,
    and without the means, what cannot be had is left out with a note.
    """
    start = time.perf_counter()
    labels = {name: index for index, name in enumerate(classes)}
    frames = [features[clip].features.valid for clip in clips["clip"]]
    table = clips.assign(label=clips["emotion"].map(labels), frames=frames).reset_index(drop=True)
    parts = parts_of(model)
    device = next(model.parameters()).device
    states = ModelStates(parts, frozen_head, config.baselines, config.seed, has_head)
    means = means or Means()
    left_out = cannot_be_had(config.measures, parts, has_head, means.missing)
    limits = batch_limits(parts, config.precision, config.batch_size, config.batch_frames)

    def own(clip: str) -> Features:
        return features[clip].features

    def hear(over: Pass) -> None:
        heard = Heard(over.clips, over.features or own, over.context or context, limits, device, windowed)
        trace(states, heard.batches(), [over.measure], heard.count, config.precision)

    windowed = parts.classifier.has_window
    whole = Heard(table, own, context, limits, device, windowed)
    study = study_of(states, table, classes, config.seed, config.draws, config.memory_mib, means)
    measures = {name: MEASURES[name](study) for name in config.measures if name not in left_out}
    trace(states, whole.batches(), list(measures.values()), whole.count, config.precision)
    for measure in measures.values():
        for over in measure.passes() if hasattr(measure, "passes") else ():
            hear(over)
    tables = {stem: [table] for stem, table in computed(measures).items()}
    if "ranks" in measures:
        for other in other_ranks:
            alone = ModelStates(parts_of(other), None, (), config.seed)
            ranks = Ranks(study_of(alone, table, classes, config.seed, config.draws, config.memory_mib))
            trace(alone, whole.batches(), [ranks], whole.count, config.precision)
            for stem, part in ranks.compute().items():
                tables[stem].append(part)
    return Analysis(
        tables={stem: pd.concat(parts, ignore_index=True) for stem, parts in tables.items()},
        clips=table,
        models=states.names,
        left_out=left_out,
        notes=[*_left_out_notes(left_out, measures, has_head), *_notes(states, table, classes, has_head)],
        seconds=time.perf_counter() - start,
        keys={stem: keys for measure in measures.values() for stem, keys in getattr(measure, "keys", {}).items()},
    )


def open_adapter(backbone: Backbone, adapter: Source | Path, clip: Features, context: str, device: str) -> Adapted:
    """Load an adapter and prove on a real clip that the encoder's parts are what they are called.

    Raises `LorascopeError` as `open_adapted` does, and where the parts don't add up.
    """
    features = torch.as_tensor(clip.window(context_frames(clip.valid, context, clip.longest)))[None].to(device)
    valid = torch.tensor([clip.valid], device=device) if context == "trim" else None
    backbone.model.to(device)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        bare = backbone.model.encode(features, valid)
    adapted = open_adapted(backbone, adapter)
    parts_of(adapted.model).prove(features, valid, bare)
    return adapted


def cannot_be_had(
    measures: Sequence[str], parts: EncoderParts, has_head: bool, missing: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Which of these measures cannot be had, and why: without a trained head, where that reads all depths side by side,
    where the adapter is not low-rank pairs, or has no layers to turn down, and where something is `missing`
    (`Means.missing`).

    Raises `LorascopeError` where nothing remains.
    """
    lacking = {} if parts.adapted() else {"pairs": "the adapter is not plain low-rank pairs, so it has no A and B"}
    if not turnable(parts):
        lacking["turnable"] = "no linear layer of the blocks has an adapter on it that could be turned down"
    without = why_no_update(parts)
    if without is not None:
        lacking["updates"] = without
    if not has_head:
        lacking["head"] = "the adapter has no trained head, so there is no answer to measure"
    if parts.classifier.concatenates:
        lacking["depth"] = "the head reads all depths side by side, so it has nothing to say of one alone"
    lacking |= missing or {}
    needed = {name: getattr(MEASURES[name], "needs", frozenset()) for name in measures}
    left_out = {
        name: next(reason for what, reason in lacking.items() if what in needs)
        for name, needs in needed.items()
        if needs & lacking.keys()
    }
    if len(left_out) == len(measures):
        name, reason = next(iter(left_out.items()))
        raise LorascopeError(
            f"analysis.measures: {name} cannot be had ({reason}), and nothing else is asked for; add contribution"
        )
    return left_out


def _left_out_notes(left_out: Mapping[str, str], measures: Collection[str], has_head: bool) -> list[str]:
    """A sentence for each reason why measures are left out, and one for the gradients of those that run without a
    head.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(name)
    notes = [f"Left out: {', '.join(names)}; {reason}." for reason, names in by_reason.items()]
    without = [name for name in ("spectra", "cka") if name in measures]
    if without and not has_head:
        notes.append(f"Without a head there is no loss: the gradients of {' and '.join(without)} are left out.")
    return notes


def _notes(states: ModelStates, table: pd.DataFrame, classes: Sequence[str], has_head: bool) -> list[str]:
    notes = []
    weights = states.parts.depth_weights
    if weights is not None and has_head:
        told = ", ".join(f"{depth}: {weight:.2f}" for depth, weight in enumerate(weights.tolist()))
        notes.append(
            f"The head reads a weighted sum of all depths (0: the embedding), which weigh {told}. The corrected lens "
            "is the head on the sum up to a depth."
        )
    if "frozen" in states.headless and has_head:
        notes.append(
            "No frozen baseline with a trained head was given: lens and erasure of the frozen model are left out."
        )
    counts = table["emotion"].value_counts().reindex(list(classes), fill_value=0)
    few = [f"{name} {count}" for name, count in counts.items() if count < 10]
    if few:
        notes.append(f"Few clips a class ({', '.join(few)}): intervals are wide, and small differences mean nothing.")
    return notes
