"""LoRA that was trained for another task on the same encoder (speech recognition, or a bare model): its encoder
factors under our names.

The same encoder lies at different places of different classes: `model.encoder` of `WhisperForConditionalGeneration`,
`encoder` of a bare `WhisperModel`, `wav2vec2.encoder` of `Wav2Vec2ForCTC`. Below that place the names agree, so a
module is found by the end of its name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig
from peft.utils.other import get_pattern_key
from torch import Tensor

#: What PEFT puts before the wrapped model's own names.
PREFIX = "base_model.model."

#: Pieces of a name that tell what a factor outside the encoder belongs to, the first that fits.
PLACES = {
    "encoder_attn": "cross-attention",
    "decoder": "decoder",
    "lm_head": "head of another task",
    "proj_out": "head of another task",
    "projector": "head",
    "classifier": "head",
}


@dataclass(frozen=True)
class Mapped:
    """A LoRA of the encoder alone: a configuration that names every module, and the tensors under
    PEFT's names for our model.

    `left_out` counts what lies elsewhere, in words; `strays` are modules of an encoder's blocks
    that this encoder has not.
    """

    config: LoraConfig
    tensors: dict[str, Tensor]
    left_out: dict[str, int]
    strays: tuple[str, ...]


def map_lora(config: LoraConfig, tensors: Mapping[str, Tensor], modules: Collection[str]) -> Mapped:
    """Map an adapter's factors to the encoder modules named in `modules` (`encoder.layers.0.self_attn.q_proj`, ...).

    Ranks are those of the factors; alpha is the configuration's, by its `alpha_pattern` where that names the module.
    """
    names = ModuleNames(modules)
    mapped: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    left_out: Counter[str] = Counter()
    strays: dict[str, None] = {}
    for name, tensor in tensors.items():
        path, is_factor, rest = name.removeprefix(PREFIX).partition(".lora_")
        own = names.find(path) if is_factor else None
        if own is not None:
            mapped[f"{PREFIX}{own}.lora_{rest}"] = tensor
            if rest.startswith(("A.", "embedding_A")):
                ranks[own] = tensor.shape[0]
                pattern = config.alpha_pattern or {}
                alphas[own] = pattern.get(get_pattern_key(list(pattern), path), config.lora_alpha)
        elif not is_factor:
            left_out["saved modules and other tensors"] += 1
        elif (place := _place(path)) is None and re.search(r"(^|\.)layers\.\d+\.", path):
            strays[path] = None
        elif rest.startswith(("A.", "embedding_A")):
            left_out[f"factor pairs of the {place}" if place else "factor pairs elsewhere"] += 1
    settings = {key: getattr(config, key) for key in ("use_rslora", "use_dora", "lora_bias")}
    return Mapped(explicit_lora(ranks, alphas, **settings), mapped, dict(left_out), tuple(strays))


def explicit_lora(ranks: Mapping[str, int], alphas: Mapping[str, float], **settings: Any) -> LoraConfig:
    """A configuration that names every module with its rank and alpha."""
    # PEFT matches the names in patterns as regular expressions, from the end
    return LoraConfig(
        target_modules=list(ranks),
        rank_pattern={re.escape(name): rank for name, rank in ranks.items()},
        alpha_pattern={re.escape(name): alpha for name, alpha in alphas.items()},  # pyright: ignore[reportArgumentType]
        bias="none",
        **settings,
    )


def _place(path: str) -> str | None:
    pieces = path.split(".")
    return next((words for piece, words in PLACES.items() if piece in pieces), None)


class ModuleNames:
    """Finds a module by the end that its name shares with another class' name for it."""

    def __init__(self, modules: Collection[str]) -> None:
        self._modules = frozenset(modules)
        ends = Counter(end for module in self._modules for end in _ends(module))
        self._by_end = {end: module for module in self._modules for end in _ends(module) if ends[end] == 1}

    def find(self, path: str) -> str | None:
        """The module that another class calls `path`; None where it is none of them, or may be several."""
        for end in _ends(path):
            if end in self._modules:
                return end
        return self._by_end.get(path)


def _ends(path: str) -> Iterator[str]:
    pieces = path.split(".")
    return (".".join(pieces[first:]) for first in range(len(pieces)))
