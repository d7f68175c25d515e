"""What a training minimises where it isn't the plain mean cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Objective:
    """The mean over clips of w_y · cross-entropy against smoothed targets (Szegedy et al. 2016): (1 - s) of a target
    stays, s is spread evenly over all classes.

    `class_weights` are w, one a class, of which a soft target takes the mean. The loss is divided by the number of
    clips, not by their weights, so that a batch's loss is the mean of its pieces'.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits [clips, classes] against classes [clips], or shares of classes [clips, classes]."""
        count = logits.shape[-1]
        soft = labels if labels.is_floating_point() else nn.functional.one_hot(labels, count)
        targets = soft.to(logits.dtype)
        weights = 1.0 if self.class_weights is None else targets @ torch.tensor(self.class_weights).to(logits)
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / count
        return (weights * -(targets * logits.log_softmax(dim=-1)).sum(dim=-1)).mean()


def balanced_weights(labels: Sequence[int], classes: int) -> tuple[float, ...]:
    """N / (classes · N of the class) for every class (King and Zeng 2001; scikit-learn's "balanced"): their mean over
    the clips is 1. Every class must occur.
    """
    counts = [sum(label == one for label in labels) for one in range(classes)]
    return tuple(len(labels) / (classes * count) for count in counts)
