"""A head that starts where the frozen encoder's best linear answer is, not at random: linear probing, then fine-tuning
(Kumar et al. 2022), which keeps the first steps from distorting features that were good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import LorascopeError
from ..experiment.methods import FrozenConfig
from ..experiment.planning import Cell
from ..machine.processes import first_before_others
from ..models.head_kinds import kind_of
from .controls import labels_for
from .course import Course
from .heads import choose_by_inner_folds, choose_shallow, masks_of
from .inputs import Inputs


def start_at_logistic(model: Any, cell: Cell, inputs: Inputs, course: Course) -> None:
    """Give a model's head the logits of the penalised logistic regression on the pooled stream that its head reads, C
    chosen on the selection clips, or by inner folds, as the frozen head's is.

    Raises `LorascopeError` where the projector is too narrow for it.
    """
    pooled = first_before_others(lambda: inputs.pooled(cell.context, cell.method.batch_size))  # pyright: ignore[reportAttributeAccessIssue]
    labels, kind = labels_for(cell, inputs), kind_of(model)
    if kind == "layer_sum" and not model.sums_normed:
        raise LorascopeError(
            f"methods.{cell.name or cell.kind}.head_start: this version of transformers sums over the last depth "
            "before its LayerNorm, of which there is no frozen head; start at random"
        )

    def part(ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        streams = np.stack([pooled[clip] for clip in ids])
        # the sum starts as the depths' mean
        streams = streams.mean(axis=1, keepdims=True) if kind == "layer_sum" else streams
        return streams, np.array([labels[clip] for clip in ids])

    shallow = FrozenConfig(head="concatenated" if kind == "concatenated" else "logistic")
    train, count = part(course.train), len(cell.classes)
    if course.selection is None:
        choice = choose_by_inner_folds(shallow, train, masks_of(course.train, course.inner), count)
    else:
        choice = choose_shallow(shallow, train, part(course.selection), count)
    set_head(model, *choice.head.affine())


def set_head(model: Any, weight: np.ndarray, bias: np.ndarray) -> None:
    """Let projector and classifier give weight · x + bias, [classes, width] and [classes], and nothing of what was
    drawn for them.

    W = U S Vᵀ: the projector's first rows are √S Vᵀ, the classifier's first columns U √S. The other rows stay as they
    were drawn and their columns are zero, so that they give nothing yet and can still be trained, as LoRA's factors.
    Raises `LorascopeError` where the projector has fewer rows than W has rank.
    """
    left, singular, right = np.linalg.svd(weight, full_matrices=False)
    rank = int((singular > singular[0] * 1e-10).sum())
    if rank > model.projector.out_features:
        raise LorascopeError(
            f"head.projection: {model.projector.out_features} is too narrow for head_start: logistic, whose answer has "
            f"rank {rank}; widen it, or start at random"
        )
    root = np.sqrt(singular[:rank])
    with torch.no_grad():
        model.projector.weight[:rank] = torch.as_tensor(root[:, None] * right[:rank])
        model.projector.bias.zero_()
        model.classifier.weight.zero_()
        model.classifier.weight[:, :rank] = torch.as_tensor(left[:, :rank] * root)
        model.classifier.bias.copy_(torch.as_tensor(bias))
