"""How an encoder is trained beside its optimiser: where the head starts, what is done against overfitting, which
weights are kept. The defaults are the paper's; a preset (`recipe: robust`) is other defaults.

This module knows the settings and nothing of what is done with them; torch is not imported here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .section import Count, Positive, Section, Share

Augmentation = Literal["specaugment", "gain", "noise", "speed", "rir"]

#: Augmentations that need a clip's samples, and its features anew; the others change the features that are there.
OF_SAMPLES = ("noise", "speed", "rir")

#: What each preset changes of the defaults. What a method itself gives goes before it.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "robust": {
        "head_start": "logistic",
        "augment": ("gain", "specaugment"),
        "mixup": 0.3,
        "label_smoothing": 0.1,
        "head_dropout": 0.1,
        "schedule": "cosine",
        "warmup": 0.1,
    },
}


class Recipe(Section):
    """What every method that trains an encoder has beside the optimiser's settings; the defaults are the paper's.

    `recipe` is a preset of all the others. `head` reads the encoder's last depth, a learned weighted sum of all depths
    or all of them side by side, as the frozen heads of these names. `head_start: logistic` starts the head as a
    penalised logistic regression on the frozen encoder (linear probing, then fine-tuning); the rest of it and the
    adapter start as ever. `head_learning_rate` is the head's own rate (None: the method's). `schedule` with a `warmup`
    over that share of all steps. `label_smoothing` and `mixup` (alpha of its Beta distribution, 0: none) blur the
    labels, `class_weight: balanced` weighs clips by how rare their class is, `augment` changes training clips anew in
    every epoch, and `head_dropout` drops parts of what the head reads. Training ends after `patience` epochs without a
    better one; the schedule is made for all `epochs`. `average` keeps the mean of the weights after the last so many
    epochs, in place of the best epoch's.
    """

    recipe: Literal["paper", "robust"] = "paper"
    head: Literal["last", "layer_sum", "concatenated"] = "last"
    head_start: Literal["random", "logistic"] = "random"
    head_learning_rate: Positive | None = None
    schedule: Literal["linear", "cosine"] = "linear"
    warmup: Share = 0.0
    label_smoothing: Share = 0.0
    class_weight: Literal["balanced"] | None = None
    mixup: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    augment: tuple[Augmentation, ...] = ()
    head_dropout: Share = 0.0
    patience: Count | None = None
    average: Count = 1

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        name = data.get("recipe") if isinstance(data, dict) else None
        return {**PRESETS[name], **data} if isinstance(name, str) and name in PRESETS else data

    @field_validator("augment")
    @classmethod
    def _augment_in_order(cls, augment: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ("speed", "rir", "noise", "gain", "specaugment") if name in augment)

    @property
    def reads_samples(self) -> bool:
        """Whether training clips are made from their samples anew in every epoch."""
        return any(name in OF_SAMPLES for name in self.augment)

    def changed(self) -> dict[str, Any]:
        """The settings that are not the paper's, as plain data; the preset's name decides nothing."""
        return {
            name: value
            for name, value in self.model_dump(mode="json", include=set(Recipe.model_fields)).items()
            if name != "recipe" and getattr(self, name) != Recipe.model_fields[name].default
        }


#: The paper's own.
PAPER = Recipe()
