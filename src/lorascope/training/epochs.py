"""What is decided at the end of epochs: when a training has waited long enough for a better one, and the mean of the
weights after the last ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

from ..errors import LorascopeError
from ..machine import processes

#: Below the score of every epoch that counts: AdaLoRA's that have not their final rank yet.
COUNTS = -1.0


class Patience(TrainerCallback):
    """Ends a training after so many epochs without a better one. It goes by the log alone, so that a training that is
    taken up ends where it would have.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop where the best epoch lies `epochs` back."""
        if self.is_over(state.log_history):
            control.should_training_stop = True

    def is_over(self, history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the best epoch of a log lies `epochs` back."""
        scores = [entry["eval_score"] for entry in history if "eval_score" in entry]
        counting = [score for score in scores if score > COUNTS]
        return bool(counting) and len(counting) - 1 - counting.index(max(counting)) >= self.epochs


class Until(TrainerCallback):
    """Ends a training after an epoch, whatever its schedule was made for."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop where it is over."""
        if round(state.epoch) >= self.epoch:
            control.should_training_stop = True


class LastEpochs(TrainerCallback):
    """Keeps what is trained after each of the last `count` epochs, and gives their mean (Izmailov et al. 2018).

    Each lies in a file of `folder`, so that a training that is taken up has those before it too.
    """

    def __init__(self, count: int, folder: Path) -> None:
        self.count, self.folder = count, folder

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Write this epoch's file; remove those that are too old."""
        processes.on_first(lambda: self._write(round(state.epoch), model))

    def _write(self, epoch: int, model: nn.Module) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / ".partial"
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in _trained(model)}, partial)
        partial.replace(self._file(epoch))
        for file in self.folder.glob("epoch-*"):
            # one more, since a training may be taken up an epoch before
            if not epoch - self.count <= _epoch(file) <= epoch:
                file.unlink()

    def put_mean(self, model: nn.Module) -> None:
        """Give the model the mean of the last `count`. Raises `LorascopeError` where one of them is gone."""
        files = sorted(self.folder.glob("epoch-*"), key=_epoch)[-self.count :]
        last = _epoch(files[-1])
        if len(files) < min(self.count, last) or _epoch(files[0]) != last - len(files) + 1:
            raise LorascopeError(f"{self.folder}: not all of the last epochs are there; delete it and run again")
        kept = [load_file(file) for file in files]
        with torch.no_grad():
            for name, parameter in _trained(model):
                mean = torch.stack([one[name].double() for one in kept]).mean(dim=0)
                parameter.copy_(mean.to(parameter))

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch}.safetensors"


def _epoch(file: Path) -> int:
    return int(file.stem.rpartition("-")[2])


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
