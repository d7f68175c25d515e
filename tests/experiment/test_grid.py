"""Grids: every combination once, under a name, and every mistake told with its key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lorascope.errors import LorascopeError
from lorascope.experiment.grid import load_sweep
from lorascope.experiment.loading import experiment_from
from lorascope.work.sweep import plan_sweep

from ..corpora.trees import emodb_tree, iemocap_tree

CONFIGS = Path(__file__).parents[2] / "configs"
BASE = {"name": "base", "corpus": {"reader": "csv"}, "backbone": {"name": "whisper-tiny"}, "analysis": None}
RANKS = [
    {"name": "low", "set": {"methods.lora.rank": 2, "methods.lora.alpha": 4}},
    {"name": "high", "set": {"methods.lora.rank": 8, "methods.lora.alpha": 16}},
]


@pytest.fixture
def write(tmp_path):
    def write_grid(**changes):
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
        grid = {"name": "g", "experiment": "base.yaml", "grid": {"rank": RANKS, "seed": [1, 2, 3]}} | changes
        (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid, sort_keys=False))
        return tmp_path / "grid.yaml"

    return write_grid


def test_every_combination_is_there_once_the_last_axis_fastest(write):
    sweep = load_sweep(write(set={"methods.lora.epochs": 3}), ["precision=bf16"])
    assert [variant.slug for variant in sweep.variants] == ["low-1", "low-2", "low-3", "high-1", "high-2", "high-3"]
    for variant in sweep.variants:
        lora, rank = variant.experiment.conditions["lora"], {"low": 2, "high": 8}[variant.values["rank"]]
        assert (lora.rank, lora.alpha, lora.epochs, variant.experiment.precision) == (rank, 2 * rank, 3, "bf16")
        assert variant.experiment.seed == int(variant.values["seed"])
        assert variant.experiment.name == f"g-{variant.slug}"


def test_values_may_be_names_lists_and_null(write):
    axes = {"backbone.name": ["openai/whisper-tiny", "whisper-base"], "methods.lora.targets": [["q_proj", "v_proj"]]}
    axes["methods.frozen"] = [None]
    sweep = load_sweep(write(grid=axes))
    assert [variant.slug for variant in sweep.variants] == [
        "openai-whisper-tiny-q_proj-v_proj-null",
        "whisper-base-q_proj-v_proj-null",
    ]
    assert sweep.variants[0].experiment.backbone.name == "openai/whisper-tiny"
    assert list(sweep.variants[0].experiment.conditions) == ["lora"]


def test_the_base_experiment_is_left_as_it_was(write):
    """No experiment gets what another one set."""
    axes = {"which": [{"name": "a", "set": {"methods.dora": {"rank": 2}}}, {"name": "b", "set": {"seed": 1}}]}
    first, second = load_sweep(write(grid=axes)).variants
    assert "dora" in first.experiment.conditions and "dora" not in second.experiment.conditions


def test_its_text_gives_the_same_sweep(write, tmp_path):
    sweep = load_sweep(write(set={"methods.lora.epochs": 3}), ["precision=bf16"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "again.yaml").write_text(sweep.text)
    assert load_sweep(tmp_path / "elsewhere" / "again.yaml") == sweep


FAULTS = {
    "unknown key": ({"gird": {}}, "gird: unknown key; did you mean grid?"),
    "no axis": ({"grid": {}}, "grid: "),
    "no list": ({"grid": {"seed": 3}}, "grid.seed: expected a list of values"),
    "no value": ({"grid": {"seed": []}}, "grid.seed: give at least one value"),
    "twice": ({"grid": {"seed": [1, 1]}}, "grid.seed: two values are called 1"),
    "bare mapping": ({"grid": {"lora": [{"rank": 3}]}}, "grid.lora.0.name: this key is missing"),
    "misspelt point": ({"grid": {"lora": [{"name": "a", "sett": {}}]}}, "grid.lora.0.set: this key is missing"),
    "two axes on a key": (
        {"grid": {"rank": RANKS, "methods.lora.rank": [1]}},
        "grid.rank and grid.methods.lora.rank both set methods.lora.rank",
    ),
    "an axis within another": (
        {"grid": {"backbone": [{"name": "x", "set": {"backbone": {"name": "whisper-tiny"}}}], "backbone.name": ["y"]}},
        "both set backbone",
    ),
    "one name for two": ({"grid": {"backbone.name": ["a/b", "a-b"]}}, "another experiment is called a-b too"),
    "wrong value": ({"grid": {"methods.lora.rank": [8, 0]}}, "(methods.lora.rank: 0): methods.lora.rank: "),
    "wrong key": ({"grid": {"methods.lora.rnak": [8]}}, "methods.lora.rnak: unknown key; did you mean rank?"),
    "through a value": ({"grid": {"name.first": [8]}}, "name is a value, not a section"),
    "no experiment": ({"experiment": "other.yaml"}, "other.yaml: No such file"),
    "neither path nor keys": ({"experiment": 3}, "experiment: give the path"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_mistakes_are_told_with_their_key(write, fault):
    changes, told = FAULTS[fault]
    with pytest.raises(LorascopeError) as caught:
        load_sweep(write(**changes))
    assert told in str(caught.value) and "grid.yaml" in str(caught.value)


@pytest.mark.parametrize("override", ["seed=4", "methods.lora.rank=4", "methods.lora={rank: 4}"])
def test_an_override_of_an_axis_is_refused(write, override):
    with pytest.raises(LorascopeError, match=r"--set .*: grid\.(seed|rank) sets"):
        load_sweep(write(), [override])


def test_table1_is_one_grid_over_all_sizes(tmp_path):
    iemocap_tree(tmp_path, per_class=1)
    sweep = load_sweep(CONFIGS / "table1-iemocap.yaml", [f"corpus.root={tmp_path}"])
    cells = [unit for unit in plan_sweep(sweep) if unit.kind == "cell"]
    # six sizes, two methods, ten folds
    assert len(sweep.variants) == 6 and len(cells) == 6 * 2 * 10
    assert {cell.cell.backbone.removeprefix("openai/whisper-") for cell in cells} == {
        "tiny", "base", "small", "medium", "large-v2", "large-v3",
    }  # fmt: skip
    paper = experiment_from(yaml.safe_load((CONFIGS / "paper-iemocap.yaml").read_text()))
    for variant in sweep.variants:
        assert variant.experiment.conditions == paper.conditions
        assert variant.experiment.backbone.context == "full"


def test_the_rank_ablation_shares_its_frozen_cells_and_its_scale(tmp_path):
    emodb_tree(tmp_path)
    units = plan_sweep(load_sweep(CONFIGS / "rank-ablation-emodb.yaml", [f"corpus.root={tmp_path}"]))
    cells = [unit for unit in units if unit.kind == "cell"]
    # three seeds, four speakers in the tree; a frozen cell and six ranks for each
    assert len(cells) == 3 * 4 * (1 + 6)
    # an analysis of the first fold for each rank and seed, after all cells, of which it needs two
    analyses = units[len(cells) :]
    assert {unit.kind for unit in analyses} == {"analysis"} and len(analyses) == 3 * 6
    assert all(set(unit.needs) <= {cell.key for cell in cells} and len(unit.needs) == 2 for unit in analyses)
    for cell in cells:
        assert len(cell.slugs) == (6 if cell.cell.kind == "frozen" else 1)
    assert {cell.cell.method.alpha / cell.cell.rank for cell in cells if cell.cell.kind == "lora"} == {2.0}
