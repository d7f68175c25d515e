"""What a made-up run folder is to hold."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

CLASSES = ("anger", "happiness", "neutrality", "sadness")
RANDOM_MODELS = ("gaussian", "peft-init", "norm-matched", "permuted")


@dataclass(frozen=True)
class Recipe:
    """What a made-up run folder holds."""

    layers: int = 4
    width: int = 24
    speakers: int = 6
    clips_per_class: int = 5
    classes: tuple[str, ...] = CLASSES
    methods: tuple[str, ...] = ("frozen", "lora")
    ranks: tuple[int, ...] = (8, 32)
    modules: tuple[str, ...] = ("v_proj",)
    synthetic: bool = False
    optimistic: tuple[str, ...] = ()
    frozen_model: bool = True
    without: tuple[str, ...] = ()
    clip_prefix: str = "clip"
    skill: dict[str, float] = field(default_factory=lambda: {"frozen": 1.0, "lora": 1.6})
    seed: int = 0


def speaker_names(recipe: Recipe) -> list[str]:
    """The speakers of the made-up corpus."""
    return [f"{3 + index:02d}" for index in range(recipe.speakers)]


def analysed_clips(recipe: Recipe) -> pd.DataFrame:
    """The clips that the made-up analysis looked at: clip, speaker, emotion."""
    rows = [
        (f"{recipe.clip_prefix}-{speaker}-{emotion}-{take}", speaker, emotion)
        for speaker in speaker_names(recipe)[:2]
        for emotion in recipe.classes
        for take in range(recipe.clips_per_class)
    ]
    return pd.DataFrame(rows, columns=["clip", "speaker", "emotion"])
