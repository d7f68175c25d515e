"""An adapter's folder as it lies there: files, configuration, tensors. A sick adapter may not open, so all is read raw,
and nothing that is stored is executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import LorascopeError
from ..models.adapters.folder import RECORD, Record, read_record
from ..models.weights.checkpoints import load_plain

PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
WHOLE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
#: How Git LFS' stand-ins for files begin.
POINTER = b"version https://git-lfs"
WAY_OUT = "save it as safetensors (save_pretrained does)"


@dataclass(frozen=True)
class Damage:
    """A file that isn't whole."""

    file: str
    size: int
    what: str


@dataclass(frozen=True)
class Patient:
    """One adapter's folder. `kind` is a PEFT folder, a whole checkpoint, or a head on a frozen encoder alone."""

    folder: Path
    kind: Literal["peft", "whole", "head"]
    config: dict[str, Any]
    files: tuple[Path, ...]
    damages: tuple[Damage, ...] = ()
    record: Record | None = None
    _memory: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor by its name in the file."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors()}

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one after the other, in the dtype that is stored; only a PEFT folder's stay in memory."""
        if self.kind == "peft":
            if not self._memory:
                self._memory.update(self._read())
            yield from self._memory.items()
        else:
            yield from self._read()

    def _read(self) -> Iterator[tuple[str, Tensor]]:
        for file in self.files:
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    for name in opened.keys():  # noqa: SIM118
                        yield name, opened.get_tensor(name)
            else:
                held = load_plain(file, WAY_OUT)
                held = held.get("state_dict", held) if isinstance(held, dict) else {}
                yield from ((name, tensor) for name, tensor in held.items() if isinstance(tensor, Tensor))

    def settings(self, name: str) -> dict[str, Any]:
        """A JSON file beside the adapter, empty where there is none or it can't be read."""
        return read_settings(self.folder / name)


def read_settings(file: Path) -> dict[str, Any]:
    """A JSON object from a file, empty where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def patients(folder: Path) -> list[Path]:
    """The adapters that a folder holds: itself, or those in its subfolders (two levels down), checkpoints by number.

    Raises `LorascopeError` where there is none, or the folder is a run of lorascope.
    """
    if not folder.is_dir():
        raise LorascopeError(f"adapter {folder}: no such folder; give a folder that PEFT's save_pretrained wrote")
    if _is_adapter(folder):
        return [folder]
    if (folder / "cells").is_dir():
        raise LorascopeError(f"adapter {folder}: a run folder; give its adapters: {folder}/cells/*/adapter")
    below = [each for pattern in ("*", "*/*") for each in folder.glob(pattern) if each.is_dir() and _is_adapter(each)]
    if below:
        return sorted(below, key=_by_number)
    held = sorted(each.name for each in folder.iterdir())
    what = f"it holds {', '.join(held[:3])}{' ...' if len(held) > 3 else ''}" if held else "it is empty"
    raise LorascopeError(
        f"adapter {folder}: no adapter ({what}); give a folder with adapter_config.json, or a whole checkpoint"
    )


def _is_adapter(folder: Path) -> bool:
    names = ("adapter_config.json", *PEFT_WEIGHTS, *WHOLE_WEIGHTS, *INDEXES, "head.safetensors")
    if any((folder / name).is_file() for name in names):
        return True
    return "model_type" in read_settings(folder / "config.json")


def _by_number(folder: Path) -> tuple[str, int, str]:
    last = folder.name.rsplit("-", 1)[-1]
    return str(folder.parent), int(last) if last.isdigit() else -1, folder.name


def read_patient(folder: Path) -> Patient:
    """Read a folder. What isn't whole is noted, not raised."""
    damages: list[Damage] = []
    peft = any((folder / name).is_file() for name in ("adapter_config.json", *PEFT_WEIGHTS))
    if not peft and (folder / "head.safetensors").is_file():
        return Patient(folder, "head", {}, (), (), _record(folder, damages))
    own = "adapter_config.json" if peft else "config.json"
    config = _config(folder / own, damages)
    files = _weights(folder, PEFT_WEIGHTS if peft else WHOLE_WEIGHTS, () if peft else INDEXES, damages)
    damages += [damage for file in files if (damage := _damage(file)) is not None]
    record = _record(folder, damages)
    return Patient(folder, "peft" if peft else "whole", config, files, tuple(damages), record)


def _record(folder: Path, damages: list[Damage]) -> Record | None:
    try:
        return read_record(folder)
    except LorascopeError:
        damages.append(Damage(RECORD, (folder / RECORD).stat().st_size, "is no record of lorascope"))
        return None


def _config(file: Path, damages: list[Damage]) -> dict[str, Any]:
    if not file.is_file():
        damages.append(Damage(file.name, 0, "is not there, beside the weights"))
        return {}
    found = read_settings(file)
    if not found:
        start = file.read_bytes()[: len(POINTER)]
        what = "is a Git LFS pointer" if start == POINTER else "is empty" if not start else "is no JSON object"
        damages.append(Damage(file.name, file.stat().st_size, what))
    return found


def _weights(folder: Path, names: tuple[str, ...], indexes: tuple[str, ...], damages: list[Damage]) -> tuple[Path, ...]:
    for name in names:
        if (folder / name).is_file():
            return (folder / name,)
    for name in indexes:
        if not (folder / name).is_file():
            continue
        shards = read_settings(folder / name).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            damages.append(Damage(name, (folder / name).stat().st_size, "is no list of shards"))
            return ()
        files = [folder / shard for shard in sorted(set(map(str, shards.values())))]
        damages += [
            Damage(file.name, 0, "is not there, though the index names it") for file in files if not file.is_file()
        ]
        return tuple(file for file in files if file.is_file())
    damages.append(Damage(names[0], 0, "is not there: a configuration without weights"))
    return ()


def _damage(file: Path) -> Damage | None:
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(len(POINTER))
    if not size:
        return Damage(file.name, size, "is empty")
    if start == POINTER:
        return Damage(file.name, size, "is a Git LFS pointer, not the weights")
    try:
        if file.suffix != ".safetensors":
            load_plain(file, WAY_OUT)
            return None
        with safe_open(file, framework="pt") as opened:
            if not opened.keys():
                return Damage(file.name, size, "holds no tensors")
    except (SafetensorError, OSError, LorascopeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return Damage(file.name, size, f"cannot be read ({first.removeprefix(f'{file}: ')})")
    return None
