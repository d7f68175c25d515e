"""Orders of clips for permutation nulls: clips are shuffled within their speaker.

Shuffled over all speakers, two views of the clips that have nothing in common but the voices are taken for dependent
(simulated with `benchmarks/coverage.py`: of views in which speakers differ as much as clips, all), and labels that
every speaker has as many of are taken for more alike than they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np


def clip_orders(speakers: Sequence[str] | np.ndarray | None, clips: int, draws: int, seed: int) -> np.ndarray:
    """Orders [draws, clips] that move clips among those of their speaker; among all where no speaker has two, or
    `speakers` is None.
    """
    names = np.zeros(clips, dtype=int) if speakers is None else np.asarray(speakers, dtype=str)
    codes = np.unique(names, return_inverse=True)[1]
    if codes.max(initial=0) == clips - 1:
        codes = np.zeros(clips, dtype=int)
    return _orders(tuple(codes.tolist()), draws, seed)


def shuffled_labels(labels: np.ndarray, speakers: Sequence[str] | np.ndarray, draws: int, seed: int) -> np.ndarray:
    """`labels` [clips] shuffled among the clips of each speaker, [draws, clips].

    Where every speaker has one label only (language, diagnosis), and several clips, speakers exchange theirs instead.
    """
    codes = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)[1]
    firsts = np.unique(codes, return_index=True)[1]
    of_speaker = labels[firsts]
    if len(firsts) < len(labels) and len(firsts) > 1 and np.array_equal(of_speaker[codes], labels):
        return of_speaker[clip_orders(None, len(firsts), draws, seed)[:, codes]]
    return labels[clip_orders(speakers, len(labels), draws, seed)]


@lru_cache(maxsize=4)
def _orders(codes: tuple[int, ...], draws: int, seed: int) -> np.ndarray:
    group = np.array(codes)
    keys = np.random.default_rng(seed).random((draws, len(group)))
    orders = np.empty((draws, len(group)), dtype=np.int64)
    # a speaker's places, in a random order of that speaker's clips
    orders[:, np.argsort(group, kind="stable")] = np.argsort(group + keys, axis=1)
    return orders
