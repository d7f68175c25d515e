"""The experiments on recipes in configs/: each compares what it says it compares, and nothing else."""

from pathlib import Path

import pytest

from lorascope.experiment.loading import load_experiment
from lorascope.experiment.recipe import PRESETS

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def somewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("LORASCOPE_CORPORA", str(tmp_path))


@pytest.mark.parametrize("corpus", ["emodb", "ravdess"])
def test_the_recipes_differ_in_nothing_but_the_recipe(corpus):
    plain = load_experiment(CONFIGS / f"recipe-{corpus}.yaml")
    for targets in ("", "-all"):
        paper, robust = (plain.conditions[f"lora{targets}{recipe}"] for recipe in ("", "-robust"))
        assert {**paper.settings(), **PRESETS["robust"]} | {"augment": ["gain", "specaugment"]} == robust.settings()
    inner = load_experiment(CONFIGS / f"recipe-{corpus}-inner.yaml")
    assert inner.methods == plain.methods and inner.seeds == plain.seeds == (42, 43)
    assert inner.folds.selection == "inner_folds" and inner.folds.groups == plain.folds.groups
    heads = {method.head for method in plain.conditions.values() if method.kind == "frozen"}
    assert heads == {"last", "layer_sum", "logistic", "best_layer", "concatenated"}


def test_the_ablation_leaves_out_each_part_once():
    methods = load_experiment(CONFIGS / "recipe-ablation-emodb.yaml").conditions
    whole = methods["robust"].settings()
    left_out = [set(whole) - set(method.settings()) for name, method in methods.items() if name.startswith("without")]
    assert sorted(sorted(keys) for keys in left_out) == [
        ["augment"],
        ["head_dropout"],
        ["head_start"],
        ["label_smoothing"],
        ["mixup"],
        ["schedule", "warmup"],
    ]


def test_the_published_frame_has_the_robust_recipe_beside_it():
    paper, robust = (load_experiment(CONFIGS / f"paper-iemocap{name}.yaml") for name in ("", "-robust"))
    assert paper.conditions["lora"].changed() == {}
    method = robust.conditions["lora"]
    assert method.recipe == "robust"
    data = robust.model_dump()
    data["methods"]["lora"], data["name"] = paper.model_dump()["methods"]["lora"], paper.name
    assert data == paper.model_dump()
