"""What all parts of an experiment are made of: frozen sections that know their keys, and the numbers in them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# strict, since yes and true would pass for 1
Count = Annotated[int, Field(ge=1, strict=True)]
#: A part of a whole that isn't all of it.
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of an experiment: frozen, and every key is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")
