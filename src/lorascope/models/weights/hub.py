"""Find an adapter by folder or hub id: the hub's cache on this machine first, then the hub."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import LorascopeError
from .backbone import hub_refuses

#: The files that tell what an adapter is, and those that hold its weights: PEFT's, or a whole checkpoint's.
ADAPTERS = {
    "adapter_config.json": ("adapter_model.safetensors", "adapter_model.bin"),
    "config.json": (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
}
PATTERNS = ["*.json", "adapter_model.*", "model*.safetensors", "pytorch_model*.bin"]


def adapter_folder(name: str | Path) -> Path:
    """The folder of an adapter named by folder or by hub id (`owner/name`).

    A name that is no folder and doesn't look like an id is given back as a path, for who reads it to refuse. Raises
    `LorascopeError` in one line where neither cache nor hub can serve the id.
    """
    path = Path(name).expanduser()
    identity = str(name)
    if path.is_dir() or path.exists() or not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", identity):
        return path
    cached = _cached(identity)
    if cached is not None:
        return cached
    reason = hub_refuses(identity)
    if reason is None:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(identity, allow_patterns=PATTERNS))
    raise LorascopeError(
        f"adapter {identity}: no such folder; it is not in the hub's cache; {reason}; "
        "give a folder that holds it, or run once where the hub can be reached"
    )


def _cached(identity: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for config, weights in ADAPTERS.items():
        found = try_to_load_from_cache(identity, config)
        if isinstance(found, str) and any(isinstance(try_to_load_from_cache(identity, file), str) for file in weights):
            return Path(found).parent
    return None
