"""A run's trained model asked about clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import told_to
from .telling import Say

if TYPE_CHECKING:
    from ..work.predict import Predicted


def predict(
    run: str | Path,
    clips: str | Path | Sequence[str | Path],
    method: str | None = None,
    fold: str | None = None,
    seed: int | None = None,
    say: Say = lambda _: None,
) -> Predicted:
    """Ask a trained cell what class clips are of: sound files, or folders of them.

    `run` is a run's folder, or that of one of its cells. Of a run the cell is by default the method of Table 1 with the
    highest mean UAR on its selection clips, its first fold and seed; `method`, `fold`, `seed` choose. The `table` of
    what is returned has a row a clip, with a probability a class (`p_<class>`); for the cell's own test clips they are
    those of the predictions that the run stored.
    Raises `LorascopeError` for clips that cannot be read and for what the run doesn't have.
    """
    from ..work.predict import predict as ask

    with told_to("predict"):
        several = [clips] if isinstance(clips, (str, Path)) else list(clips)
        return ask(Path(run), several, method, fold, seed, say)
