"""One YAML file = one experiment: frozen models that refuse unknown keys, with errors that name the key.

This module knows the shape of a configuration and nothing of what is done with it (`loading` reads one); torch is not
imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from .measuring import MEASURES as MEASURES
from .measuring import AnalysisConfig, Seed
from .methods import (
    LORA_KINDS,
    UNADAPTED,
    WHOLE,
    Count,
    Method,
    Methods,
    Section,
    analysed_method,
    recipe_of,
    with_defaults,
)
from .trainer import TrainerConfig


class CorpusConfig(Section):
    """Which clips: a reader, where the corpus lies, and the experiment's classes.

    `task` says what the classes are of: emotion, whose labels have synonyms, or any other word, whose labels are taken
    as they are and whose `classes` are all that occur unless given. `root` may use environment variables; without it,
    `$LORASCOPE_CORPORA/<reader>`. `label_map` maps the corpus' own labels to classes (null leaves a label out).
    `exclude` lists clip ids. `options` are the reader's own.
    """

    reader: str
    task: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ -]*$")] = "emotion"
    root: str | None = None
    classes: tuple[str, ...] = ("anger", "happiness", "neutrality", "sadness")
    label_map: dict[str, str | None] | None = None
    exclude: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _all_that_occur(cls, data: Any) -> Any:
        other = isinstance(data, dict) and data.get("task", "emotion") != "emotion"
        return {"classes": (), **data} if other else data

    @field_validator("classes")
    @classmethod
    def _several(cls, classes: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not classes and info.data.get("task", "emotion") != "emotion":
            return classes
        if len(classes) < 2 or len(set(classes)) != len(classes):
            raise ValueError("give at least two different classes")
        return classes


class BackboneConfig(Section):
    """Which encoder, and how much of the 30 s window it sees: `trim` (cut to the clip) or
    `full` (30 s, as published).
    """

    name: str
    context: Literal["trim", "full"] = "trim"


class HeadConfig(Section):
    """The head of both conditions: projector to `projection`, mean over frames, classifier."""

    projection: Count = 256


class FoldsConfig(Section):
    """How speakers are dealt out. `selection: test_fold` picks the best epoch on the test part, as the released code
    does: optimistic. `selection: inner_folds` holds out no speaker for it: in each of `inner` inner folds (4) some of
    the training speakers choose epoch and learning rate, then all of them are trained on.

    `group_by` names a column (session, or any other of the corpus) of which nothing may be on both sides of a fold
    either; alone it means the protocol `leave_one_group_out`. `groups` is the number of groups of the protocol
    `speaker_groups`; `test_splits` are the test parts of
    `official_split` (by default all whose name begins with "test"). With a `test_corpus` the protocol is
    `cross_corpus`, and no other. `only` keeps the folds of these names (all by default).
    """

    protocol: Literal[
        "leave_one_speaker_out",
        "leave_one_session_out",
        "leave_one_group_out",
        "speaker_groups",
        "official_split",
        "cross_corpus",
    ] = "leave_one_speaker_out"
    selection: Literal["validation_speaker", "test_fold", "inner_folds"] = "validation_speaker"
    inner: Annotated[int, Field(ge=2, strict=True)] | None = None
    group_by: Annotated[str, Field(min_length=1)] | None = None
    groups: Annotated[int, Field(ge=2, strict=True)] | None = None
    test_splits: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    seed: Seed = 42

    @model_validator(mode="before")
    @classmethod
    def _by_groups(cls, data: Any) -> Any:
        grouped = isinstance(data, dict) and data.get("group_by") is not None
        return {"protocol": "leave_one_group_out", **data} if grouped else data

    @model_validator(mode="after")
    def _of_its_protocol(self) -> FoldsConfig:
        if self.inner is not None and self.selection != "inner_folds":
            raise ValueError("inner is of selection: inner_folds; take it out, or change the selection")
        if self.group_by is None and self.protocol == "leave_one_group_out":
            raise ValueError("protocol: leave_one_group_out needs a column; add group_by")
        if self.group_by is not None and self.protocol in ("leave_one_speaker_out", "leave_one_session_out"):
            raise ValueError(f"group_by is not of protocol: {self.protocol}; take one of the two out")
        if (self.protocol == "speaker_groups") != (self.groups is not None):
            raise ValueError("groups and protocol: speaker_groups go together; give both or neither")
        if self.test_splits and self.protocol != "official_split":
            raise ValueError("test_splits is of protocol: official_split; take it out, or change the protocol")
        return self

    @field_validator("only", "test_splits", mode="before")
    @classmethod
    def _names(cls, only: Any) -> Any:
        return tuple(str(name) for name in only) if isinstance(only, (list, tuple)) else only


def _check_trajectory(name: str, method: Method, epochs: Sequence[float]) -> None:
    if method.kind in WHOLE:
        raise ValueError(
            f"analysis.trajectory: {name} ({method.words}) leaves a whole model behind, and none is kept along the "
            "training; take the trajectory out, or name an adapter with analysis.method"
        )
    if recipe_of(method).patience:
        raise ValueError(
            f"analysis.trajectory: {name} may end before its last moment (patience); take one of the two out"
        )
    longest = getattr(method, "epochs", None)
    if longest is not None and epochs[-1] > longest:
        raise ValueError(f"analysis.trajectory: {epochs[-1]:g} is after the last epoch of {name}, {longest}")


class Experiment(Section):
    """A whole experiment: corpus, backbone, methods, folds, analysis.

    `methods` are settings by names of the user's choice; `frozen` and `lora` are among them unless they are null. With
    a `test_corpus`, `corpus` is trained on and `test_corpus` tested; task and classes are those of `corpus`, its label
    map is its own. `precision` is that of training; the analyses run in float32. `seed` seeds head, adapter, order of
    clips and dropout, in all folds alike. `seeds` are several in its place: everything is trained once with each, and
    what is drawn comes from seed and fold, so that no two folds begin alike. `trainer` holds further arguments of
    Hugging Face's Trainer.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    corpus: CorpusConfig
    test_corpus: CorpusConfig | None = None
    backbone: BackboneConfig
    methods: Methods = Field(default_factory=dict, validate_default=True)
    head: HeadConfig = HeadConfig()
    folds: FoldsConfig = FoldsConfig()
    analysis: AnalysisConfig | None = AnalysisConfig()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: Seed = 42
    seeds: tuple[Seed, ...] = ()
    trainer: TrainerConfig = TrainerConfig()

    @field_validator("methods", mode="before")
    @classmethod
    def _whole(cls, methods: Any) -> Any:
        return with_defaults(methods)

    @field_validator("methods")
    @classmethod
    def _different(cls, methods: Methods) -> Methods:
        given = [(name, method) for name, method in methods.items() if method is not None]
        if not given:
            raise ValueError("all of them are null; keep at least one")
        for number, (name, method) in enumerate(given):
            for other, same in given[:number]:
                if method == same:
                    raise ValueError(f"{other} and {name} are the same method; take one out")
        return methods

    @model_validator(mode="after")
    def _one_schedule(self) -> Experiment:
        for key, name in (("lr_scheduler_type", "schedule"), ("warmup_steps", "warmup")):
            for of, method in self.conditions.items():
                if getattr(self.trainer, key) is not None and name in recipe_of(method).changed():
                    raise ValueError(f"trainer.{key} and methods.{of}.{name} both say it; take one of the two out")
        return self

    @model_validator(mode="after")
    def _searchable(self) -> Experiment:
        for name, method in self.conditions.items():
            if getattr(method, "search", None) is None:
                continue
            if self.folds.selection == "inner_folds":
                raise ValueError(
                    f"methods.{name}.search chooses on the selection clips, and folds.selection: inner_folds has none; "
                    "take one of the two out"
                )
            if self.analysis is not None and self.analysis.ranks and name == self.analysed:
                raise ValueError(f"analysis.ranks: the rank of {name} is searched for; take the ranks out")
        return self

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("name each once")
        return seeds

    @model_validator(mode="after")
    def _analysable(self) -> Experiment:
        config = self.analysis
        if config is None:
            return self
        if config.method is not None and config.method not in self.conditions:
            raise ValueError(f"analysis.method: no method {config.method!r}; there are {', '.join(self.conditions)}")
        name = self.analysed
        if name is not None and self.conditions[name].kind in UNADAPTED:
            raise ValueError(f"analysis.method: {name} changes nothing of the encoder; name a method that does")
        if name is not None and config.ranks and self.conditions[name].kind not in LORA_KINDS:
            raise ValueError(
                f"analysis.ranks: {name} ({self.conditions[name].words}) has no rank space; take the ranks out, "
                "or name a LoRA with analysis.method"
            )
        if name is not None and config.trajectory:
            if self.folds.selection == "inner_folds":
                raise ValueError(
                    "analysis.trajectory: with folds.selection: inner_folds a training ends after its best epoch, "
                    "maybe before its last moment; take one of the two out"
                )
            _check_trajectory(name, self.conditions[name], config.trajectory)
        return self

    @property
    def conditions(self) -> dict[str, Method]:
        """The methods that are run, by name."""
        return {name: method for name, method in self.methods.items() if method is not None}

    @property
    def analysed(self) -> str | None:
        """Name of the method that is analysed, None where there is no analysis or nothing changes the encoder."""
        return None if self.analysis is None else self.analysis.method or analysed_method(self.conditions)

    @model_validator(mode="before")
    @classmethod
    def _second_corpus(cls, data: Any) -> Any:
        """With a test corpus the protocol is `cross_corpus` unless one is given, and the classes are
        those of the first corpus.
        """
        if not isinstance(data, dict) or not isinstance(data.get("test_corpus"), dict):
            return data
        corpus, folds, filled = data.get("corpus"), data.get("folds", {}), {}
        if isinstance(folds, dict):
            filled["folds"] = {"protocol": "cross_corpus", **folds}
        if isinstance(corpus, dict):
            shared = {key: corpus[key] for key in ("task", "classes") if key in corpus}
            filled["test_corpus"] = {**shared, **data["test_corpus"]}
        return data | filled

    @model_validator(mode="after")
    def _one_or_two_corpora(self) -> Experiment:
        if self.test_corpus is None:
            if self.folds.protocol == "cross_corpus":
                raise ValueError("folds.protocol: cross_corpus needs a second corpus; add the section test_corpus")
            return self
        if self.folds.protocol != "cross_corpus":
            raise ValueError(
                f"folds.protocol: {self.folds.protocol} is for one corpus, and test_corpus is tested whole; "
                "take one of the two out"
            )
        if self.test_corpus.classes != self.corpus.classes:
            raise ValueError("test_corpus.classes are not those of corpus; take them out")
        return self
