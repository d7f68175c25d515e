"""The grids behind docs/claims.md: every statement has what it needs in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorascope.experiment.grid import load_sweep
from lorascope.experiment.methods import controls_of
from lorascope.findings.claims import built_in
from lorascope.findings.claims.setting import MEASURE_OF
from lorascope.findings.claims.statements.rank_space import RANKS
from lorascope.findings.claims.statements.score import HEADS
from lorascope.work.sweep import plan_sweep

from ..corpora.trees import emodb_tree, iemocap_tree

CONFIGS = Path(__file__).parents[2] / "configs"
SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")


@pytest.mark.parametrize("corpus", ["emodb", "ravdess", "iemocap", "cremad"])
def test_a_grid_has_what_the_statements_need(corpus: str) -> None:
    needed = {MEASURE_OF.get(stem, stem) for statement in built_in() for stem in statement.tables}
    variants = load_sweep(CONFIGS / f"claims-{corpus}.yaml").variants
    assert len(variants) == 4
    for variant in variants:
        experiment = variant.experiment
        config, methods = experiment.analysis, experiment.conditions
        assert config is not None and config.folds == "all" and experiment.seeds and experiment.analysed == "lora"
        assert controls_of("lora", methods) == ["shuffled"] and "norm-matched" in config.baselines
        assert {method.head for method in methods.values() if method.kind == "frozen"} == set(HEADS)
        if config.clips_from == "test":
            assert needed <= set(config.measures) and {*config.ranks, methods["lora"].rank} == set(RANKS)
        else:
            assert config.measures == ("probes",)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["emodb", "iemocap"])
def test_a_grid_plans_and_both_kinds_of_clips_share_their_cells(corpus: str, tmp_path: Path) -> None:
    root = emodb_tree(tmp_path, SPEAKERS) if corpus == "emodb" else iemocap_tree(tmp_path)
    planned = plan_sweep(load_sweep(CONFIGS / f"claims-{corpus}.yaml", [f"corpus.root={root}"]))
    cells = [unit for unit in planned if unit.kind == "cell"]
    # of each encoder, fold and seed: seven methods in both experiments, two other ranks in one
    shared = [unit for unit in cells if len(unit.slugs) == 2]
    assert len(shared) * 9 == len(cells) * 7
    analyses = [unit for unit in planned if unit.kind == "analysis"]
    assert len(analyses) * 9 == len(cells) * 4
