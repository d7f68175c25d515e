"""Clouds of clips examined side by side: a picture and numbers of each, in as many processes as there are cores for
them.

A t-SNE of a hundred clips is a thousand small steps that no thread can share, and takes longer than a GPU takes for the
whole pass; but clouds have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from threadpoolctl import threadpool_limits

from .separation import Products, Separation, embedding_2d, probed, standardised

#: Fewer threads than these are better spent without other processes, which take a second or two to start.
FEWEST_THREADS = 4
#: And so are fewer clips than these, of all clouds together.
FEWEST_CLIPS = 200


class Cloud(NamedTuple):
    """The picture [clips, 2] of a cloud and its perplexity, its numbers, a note on what could not be had, and the
    class that the probe gives each clip, [clips] (None: no probe).
    """

    picture: np.ndarray
    perplexity: float
    numbers: Separation
    note: str
    answers: np.ndarray | None


def examined(features: np.ndarray | Products, labels: np.ndarray, speakers: np.ndarray, draws: int, seed: int) -> Cloud:
    """Picture and numbers of one cloud, its features as `separation.prepared` gives them (see
    `separation.probed`).
    """
    # what is computed of a hundred clips is small, and threads would wait for each other; sklearn's settings are the
    # same every time
    with threadpool_limits(1), config_context(assume_finite=True, skip_parameter_validation=True):
        cloud = standardised(features)
        picture, perplexity, no_picture = embedding_2d(cloud)
        numbers, missing, answers = probed(features, cloud, labels, speakers, draws, seed)
    note = "; ".join(dict.fromkeys(text for text in (no_picture, missing) if text))
    return Cloud(picture, perplexity, numbers, note, answers)


def side_by_side(
    function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], clips: int, threads: int
) -> Iterable[Any]:
    """What the function gives for each of the arguments, in their order, in `threads` processes where that is worth
    while.
    """
    if threads < FEWEST_THREADS or len(arguments) * clips < FEWEST_CLIPS:
        return [function(*each) for each in arguments]
    from joblib import Parallel, delayed

    return Parallel(n_jobs=min(threads, len(arguments)))(delayed(function)(*each) for each in arguments)
