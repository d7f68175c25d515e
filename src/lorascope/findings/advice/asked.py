"""What a run is, for who gives advice from it: its tables, how its adapter was made, and which lines of configuration
would have it measure more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import yaml

from ...store.finished import FinishedRun
from .answer import interval

#: Names of linear layers here, and by what PEFT finds them where an encoder calls them otherwise.
PEFT_NAMES = {"fc1": ("fc1", "intermediate_dense"), "fc2": ("fc2", "output_dense")}
MODULES = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


@dataclass(frozen=True)
class Asked:
    """A finished run that is asked for advice."""

    run: FinishedRun

    def table(self, stem: str) -> pd.DataFrame | None:
        """A table of what was analysed (see `FinishedRun.table`)."""
        return self.run.table(stem)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration; empty where the folder holds none."""
        return yaml.safe_load(self.run.config) or {}

    @cached_property
    def method(self) -> dict[str, Any]:
        """Settings of the analysed method; empty for adapters that were made elsewhere."""
        methods = self.settings.get("methods") or {}
        name = self.run.shown[0].name if self.run.analyses else None
        return methods.get(name) or {}

    @property
    def trained(self) -> bool:
        """Whether the adapter was trained in this run."""
        return bool(self.run.manifest.get("cells"))

    @cached_property
    def layers(self) -> int | None:
        """Number of the encoder's blocks."""
        found = (self.run.manifest.get("backbone") or {}).get("layers")
        return None if found is None else int(found)

    @cached_property
    def modules(self) -> list[str]:
        """Kinds of linear layers that are adapted, as far as anything tells."""
        weights = self.table("weights")
        if weights is not None:
            return [name for name in MODULES if name in set(weights["module"])]
        return [name for name in MODULES if name in (self.method.get("targets") or ())]

    def peft_name(self, module: str) -> str:
        """What PEFT's `target_modules` calls a kind of linear layer in this encoder."""
        known = PEFT_NAMES.get(module, (module,))
        return next((name for name in known if any(name in target for target in self._targets)), known[0])

    @cached_property
    def _targets(self) -> list[str]:
        """`target_modules` of the run's adapters, where they lie in it."""
        for cell in self.run.cells:
            file = self.run.path / "cells" / cell.hash / "adapter" / "adapter_config.json"
            if cell.role == "table1" and cell.metrics.get("method") != "frozen" and file.is_file():
                named = json.loads(file.read_text(encoding="utf-8")).get("target_modules") or []
                return [named] if isinstance(named, str) else list(named)
        return []

    def why_left_out(self, measure: str) -> str | None:
        """Why a measure was left out on purpose, where it was."""
        return (self.run.analysis.get("left_out") or {}).get(measure)

    def at_chance(self, whole: Any) -> str | None:
        """What is to be said where the whole adapter, of which a row tells, is not clearly better than chance; then
        anything is as good as it.
        """
        chance = 1 / len((self.run.manifest.get("corpus") or {})["classes"])
        if whole["uar_low"] > chance:
            return None
        return f"the whole adapter is not clearly better than chance ({chance:.3f}): UAR {interval(whole, 'uar')}"

    def measuring(self, *measures: str, more: Sequence[str] = ()) -> tuple[str, ...]:
        """Lines that have these measures taken beside those that were, with `more` lines of the section analysis."""
        taken = (self.run.analysis.get("settings") or {}).get("measures") or ()
        names = ", ".join(dict.fromkeys([*taken, *measures]))
        if not self.trained:
            return (f'--set "measures=[{names}]"', *(f'--set "{line.replace(": ", "=")}"' for line in more))
        return ("analysis:", f"  measures: [{names}]", *(f"  {line}" for line in more))

    def more_clips(self) -> tuple[str, ...]:
        """Lines by which intervals would be narrower, or be there."""
        if not self.trained:
            return ('--set "clips_per_class=100"',)
        folds = len({unit.fold for unit in self.run.shown})
        return ("analysis:", "  clips_per_class: 100") if folds > 2 else ("analysis:", "  folds: all")
