"""The section `analysis` of an experiment: what is measured on trained cells, in which folds, on which clips."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from ..by_name import names_in
from .methods import Count, Section

Baseline = Literal["gaussian", "peft-init", "norm-matched", "permuted"]
#: The measures that are taken unless the config names its own; it may name any file of analysis/measures.
MEASURES = ("contribution", "lens", "ranks", "spectra", "cka", "erasure")
#: Measures that cost many decodings of every clip: only what names them takes them, "all" does not.
COSTLY = ("frontier",)
#: Names that stand for several measures; "all" stands for every file of analysis/measures but the costly.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "paper": ("contribution", "lens", "ranks", "spectra", "cka"),
    "causal": ("erasure", "dial", "rank_dial", "patching"),
    "hearing": ("counterfactual", "recognition"),
}
#: What is measured along a training: all that needs neither an intervention nor a random adapter beside it.
ALONG = ("contribution", "lens", "spectra", "weights")


def _known_measure(name: str) -> str:
    there = names_in("lorascope.analysis.measures")
    if name not in there:
        raise ValueError(f"no measure of this name; {hint(name, [*there, *GROUPS, 'all'], 'give any of')}")
    return name


def _spelt_out(measures: Any) -> Any:
    """One name or several, with every group's own measures in its place; what a group adds is added once."""
    several = [measures] if isinstance(measures, str) else measures
    if not isinstance(several, (list, tuple)):
        return measures
    found: list[Any] = []
    for name in several:
        every = [each for each in names_in("lorascope.analysis.measures") if each not in COSTLY]
        groups = GROUPS if name != "all" else {"all": every}
        group = groups.get(name) if isinstance(name, str) else None
        found += [name] if group is None else [each for each in group if each not in found]
    return tuple(found)


MeasureName = Annotated[str, AfterValidator(_known_measure)]
Epoch = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# numpy's and Hugging Face's seeds end here
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


def hint(given: str, names: Sequence[str], otherwise: str) -> str:
    """The way out of a wrong name: the one that was meant, else all of them."""
    close = difflib.get_close_matches(given, names, n=1)
    return f"did you mean {close[0]}?" if close else f"{otherwise}: {', '.join(names)}"


class AnalysisConfig(Section):
    """What is measured on the trained cells of some `folds` ("first", "all", or names; `fold` names one), on clips of
    their held-out speakers: with `clips_from` "test" of the test speakers, with "test+validation" of those too on whom
    the epoch was chosen; by default the first where they have half of `clips_per_class` of every class.

    `measures` are names of files in analysis/measures, or groups of them (`GROUPS`, "all"). `method` names the method
    that is analysed: by default the first LoRA (LoRA, rsLoRA, PiSSA, AdaLoRA), else the first
    that changes the encoder; its controls are analysed alike. `ranks` are trained beside it for the rank space (at the
    same scale), in the analysed folds. `trajectory` names moments of the training, in epochs (0: before the first
    step), at which the adapter is kept and measured by what `ALONG` names. `draws` counts the shuffles of a null.
    `baselines` are the random adapters beside the trained one (each costs as much as it does). A batch holds
    `batch_size` clips, or as many as have `batch_frames` frames of 20 ms where these are fewer: where they aren't
    given, 8 clips and two windows of 30 s on a CPU (more of them take more memory, and no less time), and on a GPU what
    its memory has room for. A clip's numbers don't depend on its batch. With `precision` bf16 the models run under
    autocast, as trainings do, and the measures in float32; docs/performance.md says which numbers that moves. Past
    `memory_mib` MiB the frames that the flattened variants of ranks and CKA need are kept in a temporary file.
    """

    measures: Annotated[tuple[MeasureName, ...], BeforeValidator(_spelt_out), Field(min_length=1)] = MEASURES
    method: str | None = None
    fold: str | None = None
    folds: Literal["first", "all"] | Annotated[tuple[str, ...], Field(min_length=1)] = "first"
    clips_per_class: Count = 25
    clips_from: Literal["test", "test+validation"] | None = None
    ranks: tuple[Count, ...] = ()
    trajectory: tuple[Epoch, ...] = ()
    batch_size: Count | None = None
    batch_frames: Count | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    draws: Annotated[int, Field(ge=50, strict=True)] = 500
    baselines: Annotated[tuple[Baseline, ...], Field(min_length=1)] = get_args(Baseline)
    memory_mib: Annotated[int, Field(ge=0, strict=True)] = 512
    seed: Seed = 42

    @field_validator("baselines")
    @classmethod
    def _in_their_order(cls, baselines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in get_args(Baseline) if name in baselines)

    @field_validator("trajectory")
    @classmethod
    def _as_they_come(cls, epochs: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(epochs))

    @field_validator("measures", "ranks", "trajectory")
    @classmethod
    def _once(cls, several: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(several)) != len(several):
            raise ValueError("name each once")
        return several

    @field_validator("fold", mode="before")
    @classmethod
    def _name(cls, fold: Any) -> Any:
        return fold if fold is None else str(fold)

    @field_validator("folds", mode="before")
    @classmethod
    def _names(cls, folds: Any) -> Any:
        return tuple(str(name) for name in folds) if isinstance(folds, (list, tuple)) else folds

    @model_validator(mode="after")
    def _one_way_of_naming(self) -> AnalysisConfig:
        if self.fold is not None and self.folds != "first":
            raise ValueError("fold and folds say the same in two ways; give one of them")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """What of this decides an analysis' numbers, given its cells and clips, as plain data."""
        return self.model_dump(mode="json", include={"measures", "draws", "baselines", "precision", "seed"})

    @property
    def along(self) -> AnalysisConfig:
        """What of this is measured at one moment of a training."""
        return self.model_copy(update={"measures": ALONG, "baselines": ()})
