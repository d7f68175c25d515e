"""Methods by name: what each is called, which one is analysed, and what the rank space trains."""

import math

import pytest

from lorascope.experiment.loading import experiment_from
from lorascope.experiment.methods import KINDS, LORA_KINDS, LoraConfig, RsLoraConfig
from lorascope.experiment.planning import other_ranks, plan

from ..conftest import settings_of


def experiment(methods, **analysis):
    settings = {"name": "m", "corpus": {"reader": "csv"}, "backbone": {"name": "b"}}
    return experiment_from(settings | {"methods": methods, "analysis": analysis})


def test_a_methods_kind_is_its_name_unless_it_says_so():
    methods = experiment({"dora": {}, "wide": {"kind": "lora", "targets": ["fc2", "q_proj"]}}).conditions
    assert {name: method.kind for name, method in methods.items()} == {
        "frozen": "frozen",
        "lora": "lora",
        "dora": "dora",
        "wide": "lora",
    }
    assert list(methods)[:2] == ["frozen", "lora"]


def test_every_kind_has_its_own_words():
    words = [settings().words for settings in KINDS.values()]
    assert len(set(words)) == len(KINDS)
    assert LoraConfig(rank=8, targets=("fc1", "q_proj"), layers=(3, 0)).words == "LoRA r=8 q_proj+fc1 layers 0, 3"
    everything = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    assert LoraConfig(targets=everything).words == "LoRA r=32 all-linear"


@pytest.mark.parametrize(
    ("methods", "analysed"),
    [
        ({}, "lora"),
        ({"lora": None, "dora": {}, "adalora": {}}, "adalora"),
        ({"lora": None, "classic": {}, "bitfit": {}, "dora": {}}, "bitfit"),
        ({"lora": None, "classic": {}}, None),
    ],
)
def test_the_first_lora_is_analysed_else_the_first_that_changes_the_encoder(methods, analysed):
    assert experiment(methods).analysed == analysed


@pytest.mark.parametrize("kind", LORA_KINDS)
def test_other_ranks_keep_the_scale(kind):
    def scale(method):
        if isinstance(method, RsLoraConfig):
            return method.alpha / math.sqrt(method.rank)
        return method.alpha / getattr(method, "initial_rank", method.rank)

    whole = experiment({"lora": None, "m": {"kind": kind, "rank": 8, "alpha": 5}}, ranks=[2, 8, 32])
    others = other_ranks(whole)
    assert [method.rank for method in others] == [2, 32]
    assert {method.kind for method in others} == {kind}
    for method in others:
        assert scale(method) == pytest.approx(scale(whole.conditions["m"]))


def test_methods_with_the_same_words_bear_their_names(corpus, backbone_folder):
    methods = {"lora": {"rank": 4, "alpha": 8}, "dry": {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0}}
    settings = settings_of(corpus, backbone_folder, methods=methods, analysis={"ranks": [2]})
    cells = [cell for cell in plan(experiment_from(settings)) if cell.fold.name == "ann"]
    assert [cell.label for cell in cells] == [
        "frozen",
        "LoRA r=4 v_proj (lora)",
        "LoRA r=4 v_proj (dry)",
        "LoRA r=2 v_proj (lora)",
    ]
    assert [cell.role for cell in cells] == ["table1"] * 3 + ["rank-space"]


def test_a_rank_that_is_a_method_of_its_own_is_trained_once(corpus, backbone_folder):
    methods = {"lora": {"rank": 4, "alpha": 8}, "small": {"kind": "lora", "rank": 2, "alpha": 4}}
    whole = experiment_from(settings_of(corpus, backbone_folder, methods=methods, analysis={"ranks": [2]}))
    assert {cell.role for cell in plan(whole)} == {"table1"}
    assert other_ranks(whole) == [whole.conditions["small"]]
