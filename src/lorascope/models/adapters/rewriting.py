"""Write an adapter that was changed to a new folder: its tensors and configuration, what lay beside them, and what was
done to it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ...errors import LorascopeError
from ...store.modes import as_umask_says
from .record import RECORD


def refuse_filled(out: Path) -> None:
    """Raise `LorascopeError` where something lies at `out`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise LorascopeError(f"--out {out}: is not empty; give a new folder")


def write_changed(
    folder: Path,
    out: Path,
    names: tuple[str, str],
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    heading: str,
    done: Sequence[str],
    beside: bool = True,
) -> None:
    """Write what became of the adapter in `folder` to `out`: configuration and tensors under the two `names`, and a
    line of its README for each of `done`. Without `beside` nothing that lies beside it is taken along but its record.
    """
    out.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        told = file.suffix in (".json", ".md", ".txt") and not file.name.endswith(".index.json")
        if file.is_file() and (file.name == RECORD or (beside and told)):
            shutil.copyfile(file, out / file.name)
    settings, weights = names
    (out / settings).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / weights, {"format": "pt"})
    card = out / "README.md"
    before = card.read_text(encoding="utf-8") if card.is_file() else f"# {folder.name}\n"
    changes = "".join(f"- {text}\n" for text in done)
    card.write_text(f"{before.rstrip()}\n\n## {heading}\n\n{changes}", encoding="utf-8")
    as_umask_says(out)
