"""One training run by Hugging Face's Trainer: AdamW, linear decay, the best epoch by the selection clips, resumable."""

from __future__ import annotations

import hashlib
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.trainer_utils import EvalPrediction

from ..experiment.methods import OptimiserConfig, recipe_of
from ..experiment.trainer import PLAIN, TrainerConfig
from ..machine import processes
from ..machine.devices import has_cuda
from ..models.head_kinds import DEPTH_WEIGHTS
from ..statistics.stats import unweighted_average_recall
from ..store.folder import read_json
from .allocation import RankAllocation
from .arguments import compiled, training_arguments
from .checkpoints import MEAN, STATE, Beside, Checkpoints, Log, last_whole
from .data import Items, LengthBatches, ShareLoader, ShareOfBatches, Weighted, collate
from .epochs import LastEpochs, Patience, Until
from .moments import Moments


@dataclass(frozen=True)
class Fit:
    """Outcome of one training run on the selection clips: best epoch, UAR, WAR and mean loss there, every epoch's
    numbers, how many parameters were trained, and whether those of the adapter `moved` at all.
    """

    learning_rate: float
    best_epoch: int
    uar: float
    war: float
    loss: float
    history: list[dict[str, float]]
    trained_parameters: int
    moved: bool = True

    @property
    def score(self) -> float:
        """What is maximised: UAR, ties broken by the lower loss."""
        return selection_score(self.uar, self.loss)


def selection_score(uar: float, loss: float) -> float:
    """UAR with ties broken by the lower loss; the second term stays below the smallest step that a UAR can make on
    10,000 clips.
    """
    return uar - 1e-5 * loss / (1 + loss)


class LengthTrainer(Trainer):
    """Trainer over batches of one context length each, `batch_size` clips in all processes together.

    The loss of a step is the mean over its batch's clips, whatever the number of processes and of steps in which
    gradients are accumulated (see `ShareOfBatches`).
    """

    def __init__(self, *args: Any, batch_size: int, head_rate: float | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.batch_size, self.head_rate = batch_size, head_rate
        # the weights of the pieces do what Trainer would do by counting labels
        self.model_accepts_loss_kwargs = False

    def _loader(self, dataset: Any, seed: int | None, steps: int, even: bool) -> ShareLoader:
        batches = LengthBatches(dataset.lengths, self.batch_size, seed)
        args = self.args
        return ShareLoader(
            Weighted(dataset),
            batch_sampler=ShareOfBatches(batches, processes.count(), processes.number(), steps, even),
            collate_fn=collate,
            pin_memory=args.dataloader_pin_memory and has_cuda(),
            num_workers=args.dataloader_num_workers,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's share of the training clips, shuffled within and across lengths."""
        return self._loader(self.train_dataset, self.args.seed, self.args.gradient_accumulation_steps, even=False)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """This process's share of the selection clips, in a fixed order."""
        return self._loader(eval_dataset or self.eval_dataset, None, 1, even=True)

    def create_optimizer(self, *model: Any) -> Any:
        """Trainer's own; with `head_rate` the head's parameters are groups of their own, with that learning rate."""
        if self.optimizer is None and self.head_rate is not None:
            trained: Any = next(iter(model), None) or self.model
            head = {id(parameter) for name, parameter in trained.named_parameters() if _of_head(name)}
            optimiser = super().create_optimizer(*model)
            for group in list(optimiser.param_groups):
                theirs = [parameter for parameter in group["params"] if id(parameter) in head]
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in head]
                if theirs:
                    optimiser.add_param_group(group | {"params": theirs, "lr": self.head_rate})
            return optimiser
        return super().create_optimizer(*model)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **rest: Any) -> Any:
        """The mean over this process's piece of a batch, times the piece's weight."""
        inputs = dict(inputs)
        weight = inputs.pop("weight")[0]
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **rest)
        return (loss * weight, outputs) if return_outputs else loss * weight

    def prediction_step(self, *args: Any, **settings: Any) -> Any:
        """Logits, labels and weights, without the loss: a piece's own says nothing of the whole, whose loss is among
        the metrics.
        """
        _, logits, labels = super().prediction_step(*args, **settings)
        return None, logits, labels


class _OwnDraws(TrainerCallback):
    """Draws for dropout that differ between processes: Trainer seeds all of them alike."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seed this process, the first one as ever."""
        if processes.number():
            torch.manual_seed((args.seed + processes.number()) % 2**32)


def fit(
    model: nn.Module,
    train: Items,
    selection: Items | None,
    classes: int,
    optimiser: OptimiserConfig,
    learning_rate: float,
    seed: int,
    precision: str,
    folder: Path,
    log: Path,
    allocation: RankAllocation | None = None,
    trainer: TrainerConfig = PLAIN,
    moments: Moments | None = None,
    until: int | None = None,
) -> Fit:
    """Train in place and leave the model with the weights of its best epoch on the selection clips.

    The best epoch has the highest UAR, ties broken by the lower loss; with `allocation` (AdaLoRA) only epochs that have
    the final rank count. With the recipe's `average` the model is left with the mean of the last epochs' weights.
    Checkpoints go to `folder`; a run that was interrupted continues from its last whole one. Every log entry is
    appended to `log` as a JSON line. `moments` keeps what is trained on the way. `precision` is "fp32", "bf16" or
    "fp16" (autocast); `trainer` adds to Trainer's arguments. To be called by all processes of a run; all end with the
    same. Without `selection` nothing is chosen: the training ends after the epoch `until`, with the schedule of all
    epochs, and of the outcome's scores there are none (NaN).
    """

    def metrics(prediction: EvalPrediction) -> dict[str, float]:
        logits = np.asarray(
            prediction.predictions if not isinstance(prediction.predictions, tuple) else prediction.predictions[0]
        )
        gold, weights = (np.asarray(part) for part in prediction.label_ids)
        # what fills up the last share of a batch is no clip
        logits, gold = logits[weights > 0], gold[weights > 0]
        predicted = logits.argmax(axis=1)
        loss = cross_entropy(logits, gold)
        uar = unweighted_average_recall(gold, predicted, classes)
        # below every score of an epoch that counts
        early = 2.0 if allocation is not None and not allocation.settled else 0.0
        score = selection_score(uar, loss) - early
        return {"uar": uar, "war": float((gold == predicted).mean()), "ce": loss, "score": score}

    folder.mkdir(parents=True, exist_ok=True)
    recipe = recipe_of(optimiser)
    last_epochs = LastEpochs(recipe.average, folder / "last-epochs") if recipe.average > 1 else None
    patience = Patience(recipe.patience) if recipe.patience and selection is not None else None
    end = None if until is None else Until(until)
    beside = _beside(model, folder)
    has_blocks = hasattr(model, "gradient_checkpointing_enable")
    arguments = training_arguments(
        optimiser, learning_rate, seed, precision, folder, trainer, has_blocks, chooses=selection is not None
    )
    training = LengthTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=selection,
        compute_metrics=metrics,
        callbacks=[
            _OwnDraws(),
            Log(log),
            *(each for each in (allocation, moments, patience, last_epochs, beside, end) if each is not None),
            Checkpoints(folder),
        ],
        batch_size=optimiser.batch_size,
        head_rate=recipe.head_learning_rate,
    )
    training.remove_callback(PrinterCallback)
    before = _state(model)
    last = processes.on_first(lambda: last_whole(folder))
    if last is not None and (done := _ended(last, until, patience)):
        # nothing is left to train, only the best epoch to be loaded
        arguments.num_train_epochs = done
    with warnings.catch_warnings(), compiled(model, trainer):
        warnings.simplefilter("ignore")
        training.train(resume_from_checkpoint=None if last is None else str(last))
    if beside is not None:
        beside.put_back(training.state.best_global_step or training.state.global_step)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    history = [entry for entry in training.state.log_history if "eval_score" in entry]
    if last_epochs is not None:
        last_epochs.put_mean(model)
    moved = not before or _state(model) != before
    if selection is None:
        nothing = float("nan")
        last = round(training.state.epoch or 0)
        return Fit(learning_rate, last, nothing, nothing, nothing, [], trained, moved)
    best = max(history, key=lambda entry: entry["eval_score"])
    if last_epochs is not None:
        scores = training.evaluate(metric_key_prefix=MEAN)
        best = history[-1] | {f"eval_{name}": scores[f"{MEAN}_{name}"] for name in ("uar", "war", "ce")}
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
        moved=moved,
    )


def _ended(checkpoint: Path, until: int | None, patience: Patience | None) -> int | None:
    """The epoch after which a training had ended when this checkpoint was written; None where it hadn't, or went
    through all of its epochs.
    """
    state = read_json(checkpoint / STATE)
    epoch = round(state["epoch"])
    over = (until is not None and epoch >= until) or (patience is not None and patience.is_over(state["log_history"]))
    return epoch if over else None


def _beside(model: nn.Module, folder: Path) -> Beside | None:
    """What keeps the weights of depths, where they are trained and the model is an adapter's."""
    if not isinstance(model, PeftModel):
        return None
    weights = getattr(model.get_base_model(), DEPTH_WEIGHTS, None)
    return None if weights is None or not weights.requires_grad else Beside({DEPTH_WEIGHTS: weights}, folder)


def _state(model: nn.Module) -> dict[str, bytes]:
    """A digest of every parameter that is trained, the head's excepted; empty for a head alone."""
    return {
        name: hashlib.sha256(parameter.detach().float().cpu().contiguous().numpy().tobytes()).digest()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not _of_head(name)
    }


def _of_head(name: str) -> bool:
    """Whether a parameter is the head's, whatever lies around it."""
    return bool({"projector", "classifier", DEPTH_WEIGHTS} & set(name.split(".")))


def cross_entropy(logits: np.ndarray, gold: np.ndarray) -> float:
    """Mean cross-entropy in nats of logits [clips, classes] against gold classes [clips]."""
    return float(nn.functional.cross_entropy(torch.as_tensor(logits, dtype=torch.float64), torch.as_tensor(gold)))
