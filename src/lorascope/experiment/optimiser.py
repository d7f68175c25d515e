"""What methods share: a control, the optimiser's settings, and the recipe of those that train an encoder.

This module knows the settings and nothing of what is done with them; torch is not imported here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from .recipe import Recipe
from .section import Count, Positive, Section


class MethodConfig(Section):
    """What all methods share: `control: shuffled_labels` trains the same on labels that are permuted within each
    speaker, in training and validation. What such a method shows was not learnt from the labels.
    """

    control: Literal["shuffled_labels"] | None = None

    @property
    def words(self) -> str:
        """The method in words, with its recipe and its control."""
        words = self.plain_words + self.recipe_words
        return f"{words}, shuffled labels" if self.control else words

    @property
    def recipe_words(self) -> str:
        """What a label tells of how it is trained."""
        return ""

    @property
    def plain_words(self) -> str:
        """The method in words."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What decides a result, as plain data. Without a control there is no word of it: the key came later."""
        return self.model_dump(mode="json", exclude=None if self.control else {"control"})


class OptimiserConfig(MethodConfig):
    """Training by AdamW with linear decay. Several learning rates: each fold takes the one that is best
    on its validation speaker.

    `max_grad_norm` and `weight_decay` are as in Hugging Face's `TrainingArguments`.
    """

    learning_rate: tuple[Positive, ...] = (5e-5,)
    epochs: Count = 20
    batch_size: Count = 8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    max_grad_norm: Positive = 1.0

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _one_or_several(cls, rates: Any) -> Any:
        return tuple(rates) if isinstance(rates, (list, tuple)) else (rates,)

    @field_validator("learning_rate")
    @classmethod
    def _some(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if not rates:
            raise ValueError("give at least one learning rate")
        return rates


class EncoderConfig(Recipe, OptimiserConfig):
    """What trains the encoder, or something in it, and the head with it, by a recipe."""

    def settings(self) -> dict[str, Any]:
        """What decides a result, as plain data. Of the recipe what is the paper's is left out: its keys came later."""
        theirs = super().settings()
        return {name: theirs[name] for name in theirs if name not in Recipe.model_fields} | self.changed()

    @property
    def recipe_words(self) -> str:
        """What of the recipe a label tells: its preset, where it is another than the paper's."""
        head = "" if self.head == "last" else f", {self.head.replace('_', ' ')}"
        return head + ("" if self.recipe == "paper" else f", {self.recipe}")
