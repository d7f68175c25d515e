"""All that checks ask for, opened once: the folder, the backbone, the adapter on it, its passes, its labelled clips.

Each property raises `Unavailable`, with the reason, where it cannot be had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .finding import Unavailable, once
from .labelled import Labelled
from .merging import Merged, merged
from .names import (
    is_factor,
    layer_of,
)
from .passes import Heard, batch_of, hear
from .placed import Placed
from .reading import first_line, is_of_head, named_labels
from .signals import own_signals

__all__ = ["Examined", "in_words", "is_of_head", "named_labels", "spread"]
#: How many times its own length a signal is padded to.
PADDED = 3


@dataclass
class Examined(Placed):
    """One adapter under examination, with what is heard of it."""

    @once
    def change(self) -> dict[str, float]:
        """‖ΔW‖ / ‖W‖ (Frobenius) of every adapted matrix."""
        if self.patient.kind == "peft":
            return {name: moved / max(self.merged.weight[name], 1e-12) for name, moved in self.merged.moved.items()}
        after = self.checkpoint.model.state_dict()
        return {
            name: float((after[name] - before).norm() / before.norm().clamp_min(1e-12))
            for name, before in self.weights.items()
            if layer_of(name) is not None and before.dim() == 2 and name in after
        }

    @property
    def has_names(self) -> bool:
        """Whether the classes have names."""
        try:
            return bool(self.class_names)
        except Unavailable:
            return False

    @once
    def settings(self) -> Any:
        """What the encoder takes of a clip."""
        return self.checkpoint.features if self.patient.kind == "whole" else self.backbone.features

    @once
    def signals(self) -> dict[str, Any]:
        """Features of the doctor's own signals by name, all of one length."""
        return {name: self.settings.extract(samples) for name, samples in own_signals().items()}

    def _heard(self, stretch: int, on: bool) -> Heard:
        return hear(self.parts, batch_of(list(self.signals.values()), stretch), on)

    @once
    def heard(self) -> Heard:
        """The own signals with the adapter on, at their own length."""
        return self._heard(1, True)

    @once
    def heard_off(self) -> Heard:
        """The same with the adapter off, and the adapter's head."""
        _ = self.off
        return self._heard(1, False)

    @once
    def rounding(self) -> float:
        """Largest difference of the pooled stream that computing the same in another order makes."""
        batch = batch_of(list(self.signals.values()))
        again = hear(self.parts, batch.flip(0)[:-1].contiguous(), False).pooled[::-1]
        there = self.heard_off.pooled[1:]
        return max(float(np.abs(again - there).max()), float(np.abs(there).max()) * float(np.finfo(np.float32).eps))

    @once
    def heard_padded(self) -> tuple[Heard, Heard]:
        """The own signals padded to three times their length, with the adapter on and off."""
        _ = self.off
        return self._heard(PADDED, True), self._heard(PADDED, False)

    @once
    def merged(self) -> Merged:
        """The adapter merged into the weights, in float32 and in the dtype that it is stored in, and what is heard."""
        _ = self.is_peft
        kinds = {tensor.dtype for name, tensor in self.raw.items() if is_factor(name)}
        batch = batch_of(list(self.signals.values()))
        try:
            return merged(self.parts, batch, next((each for each in kinds if each != torch.float32), None))
        except (NotImplementedError, ValueError, RuntimeError) as error:
            raise Unavailable(f"PEFT cannot merge it ({first_line(error)})") from error

    @once
    def class_names(self) -> tuple[str, ...]:
        """The names of the answers in the order of the logits, as the folder or backbone gives them."""
        if self.labels:
            return self.labels
        if self.patient.record is not None:
            return self.patient.record.classes
        if self.patient.kind == "whole":
            return named_labels(self.patient.config)
        return self.backbone.labels

    @once
    def labelled(self) -> Labelled:
        """Answers to labelled clips."""
        if self.given is None:
            raise Unavailable("no labelled clips; give some with --corpus or --manifest")
        _ = self.answers
        if not self.class_names:
            raise Unavailable("no class names; give them with --labels in the order of the logits")
        record = self.patient.record
        context = record.context if record else "full" if self.parts.classifier.has_window else "trim"
        return Labelled.of(self, self.given, context)

    def close(self) -> None:
        """Let go of the models."""
        for name in ("model", "parts", "backbone", "checkpoint", "weights", "raw", "fitting", "tidied"):
            self.__dict__.pop(name, None)


def spread(logits: np.ndarray) -> float:
    """Standard deviation of logits [clips, classes] over clips, without what all classes share; mean over classes."""
    centred = logits - logits.mean(axis=1, keepdims=True)
    return float(np.sqrt(centred.var(axis=0).mean()))


def in_words(items: Sequence[Any], most: int = 4) -> str:
    """A few of a list, in words."""
    return ", ".join(map(str, items[:most])) + (f" and {len(items) - most} more" if len(items) > most else "")
