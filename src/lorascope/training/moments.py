"""The adapter kept at moments of its training, so that what it became can be followed from the first step on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from ..machine import processes

#: Where in a cell's folder they lie, by `name_of` their epochs.
FOLDER = "trajectory"


def name_of(epoch: float) -> str:
    """The folder of one moment."""
    return f"epoch-{epoch:g}"


class Moments(TrainerCallback):
    """Saves what is trained at each of `epochs` (0: before the first step), at the step nearest to it, with `save` into
    a folder of `folder` by that name.

    The training itself is what it would be without: nothing is drawn from its generator, and the model trains on.
    """

    def __init__(self, epochs: Sequence[float], folder: Path, save: Callable[[Path], None]) -> None:
        self.epochs, self.folder, self.save = tuple(epochs), folder, save

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Save what is asked for before the first step; a training that is taken up has done so."""
        if state.global_step == 0:
            self._keep(0, args, state, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Save what is asked for at this step."""
        self._keep(state.global_step, args, state, model)

    def _keep(self, step: int, args: Any, state: Any, model: nn.Module) -> None:
        of_epoch = state.max_steps / args.num_train_epochs
        for epoch in self.epochs:
            # a moment after the start is never the start itself
            nearest = max(round(epoch * of_epoch), 1 if epoch else 0)
            if nearest == step:
                processes.on_first(lambda epoch=epoch: self._write(epoch, model))

    def _write(self, epoch: float, model: nn.Module) -> None:
        place = self.folder / name_of(epoch)
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with _undisturbed(model):
            self.save(partial)
        # a training that was killed after this moment comes by again
        shutil.rmtree(place, ignore_errors=True)
        partial.replace(place)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Leave the model in its mode and the generators where they were, whatever saving does."""
    training = model.training
    with torch.random.fork_rng():
        yield
    model.train(training)
