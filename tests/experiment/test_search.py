"""What a search costs and which candidates it has, by arithmetic alone."""

import pytest
from pydantic import ValidationError

from lorascope.errors import LorascopeError
from lorascope.experiment.loading import experiment_from
from lorascope.experiment.methods import LINEARS, LoraConfig, RsLoraConfig, candidates_of
from lorascope.experiment.search import TRAININGS, epochs_of, rungs

from ..conftest import settings_of


@pytest.mark.parametrize("epochs", [2, 3, 5, 6, 12, 20])
def test_no_search_costs_more_than_three_trainings(epochs):
    for candidates in range(1, 70):
        try:
            found = rungs(candidates, epochs)
        except ValueError as error:
            # one epoch of all and the rest of one is too much already
            assert candidates + epochs - 1 > TRAININGS * epochs and "too many" in str(error)
            continue
        counts, ends = zip(*found, strict=True)
        assert counts[0] == candidates and found[-1] == (1, epochs)
        assert list(counts) == sorted(set(counts), reverse=True) and list(ends) == sorted(set(ends))
        assert epochs_of(candidates, epochs) <= TRAININGS * epochs
    assert rungs(1, epochs) == [(1, epochs)]


def test_rungs_are_as_long_as_three_trainings_allow():
    # 4 · 3 + 2 · 3 + 6 = 24 of 36 epochs; rungs of 4 would be 4 · 4 + 2 · 4 + 4 = 28; of 5, 20 + 10 + 2 = 32
    assert rungs(4, 12) == [(4, 5), (2, 10), (1, 12)]
    # halves of 12 are 12 + 6 + 3 + 2 epochs a rung: too much for six epochs, thirds are not
    assert [count for count, _ in rungs(12, 6)] == [12, 2, 1]


def test_candidates_are_all_of_rates_targets_and_ranks_at_one_scale():
    method = LoraConfig(
        rank=32,
        alpha=64,
        learning_rate=[1e-4, 1e-3],
        epochs=12,
        search={"targets": [["v_proj"], "all-linear"], "rank": [4, 32]},
    )
    found = candidates_of(method)
    assert len(found) == 8 and len({(c.targets, c.rank, c.learning_rate) for c in found}) == 8
    assert {c.alpha / c.rank for c in found} == {2} and {c.targets for c in found} == {("v_proj",), LINEARS}
    assert all(c.search is None and len(c.learning_rate) == 1 for c in found)
    assert method.words == "LoRA searched" and method.settings()["search"]["rank"] == [4, 32]
    assert "search" not in LoraConfig().settings()
    rs = candidates_of(RsLoraConfig(rank=16, alpha=8, search={"rank": [4, 16]}))
    assert [c.alpha / c.rank**0.5 for c in rs] == pytest.approx([2, 2])


def test_what_cannot_be_searched_is_refused(corpus, backbone_folder):
    with pytest.raises(ValidationError, match="too many for 3 trainings of 2 epochs"):
        LoraConfig(epochs=2, search={"rank": [1, 2, 3, 4, 5, 6, 7, 8]})
    search = {"lora": {"epochs": 6, "search": {"rank": [2, 4]}}}
    for changes, told in (
        ({"folds": {"selection": "inner_folds"}, "analysis": None}, "take one of the two out"),
        ({"analysis": {"ranks": [2]}}, "the rank of lora is searched for"),
    ):
        with pytest.raises(LorascopeError, match=told):
            experiment_from(settings_of(corpus, backbone_folder, methods=search, **changes))
    adalora = {"adalora": {"epochs": 6, "search": {"rank": [2, 4]}}, "lora": None}
    with pytest.raises(LorascopeError, match="second half"):
        experiment_from(settings_of(corpus, backbone_folder, methods=adalora))


def test_a_training_that_may_end_early_has_no_trajectory(corpus, backbone_folder):
    moments = {"trajectory": [0, 1]}
    for changes, told in (
        ({"methods": {"lora": {"epochs": 4, "patience": 2}}}, "before its last moment"),
        ({"folds": {"selection": "inner_folds"}}, "a training ends after its best epoch"),
    ):
        with pytest.raises(LorascopeError, match=told):
            experiment_from(settings_of(corpus, backbone_folder, **({"analysis": moments} | changes)))
    experiment_from(settings_of(corpus, backbone_folder, analysis=moments))
