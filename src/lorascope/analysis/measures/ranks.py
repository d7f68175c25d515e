"""How well the rank space A-out separates the emotions (METHODS section 4; the paper's Figure 2b).

The picture is a t-SNE, whose distances mean little; the numbers beside it are taken of the features themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd
import torch

from ...machine.environment import one_thread
from ...statistics.clouds import Cloud, examined, side_by_side
from ...statistics.intervals import LeftOut
from ...statistics.separation import Separation, Wide, prepared
from ..clip_views import ClipViews, Place
from ..measure import Part, Replay, Study

#: From 2 on the table tells what the probe says of every clip.
VERSION = 2
#: Depths that are shown, evenly spread from the first block to the last.
DEPTHS = 5

POINTS = ["model", "rank", "layer", "clip", "x", "y", "module", "variant", "speaker", "emotion", "predicted"]
SCORES = [
    "model",
    "rank",
    "layer",
    "module",
    "variant",
    "clips",
    *Separation._fields,
    "interval_of",
    "perplexity",
    "note",
]


class Ranks:
    """A-out of every clip at five depths: a 2-D picture, and how well its classes are told apart.

    Variants: `corrected` takes the mean over a clip's valid frames; `released` all its frames × rank values in a row,
    padding included, whose columns standardisation blows up to unit variance. The frames that `released` needs are kept
    for the models in `flattened` (none: the variant is left out), in the study's `space`.

    `compute` gives `ranks` (model, rank, layer, clip, x, y, module, variant, speaker, emotion, predicted: the class by
    the cross-validated probe, missing where there is none) and `rank_scores` (model, rank, layer, module, variant,
    clips, silhouette, knn, probe_uar with its interval, the nulls of the first two, interval_of, perplexity, note; see
    `Separation`). Only A is looked at: B-out is a linear image of it.
    """

    needs = frozenset({"pairs"})

    def __init__(self, study: Study, flattened: Collection[str] = ("trained", "gaussian")) -> None:
        self._study = study
        self._layers = frozenset(int(depth) for depth in np.linspace(0, study.layers - 1, DEPTHS))
        self._views = ClipViews(study, flattened)

    def parts(self, model: str) -> frozenset[str]:
        """A-out of every model that has an adapter."""
        return frozenset({"lora_a"}) if self._study.factors.get(model) else frozenset()

    def replays(self, model: str) -> frozenset[str]:
        """Never."""
        return frozenset()

    def update(self, part: Part) -> None:
        """Keep the clips' means over valid frames; of the models that are flattened, the frames."""
        if part.layer in self._layers:
            self._views.put(part)

    def replay(self, replay: Replay) -> None:
        """Nothing to do."""

    def compute(self) -> dict[str, pd.DataFrame]:
        """The tables `ranks` and `rank_scores`."""
        study = self._study
        speakers = study.clips["speaker"].to_numpy()
        with one_thread():
            clouds = list(self._clouds())
            features = [prepared(self._features(*cloud), study.labels, study.seed) for cloud in clouds]
            asked = [(of_cloud, study.labels, speakers, study.draws, study.seed) for of_cloud in features]
            found = side_by_side(examined, asked, len(study.clips), study.threads)
        interval_of = LeftOut(speakers, study.labels).of
        points, scores = [], []
        for (place, variant), of_cloud in zip(clouds, found, strict=True):
            frame, row = self._told(place, variant, of_cloud, interval_of)
            points.append(frame)
            scores.append(row)
        pictures = pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=POINTS)
        return {"ranks": pictures[POINTS], "rank_scores": pd.DataFrame(scores, columns=SCORES)}

    def _clouds(self) -> Iterator[tuple[Place, str]]:
        """Every place and variant."""
        for place in self._views:
            yield place, "corrected"
            if self._views.frames(place) is not None:
                yield place, "released"

    def _told(
        self, place: Place, variant: str, cloud: Cloud, interval_of: str
    ) -> tuple[pd.DataFrame, dict[str, object]]:
        """Points and numbers of one place and variant; `interval_of` is what the probe's interval speaks of."""
        study, (model, layer, module, _) = self._study, place
        where = {
            "model": model,
            "rank": study.factors[model][layer, module].a.shape[0],
            "layer": layer,
            "module": module,
            "variant": variant,
        }
        who = {name: study.clips[name].to_numpy() for name in ("clip", "speaker", "emotion")}
        scores = {**where, "clips": len(study.clips), **cloud.numbers._asdict(), "interval_of": interval_of}
        scores |= {"perplexity": cloud.perplexity, "note": cloud.note}
        classes = np.array(study.classes, dtype=object)
        predicted = None if cloud.answers is None else classes[cloud.answers]
        points = {**who, "x": cloud.picture[:, 0], "y": cloud.picture[:, 1], "predicted": predicted}
        return pd.DataFrame({**where, **points}), scores

    def _features(self, place: Place, variant: str) -> np.ndarray | Wide:
        """[clips, columns] float64."""
        frames = self._views.frames(place)
        if variant == "corrected" or frames is None:
            return self._views.means(place).cpu().numpy()

        def flat() -> Iterator[torch.Tensor]:
            for piece in frames.pieces():
                yield piece.flatten(1).double()

        return Wide(flat) if frames.longest * frames.width > frames.clips else torch.cat(list(flat()), 1).cpu().numpy()
