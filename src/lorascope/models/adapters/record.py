"""What lorascope writes of an adapter: PEFT's folder, and beside it one small file (`lorascope.json`) that records what
PEFT has no room for: the classes, the context and the backbone's fingerprint. Folders made elsewhere need not have it.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from peft import PeftModel

from ...errors import LorascopeError
from ...store.modes import as_umask_says

RECORD = "lorascope.json"


@dataclass(frozen=True)
class Record:
    """What lorascope notes beside an adapter: its method, classes in the order of the logits, context, backbone."""

    method: str
    classes: tuple[str, ...]
    context: str
    backbone: str
    fingerprint: str
    lorascope: str


def save_adapter(peft: PeftModel, folder: Path, record: Record) -> None:
    """Write a PEFT folder (adapter_config.json, adapter_model.safetensors) and the record beside it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft.save_pretrained(str(folder))
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
    (folder / RECORD).write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")


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
