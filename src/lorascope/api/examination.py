"""The doctor: adapters examined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..errors import LorascopeError

if TYPE_CHECKING:
    from ..examination.examine import Examination


def doctor(
    adapters: str | Path | Sequence[str | Path],
    backbone: str | None = None,
    corpus: str | None = None,
    root: str | Path | None = None,
    manifest: str | Path | None = None,
    labels: Sequence[str] | None = None,
    fix_into: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    task: str = "emotion",
) -> pd.DataFrame:
    """Examine adapters: whether each is what its owner thinks it is (docs/doctor.md has every sickness by its code).

    `adapters` are folders or hub ids of PEFT adapters or whole checkpoints, or folders that hold several. `backbone`
    defaults to the one that the folder records. Labelled clips, `corpus` and `root` or `manifest`, tell what only
    labels can tell; `task` is what they are of. Returns a table with a row a check: adapter, code, state ("sick",
    "remark", "well", "skipped", "explained", "inapplicable"), layers, message, mend. With `fix_into` what can be mended
    is written to that new folder. Raises `LorascopeError` where an adapter cannot be examined.
    """
    from ..examination.table import table_of

    one = isinstance(adapters, str | Path)
    given = [adapters] if isinstance(adapters, str | Path) else list(adapters)
    found = examinations(given, backbone, corpus, root, manifest, labels, fix_into, say, task)
    for each in found:
        if each.error is not None:
            raise LorascopeError(f"adapter {each.adapter}: {each.error}" if not one else each.error)
    return table_of(found)


def examinations(
    adapters: Sequence[str | Path],
    backbone: str | None = None,
    corpus: str | None = None,
    root: str | Path | None = None,
    manifest: str | Path | None = None,
    labels: Sequence[str] | None = None,
    fix_into: str | Path | None = None,
    say: Callable[[str], None] = lambda _: None,
    task: str = "emotion",
) -> list[Examination]:
    """As `doctor`, with all that was found; of several adapters one that cannot be examined keeps nobody waiting."""
    from ..examination.examine import examine_all
    from ..examination.labelled import read_clips

    clips = read_clips(corpus, root, manifest, task)
    into = None if fix_into is None else Path(fix_into)
    return list(examine_all(adapters, backbone, clips, labels or (), say, into))
