"""Configurations from YAML files and `key=value` overrides, with errors that name the file, the key and the way out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import LorascopeError
from .config import CorpusConfig, Experiment
from .measuring import AnalysisConfig, hint
from .methods import KINDS


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment's YAML file and apply `key.path=value` overrides (values are YAML).

    Raises `LorascopeError` naming the file and the key where one is unknown, missing or wrong.
    """
    data = read_mapping(path, "an experiment's YAML file")
    if {"grid", "experiment"} <= data.keys():
        raise LorascopeError(
            f"{path}: a grid of experiments; compute it with `lorascope sweep`, or list its cells with "
            "`lorascope sweep --dry-run`"
        )
    for override in overrides:
        _apply(data, override)
    return experiment_from(data, str(path))


def read_mapping(path: str | Path, what: str) -> dict[str, Any]:
    """Keys and values of a YAML file, which errors call `what`. Raises `LorascopeError` naming the
    file where it isn't that.
    """
    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise LorascopeError(f"{path}: {error.strerror}; give the path of {what}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LorascopeError(f"{path}: not YAML: {_told(error)}; mend the file") from error
    if not isinstance(data, dict):
        raise LorascopeError(f"{path}: expected keys and values at the top, such as `name: my-experiment`")
    return data


def experiment_from(data: dict[str, Any], source: str = "experiment") -> Experiment:
    """Validate a mapping as an `Experiment`; `source` names it in errors. Raises
    `LorascopeError` on the first wrong key.
    """
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        raise LorascopeError(f"{source}: {explain(error)}") from error
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
        raise LorascopeError(f"--set: {explain(error, AnalysisConfig)}") from error


def corpus_from_file(reader: str, file: Path | None, options: Sequence[str], task: str | None = None) -> CorpusConfig:
    """The corpus section of a YAML file (or none) for a reader, with `key=value` options of the reader and, where it is
    given, the task. Raises `LorascopeError` naming the wrong key.
    """
    data: Any = {}
    if file is not None:
        try:
            data = yaml.load(file.read_text(encoding="utf-8"), _Loader) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            why = " ".join(str(error).split())
            raise LorascopeError(f"--corpus-config {file}: cannot be read ({why}); give a YAML file") from error
        data = data.get("corpus", data) if isinstance(data, dict) else data
        if not isinstance(data, dict):
            raise LorascopeError(f"--corpus-config {file}: not a mapping; give keys as in a configuration's corpus")
    data = {**data, "reader": reader} | ({} if task is None else {"task": task})
    for option in options:
        _apply(data, f"options.{option}")
    try:
        return CorpusConfig.model_validate(data)
    except ValidationError as error:
        raise LorascopeError(f"--corpus-config: {explain(error, CorpusConfig)}") from error


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


def parse_override(override: str) -> tuple[str, Any]:
    """Key path and value of `key.path=value`, whose value is YAML. Raises `LorascopeError` naming the override."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise LorascopeError(f"--set {override}: expected key.path=value, for example --set methods.lora.rank=8")
    try:
        return path.strip(), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise LorascopeError(f"--set {override}: the value is not YAML: {_told(error)}; mend it") from error


def put(data: dict[str, Any], path: str, value: Any, source: str) -> None:
    """Set the key at `key.path` in place, adding the sections on its way. Raises `LorascopeError`, naming `source`,
    where one of those is a value.
    """
    *parents, last = path.split(".")
    for parent in parents:
        below = data.get(parent)
        if below is None:
            below = data[parent] = {}
        if not isinstance(below, dict):
            raise LorascopeError(f"{source}: {parent} is a value, not a section")
        data = below
    data[last] = value


def _apply(data: dict[str, Any], override: str) -> None:
    path, value = parse_override(override)
    put(data, path, value, f"--set {override}")


def explain(error: ValidationError, root: type[BaseModel] = Experiment) -> str:
    """The first wrong key of a validation against `root`, in words."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"] if not (isinstance(part, str) and part.endswith("]"))]
    section = _section(location[:-1], root) if first["type"] == "extra_forbidden" else root
    if root is Experiment and location[:1] == ["methods"] and location[2:]:
        # the kind, which says which settings were tried and is no key
        del location[2]
    key = ".".join(location)
    if first["type"] == "extra_forbidden":
        names = list(section.model_fields)
        return f"{key}: unknown key; {hint(location[-1], names, 'known keys')}"
    if first["type"] == "union_tag_invalid":
        kind = str(first.get("ctx", {}).get("tag"))
        return f"{key}.kind: unknown kind {kind!r}; {hint(kind, list(KINDS), 'give one of')}"
    if first["type"] == "missing":
        return f"{key}: this key is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) or given is None else ""
    return f"{key}: {message[0].lower()}{message[1:]}{shown}" if key else message


def _section(location: Sequence[str], root: type[BaseModel]) -> type[BaseModel]:
    if root is Experiment and location[:1] == ["methods"] and location[2:]:
        return KINDS[location[2]]
    section: Any = root
    for part in location:
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return section


def dump_experiment(experiment: Experiment) -> str:
    """The resolved experiment as YAML text, every default written out."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
