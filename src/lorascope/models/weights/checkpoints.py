"""Read checkpoints without running what is in them, and say which file is bad where one is."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from ...errors import LorascopeError

#: What Hugging Face's loaders raise for a config or weights that are missing, damaged or of another kind.
LOAD_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    pickle.UnpicklingError,
    SafetensorError,
    StrictDataclassError,
)


def load_plain(path: Path, way_out: str) -> Any:
    """What a PyTorch file holds, if it is tensors and plain values only (`weights_only=True`); on the CPU, mapped
    where the format allows.

    Raises `LorascopeError` with `way_out` where the file is damaged, or names Python objects, whose
    code would have to be run.
    """
    try:
        is_zip = zipfile.is_zipfile(path)
        code = torch.serialization.get_unsafe_globals_in_checkpoint(str(path)) if is_zip else []
        if not code:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except (*LOAD_ERRORS, AttributeError, IndexError) as error:
        raise LorascopeError(
            f"{path}: not a whole PyTorch file of plain tensors ({type(error).__name__}); {way_out}"
        ) from error
    raise LorascopeError(
        f"{path}: it holds Python objects ({', '.join(sorted(code))}), whose code would have to be run, so it "
        f"is not read; {way_out}"
    )


def explain(target: str, error: Exception) -> LorascopeError:
    """One line for what a Hugging Face loader raised on a folder or hub id: the damaged file by name where there
    is one, and the way out.
    """
    folder = Path(target).expanduser()
    for path in sorted(folder.glob("*.index.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        except (OSError, ValueError, TypeError, KeyError) as damage:
            return LorascopeError(f"{path}: not a list of shards ({_first_line(damage)}); download or save it again")
    tensors = sorted(folder.glob("*.safetensors"))
    for path in tensors:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as damage:
            return LorascopeError(
                f"{path}: not a whole safetensors file ({_first_line(damage)}); download or save it again"
            )
    # the loader looks at these only where there are none of the former
    for path in [] if tensors else sorted(folder.glob("pytorch_model*.bin")):
        try:
            load_plain(path, "download it again, or save it with save_pretrained as model.safetensors")
        except LorascopeError as told:
            return told
    if isinstance(error, pickle.UnpicklingError):
        # in the hub's cache, so no folder to look through; the loader's own text would advise to run what is in there
        return LorascopeError(f"backbone {target}: its weights are not plain tensors; give one with model.safetensors")
    return LorascopeError(
        f"backbone {target}: {_first_line(error)}; give a folder or hub id with config.json and model.safetensors"
    )


def check_whole(
    target: str, title: str, trunk: str, missing: Iterable[str], mismatched: Iterable[Any], keeps_head: bool
) -> None:
    """Raise `LorascopeError` where the loader had to draw weights at random that should have been read.

    `missing` are the names of weights that are not there, `mismatched` (name, shape found, shape by the config) those
    of another shape. Both count in the encoder (names that begin with `trunk`), and those of another shape in the head
    too where it is kept. `title` names the family.
    """
    lost = sorted(key for key in missing if key.startswith(trunk))
    if lost:
        raise LorascopeError(
            f"backbone {target}: {len(lost)} encoder weights are missing, {lost[0]} first; give a "
            f"complete {title} checkpoint"
        )
    wrong = sorted(entry for entry in mismatched if keeps_head or entry[0].startswith(trunk))
    if wrong:
        key, found, expected = wrong[0]
        raise LorascopeError(
            f"backbone {target}: {key} has shape {list(found)}, but config.json asks for {list(expected)} "
            f"({len(wrong)} such weights); "
            "give the config.json that belongs to these weights"
        )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = lines[0].rstrip(".") if lines else type(error).__name__
    # a heading that ends in a colon says nothing without the line below it
    return f"{first} {lines[1].rstrip('.')}" if first.endswith(":") and len(lines) > 1 else first
