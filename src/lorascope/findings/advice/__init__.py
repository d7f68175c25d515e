"""Advice from a run's tables: which layers, which modules, which rank, what the adapter carries, and what of speech
recognition it leaves; each with its evidence, or with what would make it tellable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ...errors import LorascopeError
from ...store.finished import FinishedRun
from .answer import CANNOT, Advice, Answer
from .asked import Asked
from .contents import contents
from .places import layers, modules
from .ranks import rank
from .recognition import recognition

__all__ = ["Advice", "Answer", "advice_of", "advise"]

TRY = (
    "What an adapter that is trained can spare need not be what training can: these were seen on the clips that they "
    "are told of, each by itself and never together. Train anew with them and compare."
)


def advise(folder: str | Path) -> Advice:
    """What a folder that `run` or `analyze` wrote says to whoever trains the next adapter: which layers, which modules,
    which rank, whether it carries speaker or sentence, and what of speech recognition it leaves.

    Each answer has its evidence, numbers with their intervals; or none, and the lines of configuration that would make
    it tellable. `lines` of what is returned may be pasted into PEFT's `LoraConfig`; `str` is all of it as text. Nothing
    but tables is read. Raises `LorascopeError` where the folder holds no run or no analysis, or a file is not as it was
    sealed.
    """
    run = FinishedRun(Path(folder))
    run.check()
    if not run.analysis:
        raise LorascopeError(f"{folder}: nothing was analysed, so there is nothing to advise from; add `analysis`")
    return advice_of(run)


def advice_of(run: FinishedRun) -> Advice:
    """The same of a run that is open already, in which something was analysed; its files are not looked at again."""
    asked = Asked(run)
    settled = {"layers_to_transform": layers(asked), "target_modules": modules(asked), "r, rank_pattern": rank(asked)}
    answers = [_settled(name, answer) for name, answer in settled.items()]
    return Advice(_about(run), (*answers, contents(asked), recognition(asked)))


def _settled(name: str, answer: Answer) -> Answer:
    """An answer that at least says that the lines have none."""
    return answer if answer.lines else replace(answer, lines=(f"# {name}: {answer.answer or CANNOT}",))


def _about(run: FinishedRun) -> tuple[str, ...]:
    """What the numbers rest on."""
    units = run.shown
    folds, seeds = len({unit.fold for unit in units}), len({unit.seed for unit in units})
    if len(units) > 1:
        rests = f"{len(units)} adapters of {folds} fold{'' if folds == 1 else 's'} and {seeds} seed"
        rests += f"{'' if seeds == 1 else 's'}; intervals are over folds"
    else:
        of = next((str(table["interval_of"].iloc[0]) for table in _some(run)), "these clips")
        rests = f"one adapter; intervals speak of {of}, and how others would come out is unknown"
    clips = "on the test and on the validation speakers, on whom the epoch was chosen"
    leaks = [f"Measured {clips}."] if run.analysis.get("clips_from") == "test+validation" else []
    return (f"{run.path}: {rests}.", *leaks, *(f"{mark[0].upper()}{mark[1:]}." for mark in run.marks), TRY)


def _some(run: FinishedRun) -> Iterator[pd.DataFrame]:
    tables = (run.table(stem) for stem in ("dial", "rank_dial", "probes", "recognition"))
    return (table for table in tables if table is not None and "interval_of" in table)
