"""What is analysed, described for the measures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..models.updates import changed, turnable, update_of
from .kept_frames import Space
from .means import Means
from .measure import Factors, Study
from .states import ModelStates

#: The part of a GPU's free memory that frames of clips may take that measures keep.
OF_MEMORY = 0.3


def study_of(
    states: ModelStates,
    clips: pd.DataFrame,
    classes: Sequence[str],
    seed: int,
    draws: int,
    memory_mib: int = 512,
    means: Means | None = None,
) -> Study:
    """Describe the models and clips of an analysis for the measures; `memory_mib` is what they may keep of frames
    before they go to a file, beside what has room on a GPU.
    """
    keys = states.parts.adapted()
    device = next(states.parts.peft.parameters()).device
    on_device = int(torch.cuda.mem_get_info(device)[0] * OF_MEMORY) if device.type == "cuda" else 0
    scales = {key: states.parts.factors(*key)[2] for key in keys}
    factors = {
        name: {
            key: Factors(a.double().cpu(), b.double().cpu(), scales[key])
            for key, (a, b) in states.factors(name).items()
        }
        for name in states.names
    }
    weights = states.parts.depth_weights
    return Study(
        clips=clips.reset_index(drop=True),
        classes=tuple(classes),
        models=states.names,
        layers=states.parts.layers,
        width=states.parts.width,
        modules=tuple(dict.fromkeys(module for _, module in keys)),
        factors=factors,
        weights={key: states.parts.linear(*key).get_base_layer().weight for key in keys},
        turnable=tuple(turnable(states.parts)),
        updates={key: partial(update_of, states.parts, *key) for key in changed(states.parts) if not keys},
        headless=states.headless,
        post_norm=states.parts.post_norm,
        depth_weights=_plain(weights),
        frozen_depth_weights=_plain(states.frozen_depth_weights),
        reads_depths=states.parts.reads_depths,
        sums_normed=states.parts.classifier.sums_normed,
        seed=seed,
        draws=draws,
        space=Space(memory_mib << 20, on_device),
        threads=torch.get_num_threads(),
        means=means or Means(),
    )


def _plain(weights: Tensor | None) -> np.ndarray | None:
    return None if weights is None else weights.detach().double().cpu().numpy()
