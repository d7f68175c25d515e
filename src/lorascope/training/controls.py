"""Controls: the same training on labels that say nothing. What it shows was not learnt from the labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..experiment.planning import Cell, drawn_seed
from .inputs import Inputs


def labels_for(cell: Cell, inputs: Inputs) -> Mapping[str, int]:
    """The labels that a cell is trained and selected by, by clip: the clips' own, or for `control: shuffled_labels`
    those of the training and of the validation part, each permuted within every speaker.

    So speakers keep how often they have a class, and test clips their own labels. The permutation comes from the
    experiment's seed and the fold alone: it is the same for all methods.
    """
    if cell.method.control is None:
        return inputs.labels
    random = np.random.default_rng([cell.seed, drawn_seed(cell.of_seed, cell.fold)])
    shuffled = dict(inputs.labels)
    for part in (cell.fold.train, cell.fold.validation):
        of_speaker: dict[str, list[str]] = {}
        for clip in sorted(part):
            of_speaker.setdefault(inputs.speakers[clip], []).append(clip)
        for speaker in sorted(of_speaker):
            clips = of_speaker[speaker]
            labels = random.permutation([inputs.labels[clip] for clip in clips])
            shuffled |= {clip: int(label) for clip, label in zip(clips, labels, strict=True)}
    return shuffled
