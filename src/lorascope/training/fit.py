"""One training run by Hugging Face's Trainer: AdamW, linear decay, the best epoch by the selection clips, resumable."""

from __future__ import annotations

import json
import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import EvalPrediction, get_last_checkpoint

from ..methods import OptimiserConfig
from ..stats import unweighted_average_recall
from .allocation import RankAllocation
from .data import LengthBatches, collate


@dataclass(frozen=True)
class Fit:
    """Outcome of one training run on the selection clips: best epoch, UAR, WAR and mean loss there, every epoch's numbers, and how many parameters were trained."""

    learning_rate: float
    best_epoch: int
    uar: float
    war: float
    loss: float
    history: list[dict[str, float]]
    trained_parameters: int

    @property
    def score(self) -> float:
        """What is maximised: UAR, ties broken by the lower loss."""
        return selection_score(self.uar, self.loss)


def selection_score(uar: float, loss: float) -> float:
    """UAR with ties broken by the lower loss; the second term stays below the smallest step that a UAR can make on 10,000 clips."""
    return uar - 1e-5 * loss / (1 + loss)


class LengthTrainer(Trainer):
    """Trainer over batches of one context length each."""

    def _loader(self, dataset: Any, batch_size: int, seed: int | None) -> DataLoader[Any]:
        batches = LengthBatches(dataset.lengths, batch_size, seed)
        loader = DataLoader(dataset, batch_sampler=batches, collate_fn=collate, pin_memory=torch.cuda.is_available())
        return self.accelerator.prepare(loader)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Training clips, shuffled within and across lengths."""
        return self._loader(self.train_dataset, self.args.train_batch_size, self.args.seed)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Selection clips in a fixed order."""
        return self._loader(eval_dataset or self.eval_dataset, self.args.eval_batch_size, None)


class _Log(TrainerCallback):
    """One JSON line for every log entry, so that a cell's training can be read afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Append the entry with its epoch and step."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


def fit(
    model: nn.Module,
    train: Dataset[Any],
    selection: Dataset[Any],
    classes: int,
    optimiser: OptimiserConfig,
    learning_rate: float,
    seed: int,
    precision: str,
    folder: Path,
    log: Path,
    allocation: RankAllocation | None = None,
) -> Fit:
    """Train in place and leave the model with the weights of its best epoch on the selection clips.

    The best epoch has the highest UAR, ties broken by the lower loss; with `allocation` (AdaLoRA) only epochs that have the final rank count. Checkpoints go to `folder`; a run that was interrupted continues from its
    last one. Every log entry is appended to `log` as a JSON line. `precision` is "fp32", "bf16" or "fp16" (autocast).
    """

    def metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = np.asarray(
            prediction.predictions if not isinstance(prediction.predictions, tuple) else prediction.predictions[0]
        )
        gold = np.asarray(prediction.label_ids)
        predicted = logits.argmax(axis=1)
        loss = cross_entropy(logits, gold)
        uar = unweighted_average_recall(gold, predicted, classes)
        # below every score of an epoch that counts
        early = 2.0 if allocation is not None and not allocation.settled else 0.0
        score = selection_score(uar, loss) - early
        return {"uar": uar, "war": float((gold == predicted).mean()), "ce": loss, "score": score}

    folder.mkdir(parents=True, exist_ok=True)
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=optimiser.epochs,
        per_device_train_batch_size=optimiser.batch_size,
        per_device_eval_batch_size=optimiser.batch_size,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        weight_decay=optimiser.weight_decay,
        max_grad_norm=optimiser.max_grad_norm,
        optim="adamw_torch",
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=True,
        seed=seed,
        data_seed=seed,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=not sys.stderr.isatty(),
    )
    trainer = LengthTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=selection,
        compute_metrics=metrics,
        callbacks=[_Log(log), *([allocation] if allocation else [])],
    )
    trainer.remove_callback(PrinterCallback)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    history = [entry for entry in trainer.state.log_history if "eval_score" in entry]
    best = max(history, key=lambda entry: entry["eval_score"])
    return Fit(
        learning_rate=learning_rate,
        best_epoch=math.ceil(best["epoch"] - 1e-6),
        uar=best["eval_uar"],
        war=best["eval_war"],
        loss=best["eval_ce"],
        history=[
            {"epoch": e["epoch"], "uar": e["eval_uar"], "war": e["eval_war"], "loss": e["eval_ce"]} for e in history
        ],
        trained_parameters=trained,
    )


def cross_entropy(logits: np.ndarray, gold: np.ndarray) -> float:
    """Mean cross-entropy in nats of logits [clips, classes] against gold classes [clips]."""
    return float(nn.functional.cross_entropy(torch.as_tensor(logits, dtype=torch.float64), torch.as_tensor(gold)))
