"""A grid file: one experiment, and axes along which its keys take several values. Every combination of
values is an experiment.

This module knows the shape of a grid and nothing of what is done with it; torch is not imported here.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ..errors import LorascopeError
from .config import Experiment
from .loading import experiment_from, explain, parse_override, put, read_mapping
from .methods import Section

NAME = r"^[A-Za-z0-9._-]+$"
Keys = Annotated[dict[str, Any], Field(min_length=1)]


class Point(Section):
    """One value of an axis: `set` maps key paths of the experiment to values, `name` is what
    tables and folders call it.
    """

    name: Annotated[str, Field(min_length=1)]
    set: Keys


class Grid(Section):
    """A base `experiment` (a file, relative to the grid's own, or its keys), keys to `set` in all
    experiments, and the axes.

    In the file an axis is a list of values under their key path, or of points (`name`, `set`) under any name.
    """

    name: Annotated[str, Field(pattern=NAME)]
    experiment: Any
    set: dict[str, Any] = Field(default_factory=dict)
    grid: Annotated[dict[str, tuple[Point, ...]], Field(min_length=1)]

    @field_validator("experiment")
    @classmethod
    def _file_or_keys(cls, experiment: Any) -> Any:
        if not isinstance(experiment, (str, dict)):
            raise ValueError("give the path of an experiment's YAML file, or its keys")
        return experiment

    @model_validator(mode="after")
    def _each_once(self) -> Grid:
        for axis, points in self.grid.items():
            if not points:
                raise ValueError(f"grid.{axis}: give at least one value")
            names = [point.name for point in points]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"grid.{axis}: two values are called {name}; take one out, or give them names")
        keys = [(axis, key) for axis, points in self.grid.items() for key in _keys(points)]
        for (axis, key), (other, same) in itertools.combinations(keys, 2):
            if axis != other and overlap(key, same):
                raise ValueError(f"grid.{axis} and grid.{other} both set {min(key, same, key=len)}; keep one of them")
        return self


@dataclass(frozen=True)
class Variant:
    """One experiment of a sweep: the name of its folder, and its value on every axis by name."""

    slug: str
    values: Mapping[str, str]
    experiment: Experiment


@dataclass(frozen=True)
class Sweep:
    """A grid with every combination of its values; `text` is the grid with its base experiment, as YAML."""

    name: str
    axes: tuple[str, ...]
    variants: tuple[Variant, ...]
    text: str


def load_sweep(path: str | Path, overrides: Sequence[str] = ()) -> Sweep:
    """Read a grid's YAML file and expand it; `overrides` (`key.path=value`) set keys in every experiment.

    Raises `LorascopeError` naming the file and the key where one is unknown, missing, set twice or wrong.
    """
    data = read_mapping(path, "a grid's YAML file")
    if {"corpus", "backbone"} <= data.keys() and "grid" not in data:
        raise LorascopeError(f"{path}: a single experiment, no grid; compute it with `lorascope run`")
    axes = data.get("grid")
    if isinstance(axes, dict):
        data = data | {"grid": {str(axis): _points(str(axis), values, path) for axis, values in axes.items()}}
    try:
        grid = Grid.model_validate(data)
    except ValidationError as error:
        raise LorascopeError(f"{path}: {explain(error, Grid)}") from error
    base = grid.experiment
    if isinstance(base, str):
        base = read_mapping(Path(path).parent / base, f"an experiment's YAML file in {path}: experiment")
    return expand(grid, base, overrides, str(path))


def expand(grid: Grid, base: Mapping[str, Any], overrides: Sequence[str] = (), source: str = "grid") -> Sweep:
    """Every combination of a grid's values on the keys of `base`, the last axis fastest."""
    fixed = dict(grid.set)
    varied = {key: axis for axis, points in grid.grid.items() for key in _keys(points)}
    for override in overrides:
        key, value = parse_override(override)
        for own, axis in varied.items():
            if overlap(key, own):
                raise LorascopeError(
                    f"--set {override}: grid.{axis} sets {own}; change it there, or take the override out"
                )
        fixed[key] = value
    variants: dict[str, Variant] = {}
    for points in itertools.product(*grid.grid.values()):
        slug = "-".join(_slug(point.name) for point in points)
        where = f"{source} ({', '.join(f'{axis}: {p.name}' for axis, p in zip(grid.grid, points, strict=True))})"
        data = copy.deepcopy(dict(base))
        for keys in (fixed, *(point.set for point in points)):
            for key, value in keys.items():
                put(data, key, copy.deepcopy(value), where)
        data["name"] = f"{grid.name}-{slug}"
        if slug in variants:
            raise LorascopeError(f"{where}: another experiment is called {slug} too; give the values other names")
        values = {axis: point.name for axis, point in zip(grid.grid, points, strict=True)}
        variants[slug] = Variant(slug, values, experiment_from(data, where))
    whole = grid.model_copy(update={"experiment": dict(base), "set": fixed}).model_dump(mode="json")
    text = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)
    return Sweep(grid.name, tuple(grid.grid), tuple(variants.values()), text)


def overlap(key: str, other: str) -> bool:
    """Whether two key paths are the same or one lies in the other's section."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _keys(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(key for point in points for key in point.set))


def _points(axis: str, values: Any, path: str | Path) -> tuple[Point, ...]:
    if not isinstance(values, list):
        raise LorascopeError(f"{path}: grid.{axis}: expected a list of values, such as [8, 16]")
    points = []
    for number, value in enumerate(values):
        if isinstance(value, dict):
            try:
                points.append(Point.model_validate(value))
            except ValidationError as error:
                raise LorascopeError(
                    f"{path}: grid.{axis}.{number}.{explain(error, Point)} (a value that sets "
                    "several keys has `name` and `set`)"
                ) from error
        else:
            points.append(Point(name=_words(value), set={axis: value}))
    return tuple(points)


def _words(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_words, value)) or "nothing"
    if value is None or isinstance(value, bool):
        # as YAML writes them
        return "null" if value is None else str(value).lower()
    return str(value)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "value"
