"""Heads that are no PEFT adapter: on several depths of a frozen encoder, or on acoustic features; chosen, saved and
loaded.

`layer_sum` is trained by the same Trainer as the paper's head. The others are `shallow`: logistic regression on the
last depth (`logistic`), on one depth (`best_layer`) or on all of them side by side (`concatenated`), and support vector
machines on openSMILE's features. What they choose (depth, C) is chosen on the selection clips, as learning rates are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from .. import __version__
from ..errors import LorascopeError
from ..experiment.methods import ClassicConfig, FrozenConfig
from ..experiment.planning import Cell
from ..models.adapters.folder import RECORD, Record
from ..models.classifier import Head
from ..sound.functionals import versions_of
from ..statistics.shallow import Shallow, fit_logistic, fit_svc
from ..statistics.stats import unweighted_average_recall
from ..store.folder import write_text
from ..store.modes import as_umask_says
from .controls import labels_for
from .fit import cross_entropy, selection_score
from .inputs import Inputs

TENSORS = "head.safetensors"


class LayerSum(nn.Module):
    """SUPERB's head (Yang et al. 2021): a weighted sum of all depths, its weights a softmax of learned numbers, then
    projector and classifier.

    As there, depths are summed as they are, not normalised, and the sum starts as their mean. Weights, projector and
    classifier share the learning rate.
    """

    def __init__(self, depths: int, head: Head) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(depths))
        self.head = head

    def forward(self, pooled: Tensor, labels: Tensor | None = None, **_: Any) -> SequenceClassifierOutput:
        """Logits [clips, classes] of pooled streams [clips, depths, width]; the mean over frames commutes with the
        sum.
        """
        weights = self.layer_weights.softmax(dim=0)
        return self.head((weights[:, None] * pooled).sum(dim=1), labels)


@dataclass(frozen=True)
class Choice:
    """A shallow head with what decided on it: every candidate's settings and scores on the selection clips (`uar`,
    `war`, `loss` of each in `scores`), and which was taken.
    """

    head: Shallow
    depths: tuple[int, ...] | None
    candidates: list[dict[str, Any]]
    chosen: int
    validation: dict[str, float]
    scores: tuple[dict[str, float], ...] = ()


def choose_shallow(
    method: FrozenConfig | ClassicConfig,
    train: tuple[np.ndarray, np.ndarray],
    selection: tuple[np.ndarray, np.ndarray],
    classes: int,
) -> Choice:
    """Fit every candidate (depth, C) on the training clips and keep the one with the highest UAR on the selection
    clips, ties by the lower cross-entropy there.

    `train` and `selection` are inputs and labels: pooled streams [clips, depths, width] for heads on an encoder,
    features [clips, features] for classic ones.
    """
    best: tuple[float, Shallow, tuple[int, ...] | None, int, dict[str, float]] | None = None
    candidates, every = [], []
    for number, (depths, C) in enumerate(product(_depths(method, train[0]), method.C)):
        head = _fitted(method, train, depths, C, classes)
        logits = head.logits(at_depths(selection[0], depths))
        predicted = logits.argmax(axis=1)
        scores = {
            "uar": unweighted_average_recall(selection[1], predicted, classes),
            "war": float((predicted == selection[1]).mean()),
            "loss": cross_entropy(logits, selection[1]),
        }
        depth = {"depth": depths[0]} if depths is not None and len(depths) == 1 else {}
        candidates.append(depth | {"C": C, "validation_uar": scores["uar"], "validation_loss": scores["loss"]})
        every.append(scores)
        score = selection_score(scores["uar"], scores["loss"])
        if best is None or score > best[0]:
            best = (score, head, depths, number, scores)
    assert best is not None
    _, head, depths, chosen, scores = best
    return Choice(head, depths, candidates, chosen, scores, tuple(every))


def choose_by_inner_folds(
    method: FrozenConfig | ClassicConfig,
    whole: tuple[np.ndarray, np.ndarray],
    held: Sequence[np.ndarray],
    classes: int,
) -> Choice:
    """As `choose_shallow`, without selection clips: every candidate's scores are means over inner folds, each of which
    holds out the clips of a mask [clips]; the best is fitted on the `whole` training part.
    """
    inputs, labels = whole
    found = [choose_shallow(method, (inputs[~out], labels[~out]), (inputs[out], labels[out]), classes) for out in held]
    scores = tuple(
        {name: float(np.mean([one[name] for one in same])) for name in ("uar", "war", "loss")}
        for same in zip(*(choice.scores for choice in found), strict=True)
    )
    candidates = [
        candidate | {"validation_uar": own["uar"], "validation_loss": own["loss"]}
        for candidate, own in zip(found[0].candidates, scores, strict=True)
    ]
    best = max(range(len(scores)), key=lambda number: selection_score(scores[number]["uar"], scores[number]["loss"]))
    depths, C = list(product(_depths(method, whole[0]), method.C))[best]
    return Choice(_fitted(method, whole, depths, C, classes), depths, candidates, best, scores[best], scores)


def _fitted(
    method: FrozenConfig | ClassicConfig,
    train: tuple[np.ndarray, np.ndarray],
    depths: tuple[int, ...] | None,
    C: float,
    classes: int,
) -> Shallow:
    inputs = at_depths(train[0], depths)
    if isinstance(method, ClassicConfig):
        return fit_svc(inputs, train[1], classes, C, method.kernel)
    return fit_logistic(inputs, train[1], classes, C)


def masks_of(ids: Sequence[str], held: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """What inner folds hold out of the clips `ids`, as masks [clips]."""
    return [np.isin(ids, list(out)) for out in held]


def _depths(method: FrozenConfig | ClassicConfig, inputs: np.ndarray) -> list[tuple[int, ...] | None]:
    if isinstance(method, ClassicConfig):
        return [None]
    every = range(inputs.shape[1])
    return {
        "logistic": [(every[-1],)],
        "best_layer": [(depth,) for depth in every],
        "concatenated": [tuple(every)],
    }[method.head]


def at_depths(inputs: np.ndarray, depths: Sequence[int] | None) -> np.ndarray:
    """Pooled streams [clips, depths, width] at some depths, side by side, [clips, features]; features without depths as
    they are.
    """
    return inputs if depths is None else inputs[:, list(depths)].reshape(len(inputs), -1)


def fit_at_once(
    cell: Cell, inputs: Inputs, selection: Sequence[str], folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Choose a cell's shallow head on the selection clips and save it in its folder; returns what of the metrics was
    decided by it.
    """
    say(f"{cell.label}, {cell.where}")
    assert isinstance(cell.method, (FrozenConfig, ClassicConfig))
    fixed, labels = inputs.fixed(cell.method, cell.context), labels_for(cell, inputs)

    def part(ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([fixed[clip] for clip in ids]), np.array([labels[clip] for clip in ids])

    fold, count = cell.fold, len(cell.classes)
    if fold.inner:
        choice = choose_by_inner_folds(cell.method, part(fold.train), masks_of(fold.train, fold.inner), count)
    else:
        choice = choose_shallow(cell.method, part(fold.train), part(selection), count)
    chosen = choice.candidates[choice.chosen]
    write_text(folder / "train.log", "".join(json.dumps(candidate) + "\n" for candidate in choice.candidates))
    features = {"features": versions_of(cell.method.features)} if isinstance(cell.method, ClassicConfig) else {}
    about = head_record(cell, *inputs.backbone) | {"depths": choice.depths, "C": chosen["C"]} | features
    save_head(folder / "adapter", about, choice.head.tensors())
    return {
        "trainable_parameters": choice.head.parameters,
        "validation": choice.validation,
        "candidates": choice.candidates,
        "chosen": chosen,
        **features,
    }


def head_record(cell: Cell, backbone: str, fingerprint: str) -> dict[str, Any]:
    """What is noted beside a head: what is noted beside every adapter, and which head it is."""
    record = Record(cell.kind, cell.classes, cell.context, backbone, fingerprint, __version__)
    method = cell.method
    return record.told() | {"head": method.head if isinstance(method, FrozenConfig) else method.kind}


@dataclass(frozen=True)
class SavedHead:
    """A saved head: its tensors and what `lorascope.json` tells (`head`, `depths`, `C`, `classes`, ...)."""

    about: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """Logits [clips, classes] of pooled streams [clips, depths, width], for a classic head of features [clips,
        features].
        """
        if self.about["head"] != "layer_sum":
            return Shallow.from_tensors(self.tensors).logits(at_depths(inputs, self.about["depths"]))
        projector, classifier = (self.tensors[f"head.{part}.weight"] for part in ("projector", "classifier"))
        head = Head(projector.shape[1], len(projector), len(classifier))
        model = LayerSum(len(self.tensors["layer_weights"]), head)
        model.load_state_dict({name: torch.as_tensor(tensor) for name, tensor in self.tensors.items()})
        with torch.no_grad():
            return model(torch.as_tensor(inputs)).logits.numpy()


def save_head(folder: Path, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a head's tensors, and beside them what it is."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}, folder / TENSORS)
    as_umask_says(folder / TENSORS)
    (folder / RECORD).write_text(json.dumps(dict(about), indent=2) + "\n", encoding="utf-8")


def load_head(folder: Path) -> SavedHead:
    """Read what `save_head` wrote. Raises `LorascopeError` naming the folder where it holds no such head."""
    try:
        return SavedHead(json.loads((folder / RECORD).read_text(encoding="utf-8")), load_file(folder / TENSORS))
    except (OSError, json.JSONDecodeError) as error:
        raise LorascopeError(
            f"head {folder}: cannot be read ({error}); give the adapter folder of a cell whose head is not the paper's "
            "own"
        ) from error
