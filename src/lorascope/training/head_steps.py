"""The heads of a frozen encoder that are trained step by step: the same steps as `fit` takes, without Trainer.

On pooled outputs a step is a few thousandths of what it is through an encoder, and nearly all of it would be Trainer's
own: its callbacks, its loader, a checkpoint every epoch. A whole training takes a second or two, so it has no
checkpoints: interrupted, it starts again. It runs on the CPU wherever the encoder ran.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..experiment.methods import OptimiserConfig
from ..statistics.stats import unweighted_average_recall
from .data import LengthBatches, PooledDataset
from .fit import Fit, cross_entropy, selection_score

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def fit_head(
    model: nn.Module,
    train: PooledDataset,
    selection: PooledDataset | None,
    classes: int,
    optimiser: OptimiserConfig,
    learning_rate: float,
    seed: int,
    precision: str,
    log: Path,
    until: int | None = None,
) -> Fit:
    """Train a head in place and leave it with the weights of its best epoch on the selection clips: highest UAR, ties
    broken by the lower loss.

    AdamW with linear decay to zero over all steps, no decay of biases, gradients clipped to `max_grad_norm`, batches in
    the order of `LengthBatches`: what `fit` does, in the same order and arithmetic, since a rate at which training is
    unstable would make another head of another rounding. The head must draw nothing (no dropout). Every epoch's numbers
    go to `log` as JSON lines. Without `selection` it ends after the epoch `until`, as `fit` does.
    """
    batches = LengthBatches(train.lengths, optimiser.batch_size, seed)
    inputs, labels = _tensors(train)
    held_out, gold = (None, None) if selection is None else _tensors(selection)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps = _optimiser(model, learning_rate, optimiser.weight_decay)
    total, done = len(batches) * optimiser.epochs, 0
    history: list[dict[str, float]] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as lines:
        for epoch in range(until or optimiser.epochs):
            batches.set_epoch(epoch)
            losses = []
            model.train()
            for indices in batches:
                for group in steps.param_groups:
                    group["lr"] = learning_rate * ((total - done) / total)
                with _autocast(precision):
                    loss = model(pooled=inputs[indices], labels=labels[indices]).loss
                loss.backward()
                nn.utils.clip_grad_norm_(trained, optimiser.max_grad_norm)
                steps.step()
                steps.zero_grad(set_to_none=True)
                losses.append(loss.detach())
                done += 1
            model.eval()
            told = {"step": done, "epoch": epoch + 1.0, "loss": float(torch.stack(losses).mean())}
            if held_out is None or gold is None:
                lines.write(json.dumps(told) + "\n")
                continue
            with torch.no_grad(), _autocast(precision):
                logits = model(pooled=held_out).logits.float().numpy()
            scores = _scores(logits, gold.numpy(), classes)
            history.append({"epoch": epoch + 1.0, **scores})
            lines.write(json.dumps(told | {f"eval_{name}": value for name, value in scores.items()}) + "\n")
            score = selection_score(scores["uar"], scores["loss"])
            if best is None or score > best[0]:
                best = score, copy.deepcopy(model.state_dict())
    parameters = sum(part.numel() for part in trained)
    if best is None:
        nothing = float("nan")
        return Fit(learning_rate, until or optimiser.epochs, nothing, nothing, nothing, [], parameters)
    model.load_state_dict(best[1])
    number = max(range(len(history)), key=lambda i: selection_score(history[i]["uar"], history[i]["loss"]))
    chosen = history[number]
    return Fit(
        learning_rate,
        number + 1,
        uar=chosen["uar"],
        war=chosen["war"],
        loss=chosen["loss"],
        history=history,
        trained_parameters=parameters,
    )


def _tensors(data: PooledDataset) -> tuple[Tensor, Tensor]:
    return torch.as_tensor(data.pooled), torch.as_tensor(data.labels)


def _optimiser(model: nn.Module, learning_rate: float, decay: float) -> torch.optim.Optimizer:
    """AdamW as Trainer sets it up: biases do not decay."""
    parts: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts[name.endswith("bias")].append(parameter)
    groups = [{"params": parts[False], "weight_decay": decay}, {"params": parts[True], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate)


def _autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", AUTOCAST.get(precision, torch.bfloat16), enabled=precision in AUTOCAST)


def _scores(logits: np.ndarray, gold: np.ndarray, classes: int) -> dict[str, float]:
    predicted = logits.argmax(axis=1)
    return {
        "uar": unweighted_average_recall(gold, predicted, classes),
        "war": float((gold == predicted).mean()),
        "loss": cross_entropy(logits, gold),
    }
