"""What the benchmarks of the analyses run on: one adapted encoder with random LoRA factors, its frozen self and one
random baseline, clips in batches.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from material import material
from torch import Tensor, nn

from lorascope.analysis.batches import batch_limits, batches_of
from lorascope.analysis.measure import Batch, Study
from lorascope.analysis.measures import MEASURES
from lorascope.analysis.one_pass import computed, trace
from lorascope.analysis.states import ModelStates
from lorascope.analysis.study import study_of
from lorascope.experiment.methods import LoraConfig
from lorascope.machine.devices import device
from lorascope.models.adapters.building import adapt
from lorascope.models.families.known import parts_of
from lorascope.models.weights.backbone import Backbone
from lorascope.sound.context import context_frames
from lorascope.sound.features import Features

#: The five analyses; the erasure, which reruns the model by design, is not one of them.
FIVE = ("contribution", "lens", "ranks", "spectra", "cka")
#: The models: what the paper compares.
RANDOM = ("gaussian",)
HEAD = ("projector.weight", "projector.bias", "classifier.weight", "classifier.bias")


class Analysed:
    """States of one model, and clips of a corpus in batches of one length."""

    def __init__(
        self,
        backbone: Backbone,
        clips: pd.DataFrame,
        features: Mapping[str, Features],
        classes: Sequence[str],
        context: str,
        batch_size: int | None = None,
        rank: int = 32,
        draws: int = 500,
        memory_mib: int = 512,
        precision: str = "fp32",
    ) -> None:
        self.precision = precision
        self.draws, self.memory_mib, self.classes, self.features = draws, memory_mib, tuple(classes), features
        model: Any = adapt(backbone.model, LoraConfig(rank=rank), 0)
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.02)
        self.model = model.to(device()).eval()
        self.parts = parts_of(self.model)
        head = [tensor.detach().clone() for part in self.parts.head() for tensor in (part.weight, part.bias)]
        self.states = ModelStates(self.parts, dict(zip(HEAD, head, strict=True)), RANDOM)
        self.clips = clips.assign(
            label=[self.classes.index(emotion) for emotion in clips["emotion"]],
            frames=[features[clip].valid for clip in clips["clip"]],
        )
        self.contexts = {clip: context_frames(features[clip].valid, context) for clip in clips["clip"]}
        self.batches: Iterable[Batch] = self.in_batches(context, batch_size)

    @classmethod
    def of(cls, arguments: argparse.Namespace, context: str) -> Analysed:
        """Clips and backbone as a program's arguments say."""
        chosen = material(arguments)
        table = chosen.corpus.clips.loc[list(chosen.clips), ["speaker", "emotion"]].reset_index(names="clip")
        features = {name: clip.features for name, clip in chosen.clips.items()}
        rank = 4 if arguments.quick else 32
        return cls(
            chosen.load(),
            table,
            features,
            chosen.corpus.classes,
            context,
            rank=rank,
            draws=arguments.draws,
            memory_mib=arguments.memory_mib,
            precision=getattr(arguments, "precision", "fp32"),
        )

    def one_by_one(self, context: str, size: int | None = None) -> Iterator[Batch]:
        """The clips in batches of so many, each made when it is asked for."""
        windowed = self.parts.classifier.has_window

        def window(clip: str, frames: int) -> Any:
            return self.features[clip].window(frames)

        limits = batch_limits(self.parts, self.precision, size)
        return batches_of(self.clips, window, self.contexts, limits, context == "trim", device(), windowed)

    def in_batches(self, context: str, size: int | None = None) -> list[Batch]:
        """The same, all at once, so that no clock sees them made."""
        return list(self.one_by_one(context, size))

    def study(self) -> Study:
        """What the measures are told."""
        return study_of(self.states, self.clips, self.classes, 42, self.draws, self.memory_mib)

    @contextmanager
    def only_a(self, gradients: bool) -> Iterator[None]:
        """A's weights alone take gradients, as in tracing, or nothing does."""
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        if gradients:
            for key in self.parts.adapted():
                self.parts.factors(*key)[0].requires_grad_(True)
        with torch.set_grad_enabled(gradients):
            yield
        self.model.zero_grad(set_to_none=True)

    def bare(self) -> None:
        """One forward for each model, and one backward for those with an adapter."""
        for name in self.states.names:
            with self.states.enter(name), self.only_a(name != "frozen"):
                for batch in self.batches:
                    loss = self.loss(batch)
                    if name != "frozen":
                        loss.backward()

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy summed over a batch's clips."""
        with torch.autocast(batch.features.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.model(batch.features, valid=batch.valid if batch.pools_valid else None).logits
        return nn.functional.cross_entropy(logits.float(), batch.labels, reduction="sum")

    def traced(self, names: tuple[str, ...] = FIVE, precision: str | None = None) -> dict[str, Any]:
        """Measures after one pass over the clips."""
        study = self.study()
        measures = {name: MEASURES[name](study) for name in names}
        trace(self.states, iter(self.batches), list(measures.values()), None, precision or self.precision)
        return measures

    def analysed(self, precision: str | None = None) -> dict[str, pd.DataFrame]:
        """All tables."""
        return computed(self.traced(precision=precision))
