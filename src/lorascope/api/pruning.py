"""Adapters made smaller: those of a run, or one that was made anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..experiment.config import CorpusConfig
from ..machine.processes import refuse_several
from ..models.adapters.pruning import keep_from
from ..work.prunable import given, of_run
from ..work.prune import Pruned
from ..work.prune import prune as prune_all
from .telling import Say


def prune(run: str | Path, out: str | Path, keep: str | float = "auto", say: Say = lambda _: None) -> Pruned:
    """Write every LoRA adapter of a run's Table 1 with fewer directions, each a PEFT folder below `out`, and tell what
    that costs on its fold's test speakers.

    `keep` is a share (0.2: of the rank, the directions with the largest σ over all matrices together), a number (4:
    each matrix' own first four), or "auto": the least share that the rank dial finds to be as good as all on the fold's
    *validation* speakers (the paired interval of the change of UAR reaches 0, and the mean loss is at most .02). A
    matrix that keeps nothing is left out of the adapter. The corpus must be where it was. Raises `LorascopeError` for
    bad input, before anything is left at `out`.
    """
    refuse_several("prune")
    kept = keep_from(keep)
    return prune_all(of_run(Path(run), kept, say), kept, Path(out), say)


def prune_adapter(
    backbone: str,
    adapter: str | Path,
    out: str | Path,
    keep: str | float,
    corpus: str | CorpusConfig | None = None,
    root: str | Path | None = None,
    validation_speakers: Sequence[str] = (),
    test_speakers: Sequence[str] = (),
    context: str | None = None,
    labels: Sequence[str] | None = None,
    say: Say = lambda _: None,
) -> Pruned:
    """Write one adapter, made anywhere, with fewer directions as the PEFT folder `out`; `keep` as for `prune`, the
    other arguments as for `analyze`.

    Without a `corpus` nothing is measured. With one, the answers to the clips of the `test_speakers` (all clips where
    none are named) are told of; `keep="auto"` needs `validation_speakers` beside them, neither of whom the adapter was
    trained on. Raises `LorascopeError` for bad input, before anything is left at `out`.
    """
    refuse_several("prune")
    kept = keep_from(keep)
    found = given(backbone, adapter, kept, corpus, root, validation_speakers, test_speakers, context, labels, say)
    return prune_all([found], kept, Path(out), say)
