"""Checkpoints of a training that may be killed at any moment: which of them are whole, and the log that belongs to the
one that is taken up.

Trainer writes a checkpoint's files into place one after the other. Here they are sealed at the end, so that half a
checkpoint is known as such; old ones are removed only then.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..machine import processes
from ..store import seals
from ..store.folder import read_json, write_text

STATE = "trainer_state.json"
#: What the names of a log's scores begin with where they are those of the last epochs' mean.
MEAN = "mean"


def last_whole(folder: Path) -> Path | None:
    """The newest checkpoint in a folder that is whole and whose best one so far is there too, None where there is none;
    the others are removed.
    """
    steps = {_step(path): path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")}
    whole = [step for step, path in sorted(steps.items()) if seals.fault(path) is None]
    best = {step: read_json(steps[step] / STATE).get("best_global_step") or step for step in whole}
    last = next((step for step in reversed(whole) if best[step] in whole), None)
    kept = set() if last is None else {last, best[last]}
    for step, path in steps.items():
        if step not in kept:
            shutil.rmtree(path)
    return None if last is None else steps[last]


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


class Checkpoints(TrainerCallback):
    """Seals every checkpoint when all processes have written theirs, then removes all but it and the best; to be the
    last of the callbacks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Find the best checkpoint in this folder: its state names the place where it was, which may be another since,
        or relative to another folder.
        """
        if state.best_global_step:
            state.best_model_checkpoint = str(self._at(state.best_global_step))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seal and tidy."""
        processes.on_first(lambda: self._settle(state.global_step, state.best_global_step))

    def _settle(self, step: int, best: int | None) -> None:
        seals.seal(self._at(step))
        for path in self.folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            if _step(path) not in (step, best):
                shutil.rmtree(path)

    def _at(self, step: int) -> Path:
        return self.folder / f"{PREFIX_CHECKPOINT_DIR}-{step}"


class Beside(TrainerCallback):
    """Keeps parameters that are trained beside an adapter, which PEFT doesn't save, in every checkpoint; to come before
    `Checkpoints`.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], folder: Path) -> None:
        self.parameters, self.folder = dict(parameters), folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take up those of the checkpoint from which the training goes on."""
        if state.global_step:
            self.put_back(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write them into the checkpoint."""
        file = self._file(state.global_step)
        processes.on_first(lambda: save_file({k: p.detach().cpu() for k, p in self.parameters.items()}, file))

    def put_back(self, step: int) -> None:
        """Give them the values that they had at a checkpoint."""
        kept = load_file(self._file(step))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(kept[name])

    def _file(self, step: int) -> Path:
        return self.folder / f"{PREFIX_CHECKPOINT_DIR}-{step}" / "beside.safetensors"


class Log(TrainerCallback):
    """One JSON line for every log entry, so that a cell's training can be read afterwards; what a killed run logged
    beyond its checkpoint is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keep what was logged up to the step from which the training goes on."""
        if state.is_world_process_zero:
            lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []
            write_text(self.path, "".join(f"{line}\n" for line in lines if _belongs(line, state.global_step)))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Append the entry with its step."""
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


def _belongs(line: str, step: int) -> bool:
    """Whether a line was logged up to a step, and is neither cut off nor said after a training's last step, since that
    will be said again.
    """
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return entry["step"] <= step and not {"train_runtime", f"{MEAN}_score"} & set(entry)
