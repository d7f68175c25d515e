"""Rank space: which layers and models it looks at, what features it takes, and its tables."""

import numpy as np
import pytest
import torch

from lorascope.analysis.measures import ranks
from lorascope.analysis.measures.ranks import POINTS, SCORES, Ranks
from lorascope.statistics.separation import Wide

from ..streams import LAYERS, RANK, ToyModel, drive, make_batches, make_study

CLIPS = 24


def whole(features):
    return torch.cat(list(features.pieces()), dim=1) if isinstance(features, Wide) else features


@pytest.fixture(scope="module")
def analysed():
    models = {
        "frozen": ToyModel(0, adapted=False),
        "trained": ToyModel(0),
        "gaussian": ToyModel(1),
        "permuted": ToyModel(2),
    }
    batches = make_batches(clips=CLIPS)
    study = make_study(models, batches)
    measure = Ranks(study)
    stored = drive(measure, models, batches)
    seen = {(*place[:3], variant): whole(measure._features(place, variant)) for place, variant in measure._clouds()}
    return study, stored, seen, measure.compute()


def test_tables(analysed):
    study, _, _, tables = analysed
    points, scores = tables["ranks"], tables["rank_scores"]
    assert list(points.columns) == POINTS and list(scores.columns) == SCORES
    assert (scores["rank"] == RANK).all() and (scores.clips == CLIPS).all() and (scores.note == "").all()
    # three models pooled, two of them flattened
    assert len(scores) == (3 + 2) * LAYERS and len(points) == len(scores) * CLIPS
    assert set(points.model) == {"trained", "gaussian", "permuted"}
    first = points[(points.model == "trained") & (points.layer == 0) & (points.variant == "corrected")]
    assert (
        first["clip"].tolist() == study.clips["clip"].tolist()
        and first.emotion.tolist() == study.clips["emotion"].tolist()
    )
    assert not points[["x", "y"]].isna().any().any()


def test_what_the_probe_says_of_each_clip_is_what_its_uar_counts(analysed):
    points, scores = (analysed[3][stem] for stem in ("ranks", "rank_scores"))
    keys = ["model", "rank", "layer", "module", "variant"]
    right = (points["predicted"] == points["emotion"]).groupby([points[key] for key in [*keys, "emotion"]]).mean()
    uar = right.groupby(level=keys).mean()
    assert scores.set_index(keys)["probe_uar"].to_dict() == pytest.approx(uar.to_dict())
    assert set(points["predicted"]) <= set(analysed[0].classes)


def test_features(analysed):
    study, stored, seen, _ = analysed
    for layer in range(LAYERS):
        key = ("trained", "lora_a", layer)
        pooled = np.array([x.mean(0) for x in stored.valid(study, key)])
        np.testing.assert_allclose(seen["trained", layer, "v_proj", "corrected"], pooled)
        flat = np.array([np.pad(x, ((0, 9 - len(x)), (0, 0))).ravel() for x in stored.parts[key]])
        np.testing.assert_allclose(seen["trained", layer, "v_proj", "released"], flat, rtol=1e-6)
    assert ("permuted", 0, "v_proj", "released") not in seen


@pytest.mark.parametrize(("layers", "expected"), [(32, {0, 7, 15, 23, 31}), (4, {0, 1, 2, 3}), (1, {0})])
def test_depths(analysed, layers, expected):
    study, *_ = analysed
    other = type(study)(**{**study.__dict__, "layers": layers})
    assert Ranks(other)._layers == expected


def test_equal_clips_give_nan_and_a_reason():
    models = {"trained": ToyModel(0)}
    for block in models["trained"].blocks:
        block.a.data.zero_()
    batches = make_batches()
    measure = Ranks(make_study(models, batches), flattened=())
    drive(measure, models, batches)
    tables = measure.compute()
    assert tables["rank_scores"].note.str.contains("alike").all() and tables["rank_scores"].silhouette.isna().all()
    assert tables["ranks"][["x", "y"]].isna().all().all()
    assert set(tables["rank_scores"].variant) == {"corrected"}


def test_without_adapters_the_tables_are_empty():
    models = {"frozen": ToyModel(0, adapted=False)}
    batches = make_batches()
    measure = Ranks(make_study(models, batches))
    drive(measure, models, batches)
    tables = measure.compute()
    assert [list(table.columns) for table in tables.values()] == [POINTS, SCORES]
    assert all(table.empty for table in tables.values()) and ranks.DEPTHS == 5
