"""What lorascope writes of an adapter: PEFT's folder, and beside it one small file (`lorascope.json`) that records what
PEFT has no room for: the classes, the context and the backbone's fingerprint. Folders made elsewhere need not have it.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors.torch import load_file, save_file

from ...errors import LorascopeError
from ...store.modes import as_umask_says
from ..head_kinds import DEPTH_WEIGHTS
from .saved_forms import PREFIX

RECORD = "lorascope.json"


@dataclass(frozen=True)
class Record:
    """What lorascope notes beside an adapter: its method, classes in the order of the logits, context, backbone, and
    what of the encoder its head reads.
    """

    method: str
    classes: tuple[str, ...]
    context: str
    backbone: str
    fingerprint: str
    lorascope: str
    head: str = "last"

    def told(self) -> dict[str, Any]:
        """The record as plain data; of the paper's head there is no word, since the key came later."""
        told = asdict(self)
        if self.head == "last":
            del told["head"]
        return told


def save_adapter(peft: PeftModel, folder: Path, record: Record) -> None:
    """Write a PEFT folder (adapter_config.json, adapter_model.safetensors) and the record beside it. What a head weighs
    depths with is among the tensors, under its name in the model, where PEFT loads it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft.save_pretrained(str(folder))
    if record.head == "layer_sum":
        file = folder / "adapter_model.safetensors"
        model: Any = peft.get_base_model()
        weights = model.layer_weights.detach().cpu()
        save_file(load_file(file) | {f"{PREFIX}{DEPTH_WEIGHTS}": weights}, file, metadata={"format": "pt"})
    # PEFT notes the class that it wrapped; others have the stock one
    config = folder / "adapter_config.json"
    stock = {
        "base_model_class": peft.get_base_model().stock.__name__,
        "parent_library": peft.get_base_model().stock.__module__,
    }
    settings = json.loads(config.read_text(encoding="utf-8")) | {"auto_mapping": stock}
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)
    as_umask_says(folder)
    (folder / RECORD).write_text(json.dumps(record.told(), indent=2) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record | None:
    """The record beside an adapter or backbone, None for folders made elsewhere."""
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return Record(**{**data, "classes": tuple(data["classes"])})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise LorascopeError(
            f"{file}: damaged ({error}); delete it and name classes and context with --labels and --context"
        ) from error
