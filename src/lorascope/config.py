"""One YAML file = one experiment: frozen models that refuse unknown keys, with errors that name the key.

This module knows the shape of a configuration and nothing of what is done with it; torch is not imported here.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import LorascopeError

ATTENTION_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
MEASURES = ("contribution", "lens", "ranks", "spectra", "cka", "erasure")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# strict, since yes and true would pass for 1
Count = Annotated[int, Field(ge=1, strict=True)]
# numpy's and Hugging Face's seeds end here
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CorpusConfig(_Section):
    """Which clips: a reader, where the corpus lies, and the experiment's classes.

    `root` may use environment variables; without it, `$LORASCOPE_CORPORA/<reader>`. `label_map` maps the corpus' own labels to classes
    (null leaves a label out). `exclude` lists clip ids. `options` are the reader's own.
    """

    reader: str
    root: str | None = None
    classes: tuple[str, ...] = ("anger", "happiness", "neutrality", "sadness")
    label_map: dict[str, str | None] | None = None
    exclude: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("classes")
    @classmethod
    def _several(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2 or len(set(classes)) != len(classes):
            raise ValueError("give at least two different classes")
        return classes


class BackboneConfig(_Section):
    """Which encoder, and how much of the 30 s window it sees: `trim` (cut to the clip) or `full` (30 s, as published)."""

    name: str
    context: Literal["trim", "full"] = "trim"


class OptimiserConfig(_Section):
    """Training by AdamW with linear decay. Several learning rates: each fold takes the one that is best on its validation speaker.

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


class FrozenConfig(OptimiserConfig):
    """The baseline: encoder frozen, head trained."""


class LoraConfig(OptimiserConfig):
    """LoRA on the attention projections (Hu et al. 2021), and the head trained with it.

    The update of a layer is `alpha / rank · B A`; defaults are the released hyper-parameters of the paper.
    """

    rank: Count = 32
    alpha: Positive = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    targets: tuple[Literal["q_proj", "k_proj", "v_proj", "out_proj"], ...] = ("v_proj",)

    @field_validator("targets")
    @classmethod
    def _in_order(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        if not targets:
            raise ValueError("name at least one projection")
        return tuple(name for name in ATTENTION_PROJECTIONS if name in targets)


class MethodsConfig(_Section):
    """The conditions to train; leave one out with null."""

    frozen: FrozenConfig | None = FrozenConfig()
    lora: LoraConfig | None = LoraConfig()

    @model_validator(mode="after")
    def _any(self) -> MethodsConfig:
        if self.frozen is None and self.lora is None:
            raise ValueError("both frozen and lora are null; keep at least one")
        return self


class HeadConfig(_Section):
    """The head of both conditions: projector to `projection`, mean over frames, classifier."""

    projection: Count = 256


class FoldsConfig(_Section):
    """How speakers are dealt out. `selection: test_fold` picks the best epoch on the test part, as the released code does: optimistic.

    `groups` is the number of groups of the protocol `speaker_groups`; `test_splits` are the test parts of `official_split` (by default all whose name begins with
    "test"). With a `test_corpus` the protocol is `cross_corpus`, and no other. `only` keeps the folds of these names (all by default).
    """

    protocol: Literal[
        "leave_one_speaker_out", "leave_one_session_out", "speaker_groups", "official_split", "cross_corpus"
    ] = "leave_one_speaker_out"
    selection: Literal["validation_speaker", "test_fold"] = "validation_speaker"
    groups: Annotated[int, Field(ge=2, strict=True)] | None = None
    test_splits: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    seed: Seed = 42

    @model_validator(mode="after")
    def _of_its_protocol(self) -> FoldsConfig:
        if (self.protocol == "speaker_groups") != (self.groups is not None):
            raise ValueError("groups and protocol: speaker_groups go together; give both or neither")
        if self.test_splits and self.protocol != "official_split":
            raise ValueError("test_splits is of protocol: official_split; take it out, or change the protocol")
        return self

    @field_validator("only", "test_splits", mode="before")
    @classmethod
    def _names(cls, only: Any) -> Any:
        return tuple(str(name) for name in only) if isinstance(only, (list, tuple)) else only


class AnalysisConfig(_Section):
    """What is measured on one fold's trained cells, on clips of its held-out speakers. `fold` defaults to the first one.

    `ranks` are trained beside the main adapter for the rank space (same alpha / rank). `draws` counts bootstrap and permutation draws.
    """

    measures: Annotated[
        tuple[Literal["contribution", "lens", "ranks", "spectra", "cka", "erasure"], ...], Field(min_length=1)
    ] = MEASURES
    fold: str | None = None
    clips_per_class: Count = 25
    ranks: tuple[Count, ...] = ()
    batch_size: Count = 8
    draws: Annotated[int, Field(ge=50, strict=True)] = 500
    seed: Seed = 42

    @field_validator("measures", "ranks")
    @classmethod
    def _once(cls, several: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(several)) != len(several):
            raise ValueError("name each once")
        return several

    @field_validator("fold", mode="before")
    @classmethod
    def _name(cls, fold: Any) -> Any:
        return fold if fold is None else str(fold)


class Experiment(_Section):
    """A whole experiment: corpus, backbone, methods, folds, analysis.

    With a `test_corpus`, `corpus` is trained on and `test_corpus` tested; its classes are those of `corpus`, its label map is its own. `precision` is that of training; the
    analyses run in float32. `seed` seeds head, adapter, order of clips and dropout.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    corpus: CorpusConfig
    test_corpus: CorpusConfig | None = None
    backbone: BackboneConfig
    methods: MethodsConfig = MethodsConfig()
    head: HeadConfig = HeadConfig()
    folds: FoldsConfig = FoldsConfig()
    analysis: AnalysisConfig | None = AnalysisConfig()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: Seed = 42

    @model_validator(mode="before")
    @classmethod
    def _second_corpus(cls, data: Any) -> Any:
        """With a test corpus the protocol is `cross_corpus` unless one is given, and the classes are those of the first corpus."""
        if not isinstance(data, dict) or not isinstance(data.get("test_corpus"), dict):
            return data
        corpus, folds, filled = data.get("corpus"), data.get("folds", {}), {}
        if isinstance(folds, dict):
            filled["folds"] = {"protocol": "cross_corpus", **folds}
        if isinstance(corpus, dict) and "classes" in corpus:
            filled["test_corpus"] = {"classes": corpus["classes"], **data["test_corpus"]}
        return data | filled

    @model_validator(mode="after")
    def _one_or_two_corpora(self) -> Experiment:
        if self.test_corpus is None:
            if self.folds.protocol == "cross_corpus":
                raise ValueError("folds.protocol: cross_corpus needs a second corpus; add the section test_corpus")
            return self
        if self.folds.protocol != "cross_corpus":
            raise ValueError(
                f"folds.protocol: {self.folds.protocol} is for one corpus, and test_corpus is tested whole; take one of the two out"
            )
        if self.test_corpus.classes != self.corpus.classes:
            raise ValueError("test_corpus.classes are not those of corpus; take them out")
        return self


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment's YAML file and apply `key.path=value` overrides (values are YAML).

    Raises `LorascopeError` naming the file and the key where one is unknown, missing or wrong.
    """
    file = Path(path)
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise LorascopeError(f"{path}: {error.strerror}; give the path of an experiment's YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LorascopeError(f"{path}: not YAML: {_told(error)}; mend the file") from error
    if not isinstance(data, dict):
        raise LorascopeError(f"{path}: expected keys and values at the top, such as `name: my-experiment`")
    for override in overrides:
        _apply(data, override)
    return experiment_from(data, str(path))


def experiment_from(data: dict[str, Any], source: str = "experiment") -> Experiment:
    """Validate a mapping as an `Experiment`; `source` names it in errors. Raises `LorascopeError` on the first wrong key."""
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        raise LorascopeError(f"{source}: {_explain(error)}") from error
    changed = {
        key: section.model_copy(update={"root": _expanded(section.root, f"{source}: {key}.root")})
        for key, section in (("corpus", experiment.corpus), ("test_corpus", experiment.test_corpus))
        if section is not None and section.root is not None
    }
    return experiment.model_copy(update=changed) if changed else experiment


def _expanded(root: str, where: str) -> str:
    """A root with its environment variables and home written out."""
    written = os.path.expandvars(root)
    if not written:
        raise LorascopeError(f"{where}: {root!r} is empty; write the path, or take the key out")
    try:
        expanded = str(Path(written).expanduser())
    except RuntimeError as error:
        raise LorascopeError(f"{where}: {root!r}: there is no such home; write the path") from error
    if "$" in expanded:
        raise LorascopeError(
            f"{where}: {root!r} uses an environment variable that is not set; set it or write the path"
        )
    return expanded


def analysis_from(overrides: Sequence[str]) -> AnalysisConfig:
    """The analysis section with `key=value` overrides. Raises `LorascopeError` naming the wrong key."""
    data: dict[str, Any] = {}
    for override in overrides:
        _apply(data, override)
    try:
        return AnalysisConfig.model_validate(data)
    except ValidationError as error:
        raise LorascopeError(f"--set: {_explain(error, AnalysisConfig)}") from error


class _Loader(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error: YAML's own reader silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _told(error: Exception) -> str:
    return " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")


def _apply(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise LorascopeError(f"--set {override}: expected key.path=value, for example --set methods.lora.rank=8")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise LorascopeError(f"--set {override}: the value is not YAML: {_told(error)}; mend it") from error
    *parents, last = path.strip().split(".")
    for parent in parents:
        below = data.get(parent)
        if below is None:
            below = data[parent] = {}
        if not isinstance(below, dict):
            raise LorascopeError(f"--set {override}: {parent} is a value, not a section")
        data = below
    data[last] = value


def _explain(error: ValidationError, root: type[BaseModel] = Experiment) -> str:
    first = error.errors()[0]
    location = [part for part in first["loc"] if not (isinstance(part, str) and part.endswith("]"))]
    key = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        names = _siblings([str(part) for part in location[:-1]], root)
        close = difflib.get_close_matches(str(location[-1]), names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(names)}"
        return f"{key}: unknown key; {hint}"
    if first["type"] == "missing":
        return f"{key}: this key is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) or given is None else ""
    return f"{key}: {message[0].lower()}{message[1:]}{shown}" if key else message


def _siblings(location: Sequence[str], root: type[BaseModel]) -> list[str]:
    section: Any = root
    for part in location:
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(section.model_fields)


def dump_experiment(experiment: Experiment) -> str:
    """The resolved experiment as YAML text, every default written out."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
