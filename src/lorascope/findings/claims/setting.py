"""What statistics are computed of: the adapters of one corpus and encoder, and the tables of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ...statistics.stats import outer_third
from .statement import Lacking

#: The measure of a table that isn't called after it.
MEASURE_OF = {
    "rank_scores": "ranks",
    "spectra_summary": "spectra",
    "dial_depth": "dial",
    "rank_dial_least": "rank_dial",
    "weight_spectra": "weights",
    "weight_angles": "weights",
    "intruders": "weights",
    "probe_reasons": "probes",
    "frame_profile": "frame_lens",
    "frame_focus": "frame_lens",
    "head_logits": "heads",
}
TRAINED, SHUFFLED = "trained", "shuffled"
#: Whose clips a table is of.
TEST, BOTH = "test", "test+validation"


@dataclass(frozen=True)
class Unit:
    """One trained adapter: its fold and seed. `read(adapter, clips, stem)` is a table of an analysis of it ("trained")
    or of its control ("shuffled"), on the clips of the test speakers or of those and the validation speakers; None
    where it wasn't measured.
    """

    fold: str
    seed: int
    read: Callable[[str, str, str], pd.DataFrame | None]

    @property
    def words(self) -> str:
        """Fold and seed."""
        return f"fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Setting:
    """The adapters of one corpus and encoder, all made alike: `layers` blocks, one `adapter` in words.

    `test_over_train` is n_test / n_train of its folds. `scores` has a row a trained cell: name, fold, seed, kind, head
    (of frozen encoders), control, uar, validation_uar, validation_loss. `main` names the method whose adapters these
    are. `created` is when the oldest of its results came (ISO 8601). `synthetic` says that a machine made the speech,
    `marks` what must stand wherever a number is shown. `measures` are those that were taken. `notes` say
    what else is to be known of it. `memo` keeps what all units share.
    """

    corpus: str
    encoder: str
    adapter: str
    layers: int
    classes: tuple[str, ...]
    units: Sequence[Unit]
    test_over_train: float
    main: str = "lora"
    method: dict[str, Any] = field(default_factory=dict)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    measures: tuple[str, ...] = ()
    created: str = ""
    synthetic: bool = False
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    memo: dict[Any, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Corpus and encoder."""
        return f"{self.corpus} × {self.encoder}"

    @property
    def third(self) -> int:
        """Blocks of the top third, and of the bottom one."""
        return outer_third(self.layers)

    @property
    def folds(self) -> int:
        """How many there are."""
        return len({unit.fold for unit in self.units})

    def top(self, curve: np.ndarray) -> float:
        """Mean of a curve by block [layers] over the top third."""
        return float(curve[-self.third :].mean())

    def bottom(self, curve: np.ndarray) -> float:
        """Mean of a curve by block [layers] over the bottom third."""
        return float(curve[: self.third].mean())

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What all units share, made the first time that it is asked for."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def table(self, unit: Unit, stem: str, adapter: str = TRAINED, clips: str = TEST) -> pd.DataFrame:
        """A table of a unit. Raises `Lacking` where it has none, with the lines by which it would."""
        found = unit.read(adapter, clips, stem)
        if found is not None:
            return found
        other = TEST if clips == BOTH else BOTH
        if clips == TEST and unit.read(adapter, other, stem) is not None:
            why = f"{unit.words}: `{stem}` is of the validation speakers too, on whom the epoch was chosen"
            raise Lacking(why, ("analysis:", f"  clips_from: {TEST}"))
        whose = "" if clips == TEST else " on the clips of test and validation speakers"
        if adapter == SHUFFLED and unit.read(TRAINED, clips, stem) is not None:
            raise Lacking(f"{unit.words}: no control on shuffled labels{whose}", self.shuffled_lines())
        measure = MEASURE_OF.get(stem, stem)
        if clips == TEST:
            raise Lacking(f"{unit.words}: no table `{stem}`", self.measuring(measure))
        beside = ("# a second run beside this one, of the same cells:", "analysis:", "  folds: all")
        raise Lacking(
            f"{unit.words}: no table `{stem}`{whose}", (*beside, f"  measures: [{measure}]", f"  clips_from: {BOTH}")
        )

    def measuring(self, measure: str) -> tuple[str, ...]:
        """Lines of configuration that have a measure taken in all folds, beside those that were."""
        names = ", ".join(dict.fromkeys([*self.measures, measure]))
        return ("analysis:", "  folds: all", f"  measures: [{names}]")

    def shuffled_lines(self) -> tuple[str, ...]:
        """Lines of configuration that train the control: the method itself on labels that say nothing."""
        settings = {key: value for key, value in self.method.items() if key not in ("kind", "control")}
        kind = self.method.get("kind", "lora")
        lines = [f"    {key}: {_yaml(value)}" for key, value in settings.items() if value is not None]
        return ("methods:", "  shuffled:", f"    kind: {kind}", "    control: shuffled_labels", *lines)

    def curve(
        self,
        unit: Unit,
        table: pd.DataFrame,
        value: str,
        points: int,
        by: str = "layer",
        change: Callable[[np.ndarray], np.ndarray] = np.asarray,
        **where: Any,
    ) -> np.ndarray:
        """A column of the rows for which the columns of `where` have these values, by block or depth, [points]; the
        mean of several adapted modules, each after the `change`. Raises `Lacking` where there is none for one of them.
        """
        columns = self._columns(table)
        chosen = np.ones(len(table), dtype=bool)
        for column, wanted in where.items():
            chosen &= columns[column] == wanted
        place = columns[by][chosen].astype(int)
        numbers = change(columns[value][chosen].astype(float))
        count = np.bincount(place, minlength=points)
        if len(count) != points or not count.all():
            told = ", ".join(f"{column} {wanted}" for column, wanted in where.items())
            raise Lacking(f"{unit.words}: no {value} of {told} in every block")
        return np.bincount(place, numbers, points) / count

    def _columns(self, table: pd.DataFrame) -> dict[str, np.ndarray]:
        """The columns of a table of a unit: to compare words in a column of a table takes many times as long."""
        # the table is kept with them, so that no other gets its id
        return self.once(("columns", id(table)), lambda: (table, {str(name): _array(table[name]) for name in table}))[1]


def _array(column: pd.Series) -> np.ndarray:
    return column.to_numpy() if pd.api.types.is_numeric_dtype(column) else column.to_numpy(dtype=object)


def _yaml(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)
