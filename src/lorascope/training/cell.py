"""One cell: (backbone, method, corpus, fold, seed) → adapter or head, predictions of the test speaker, metrics.

A cell is named by the hash of everything that decides its result. It is trained with each candidate learning rate; the one that is best on
the selection clips is kept; only then are the test clips predicted, once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import PeftModel
from sklearn.metrics import confusion_matrix
from torch import nn

from .. import __version__
from ..audio import Clip
from ..config import LoraConfig
from ..models.adaptation import Record, add_head_only, add_lora, head_tensors, load_adapter, read_adapter, save_adapter
from ..models.backbone import Backbone
from ..models.classifier import Head, SpeechClassifier, initialise_head, masked_mean
from ..models.families import parts_of
from ..planning import Cell
from ..progress import bar
from ..stats import unweighted_average_recall
from ..store import RunFolder, read_json, write_json
from .data import ClipDataset, LengthBatches, PooledDataset, collate
from .fit import Fit, cross_entropy, fit


@dataclass
class Inputs:
    """What the cells of a run share: the clips' features and labels, and the backbone, loaded anew for every model that changes it.

    `load(classes...)` gives a fresh backbone. `device` is where models run.
    """

    clips: Mapping[str, Clip]
    labels: Mapping[str, int]
    speakers: Mapping[str, str]
    load: Callable[[], Backbone]
    device: str

    def __post_init__(self) -> None:
        self._pooled: dict[str, dict[str, np.ndarray]] = {}

    def pooled(self, context: str, batch_size: int) -> dict[str, np.ndarray]:
        """Every clip's frozen encoder output, pooled, [width] by id: each clip passes through the encoder once for all folds."""
        if context not in self._pooled:
            ids = list(self.clips)
            backbone = self.load()
            model = backbone.model.to(self.device)  # pyright: ignore[reportArgumentType]
            outputs = encode_clips(model, ids, self.clips, context, batch_size)
            self._pooled[context] = dict(zip(ids, outputs, strict=True))
        return self._pooled[context]


@torch.no_grad()
def encode_clips(
    model: SpeechClassifier,
    ids: Sequence[str],
    clips: Mapping[str, Clip],
    context: str,
    batch_size: int,
) -> np.ndarray:
    """Pooled encoder output of clips in the order of `ids`, [clips, width]; pooled over valid frames under `trim`."""
    return _over_batches(
        lambda features, valid: masked_mean(model.encode(features, valid), valid),
        model,
        ids,
        clips,
        context,
        batch_size,
    )


@torch.no_grad()
def predict_clips(
    model: nn.Module, ids: Sequence[str], clips: Mapping[str, Clip], context: str, batch_size: int
) -> np.ndarray:
    """Logits of clips in the order of `ids`, [clips, classes]."""
    return _over_batches(
        lambda features, valid: model(features, valid=valid).logits, model, ids, clips, context, batch_size
    )


def _over_batches(
    function: Callable[[Any, Any], Any],
    model: nn.Module,
    ids: Sequence[str],
    clips: Mapping[str, Clip],
    context: str,
    batch_size: int,
) -> np.ndarray:
    model.eval()
    device = next(model.parameters()).device
    dataset = ClipDataset(ids, dict.fromkeys(ids, 0), clips, context)
    rows: list[np.ndarray | None] = [None] * len(dataset)
    for indices in bar(LengthBatches(dataset.lengths, batch_size, None), "encoding clips"):
        batch = {key: tensor.to(device) for key, tensor in collate([dataset[index] for index in indices]).items()}
        for index, row in zip(
            indices, function(batch["input_features"], batch.get("valid")).float().cpu().numpy(), strict=True
        ):
            rows[index] = row
    return np.stack([row for row in rows if row is not None])


def run_cell(
    cell: Cell, inputs: Inputs, run: RunFolder, fingerprint: str, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Train and evaluate a cell, or read it where it is whole already; returns the content of its metrics.json.

    Interrupted, it continues with the candidates that are done and the last checkpoint of the one that isn't. `say` is told what is being done.
    """
    name = cell.identity(fingerprint, inputs.clips, inputs.labels)
    if not run.is_whole(name):
        start = time.perf_counter()
        with run.building(name) as folder:
            metrics = _train_and_test(cell, inputs, folder, say)
            write_json(folder / "metrics.json", metrics | {"hash": name, "seconds": time.perf_counter() - start})
    # only now, since a run that is killed before the move starts again from the candidates
    for leftover in run.cell(name).glob("candidate-*"):
        shutil.rmtree(leftover)
    return read_json(run.cell(name) / "metrics.json")


def _train_and_test(cell: Cell, inputs: Inputs, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    selection = cell.fold.validation if cell.fold.selection == "validation_speaker" else cell.fold.test
    fits: list[Fit] = []
    for number, rate in enumerate(cell.method.learning_rate):
        candidate = folder / f"candidate-{number}"
        done = candidate / "fit.json"
        if not done.is_file():
            say(f"{cell.label}, fold {cell.fold.name}, learning rate {rate:g}")
            trained = _train_candidate(cell, inputs, selection, rate, candidate)
            write_json(done, asdict(trained))
            shutil.rmtree(candidate / "trainer")
        fits.append(Fit(**read_json(done)))
    chosen = max(range(len(fits)), key=lambda number: fits[number].score)
    with (folder / "train.log").open("w", encoding="utf-8") as log:
        for number in range(len(fits)):
            log.write((folder / f"candidate-{number}" / "log.jsonl").read_text(encoding="utf-8"))
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    shutil.copytree(folder / f"candidate-{chosen}" / "adapter", folder / "adapter")
    model = load_adapter(inputs.load(), folder / "adapter").to(inputs.device)
    logits = _test_logits(cell, inputs, model)
    metrics = _metrics(cell, inputs, logits, fits, chosen, _trained_parameters(cell, folder / "adapter"))
    _predictions(cell, inputs, logits).to_parquet(folder / "predictions.parquet", index=False)
    return metrics


@torch.no_grad()
def _test_logits(cell: Cell, inputs: Inputs, model: PeftModel) -> np.ndarray:
    if cell.kind == "lora":
        return predict_clips(model, cell.fold.test, inputs.clips, cell.context, cell.method.batch_size)
    pooled = inputs.pooled(cell.context, cell.method.batch_size)
    stacked = torch.as_tensor(np.stack([pooled[clip] for clip in cell.fold.test]), device=inputs.device)
    return parts_of(model).apply_head(stacked).cpu().numpy()


def _train_candidate(cell: Cell, inputs: Inputs, selection: Sequence[str], rate: float, folder: Path) -> Fit:
    backbone = inputs.load()
    model: PeftModel | Head
    if isinstance(cell.method, LoraConfig):
        method = cell.method
        model = add_lora(backbone.model, method.rank, method.alpha, method.dropout, method.targets, cell.seed)
        train, held_out = (
            ClipDataset(ids, inputs.labels, inputs.clips, cell.context) for ids in (cell.fold.train, selection)
        )
    else:
        pooled = inputs.pooled(cell.context, cell.method.batch_size)
        model = Head(backbone.width, cell.projection, len(cell.classes))
        initialise_head(model, cell.seed)
        train, held_out = (
            PooledDataset(np.stack([pooled[c] for c in ids]), [inputs.labels[c] for c in ids])
            for ids in (cell.fold.train, selection)
        )
    result = fit(
        model,
        train,
        held_out,
        len(cell.classes),
        cell.method,
        rate,
        cell.seed,
        cell.precision,
        folder / "trainer",
        folder / "log.jsonl",
    )
    peft = model if isinstance(model, PeftModel) else add_head_only(backbone.model, model)
    record = Record(cell.kind, cell.classes, cell.context, backbone.name, backbone.fingerprint, __version__)
    save_adapter(peft.eval(), folder / "adapter", record)
    return result


def _trained_parameters(cell: Cell, folder: Path) -> int:
    _, tensors = read_adapter(folder)
    trained = tensors if cell.kind == "lora" else head_tensors(tensors)
    return sum(tensor.numel() for tensor in trained.values())


def _metrics(
    cell: Cell, inputs: Inputs, logits: np.ndarray, fits: Sequence[Fit], chosen: int, trainable: int
) -> dict[str, Any]:
    gold = np.array([inputs.labels[clip] for clip in cell.fold.test])
    predicted = logits.argmax(axis=1)
    best = fits[chosen]
    candidates = [
        {
            "learning_rate": f.learning_rate,
            "best_epoch": f.best_epoch,
            "validation_uar": f.uar,
            "validation_loss": f.loss,
        }
        for f in fits
    ]
    return {
        "method": cell.kind,
        "label": cell.label,
        "role": cell.role,
        "backbone": cell.backbone,
        "context": cell.context,
        "rank": cell.rank,
        "trainable_parameters": trainable,
        "fold": cell.fold.name,
        "test_speakers": list(cell.fold.test_speakers),
        "validation_speakers": list(cell.fold.validation_speakers),
        "clips": {part: len(getattr(cell.fold, part)) for part in ("train", "validation", "test")},
        "classes": list(cell.classes),
        "uar": unweighted_average_recall(gold, predicted, len(cell.classes)),
        "war": float((gold == predicted).mean()),
        "loss": cross_entropy(logits, gold),
        "confusion": confusion_matrix(gold, predicted, labels=range(len(cell.classes))).tolist(),
        "validation": {"uar": best.uar, "war": best.war, "loss": best.loss},
        "candidates": candidates,
        "chosen": candidates[chosen] | {"epochs": cell.method.epochs, "batch_size": cell.method.batch_size},
        "optimistic": list(cell.fold.optimistic),
    }


def _predictions(cell: Cell, inputs: Inputs, logits: np.ndarray) -> pd.DataFrame:
    ids = list(cell.fold.test)
    table = pd.DataFrame(
        {
            "clip": ids,
            "speaker": [inputs.speakers[clip] for clip in ids],
            "emotion": [cell.classes[inputs.labels[clip]] for clip in ids],
            "predicted": [cell.classes[index] for index in logits.argmax(axis=1)],
            "fold": cell.fold.name,
        }
    )
    return table.join(pd.DataFrame(logits, columns=[f"logit_{name}" for name in cell.classes]))
