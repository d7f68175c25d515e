"""Which context an encoder can be given: only Whisper has a window of 30 s that `full` could mean."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import LorascopeError
from .features import WINDOW

#: Beginnings of the names of encoders without a window.
WINDOWLESS = ("wav2vec2", "hubert", "wavlm")
#: Context lengths under `trim`, in frames of 20 ms: few, since every new length makes CPU kernels plan again.
BUCKETS = (50, 100, 150, 200, 250, 300, 350, 400, 500, 600, 750, 1000, 1250, WINDOW)


def context_frames(valid: int, context: str, longest: int = WINDOW) -> int:
    """Frames of encoder input for a clip with `valid` frames of speech: the encoder's window of `longest` frames
    (`full`), or the next bucket within it (`trim`).
    """
    return longest if context == "full" else next((b for b in BUCKETS if valid <= b < longest), longest)


def refuse_full(backbone: str, context: str, key: str) -> None:
    """Raise `LorascopeError`, naming `key`, where `context` is full and the backbone's name or folder says that its
    encoder has no window. Reads no weights.
    """
    kind = Path(backbone).name.lower()
    config = Path(backbone).expanduser() / "config.json"
    if config.is_file():
        try:
            kind = str(json.loads(config.read_text(encoding="utf-8")).get("model_type"))
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
            return  # loading the backbone tells it better
    if context == "full" and kind.startswith(WINDOWLESS):
        raise LorascopeError(no_window(backbone, key))


def no_window(backbone: str, key: str) -> str:
    """The sentence that refuses it."""
    return f"{key}: full is Whisper's window of 30 s, which {backbone} has not; use trim"
