"""What several analyses say together: as pandas would say it row by row, for tables as measures leave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorascope.findings.over_units import write_findings
from lorascope.statistics.stats import corrected_resampled_t
from lorascope.store.finished import FinishedRun

from ..report.folders import make_units

KEYS = {
    "contribution": ["model", "layer", "component", "variant", "frames"],
    "lens": ["model", "layer", "variant"],
    "cka": ["layer", "module", "pair", "quantity", "kernel", "estimator", "variant", "model"],
    "spectra_summary": ["model", "layer", "module", "factor", "quantity", "variant"],
    "rank_scores": ["model", "rank", "layer", "module", "variant"],
    "erasure": ["model", "layer", "mode"],
}
ENDS = {"cka": ("value", "ci_low", "ci_high"), "rank_scores": ("probe_uar", "probe_low", "probe_high")}
VALUE = {"contribution": "ratio", "lens": "kl", "spectra_summary": "k90", "erasure": "delta_uar"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_units(tmp_path_factory.mktemp("units") / "run")
    write_findings(folder)
    return folder


@pytest.mark.parametrize("stem", KEYS)
def test_a_row_is_the_mean_of_its_units_with_their_corrected_t(run: Path, stem: str) -> None:
    found = pd.read_parquet(run / "findings" / f"{stem}.parquet")
    value, low, high = ENDS.get(stem) or (VALUE[stem], f"{VALUE[stem]}_low", f"{VALUE[stem]}_high")
    units = [unit for unit in FinishedRun(run).analyses if unit.control is None]
    table = pd.concat([unit.table(stem).assign(fold=unit.fold, seed=unit.seed) for unit in units])
    mine = found[found["method"] == "lora"].set_index(KEYS[stem])
    assert len(mine) == table.groupby(KEYS[stem], dropna=False).ngroups == len(units[0].table(stem))
    for key, rows in table.dropna(subset=value).groupby(KEYS[stem]):
        by_fold = rows.groupby("fold")[value].mean()
        expected = corrected_resampled_t(by_fold.to_numpy(), 120, 40)
        row = mine.loc[key]
        assert (row["folds"], row["seeds"]) == (3, 2)
        assert row[value] == pytest.approx(by_fold.mean())
        assert (row[low], row[high]) == pytest.approx((expected.low, expected.high), abs=1e-12)
        same = np.mean(np.sign(rows[value]) == np.sign(row[value])) if row[value] else np.nan
        assert row[f"{value}_same_sign"] == pytest.approx(same, nan_ok=True)
    assert set(found["interval_of"]) == {"folds"}


def test_controls_stand_beside_under_their_own_names(run: Path) -> None:
    found = pd.read_parquet(run / "findings" / "lens.parquet")
    assert dict(found.groupby("method")["control"].first()) == {"lora": "", "shuffled": "shuffled_labels"}


def test_nulls_are_averaged_and_have_no_interval_of_their_own(run: Path) -> None:
    found = pd.read_parquet(run / "findings" / "rank_scores.parquet")
    units = [unit.table("rank_scores") for unit in FinishedRun(run).analyses if unit.control is None]
    assert found.loc[0, "silhouette_null_high"] == pytest.approx(
        np.mean([unit.loc[0, "silhouette_null_high"] for unit in units])
    )
    assert not [column for column in found if "null" in column and column.endswith(("_same_sign", "_sd_folds"))]


def test_positions_of_clips_have_no_mean(run: Path) -> None:
    assert not (run / "findings" / "ranks.parquet").exists()
    assert FinishedRun(run).table("ranks") is not None


def test_a_layer_that_one_unit_lacks_is_the_mean_of_the_others(tmp_path: Path) -> None:
    folder = make_units(tmp_path / "run", control=False)
    first = FinishedRun(folder).analyses[0]
    table = first.table("lens")
    assert table is not None
    table[table["layer"] != 2].to_parquet(first.path / "lens.parquet")
    write_findings(folder)
    found = pd.read_parquet(folder / "findings" / "lens.parquet")
    others = [
        unit.table("lens").query("layer == 2 and model == 'trained' and variant == 'corrected'")["kl"].iloc[0]
        for unit in FinishedRun(folder).analyses[1:]
    ]
    row = found.query("layer == 2 and model == 'trained' and variant == 'corrected'").iloc[0]
    assert row["kl"] == pytest.approx(np.mean([others[0], np.mean(others[1:3]), np.mean(others[3:5])]))


def test_what_one_unit_tells_alone_is_not_told_of_all(tmp_path: Path) -> None:
    folder = make_units(tmp_path / "run", control=False)
    first = FinishedRun(folder).analyses[0]
    table = first.table("lens")
    assert table is not None
    before = table.loc[0, "top_class"]
    table["top_class"] = "happiness" if before != "happiness" else "anger"
    table["clips"] = 7
    table.to_parquet(first.path / "lens.parquet")
    write_findings(folder)
    found = pd.read_parquet(folder / "findings" / "lens.parquet")
    assert found.loc[0, "top_class"] == "" and set(found["clips"]) == {7}


def test_a_folder_without_analyses_has_no_findings_and_loses_old_ones(tmp_path: Path) -> None:
    folder = make_units(tmp_path / "run")
    assert write_findings(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["analyses"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert write_findings(folder) == [] and not (folder / "findings").exists()


def test_columns_that_a_measure_declares_tell_its_rows_apart_and_all_other_numbers_have_a_mean(tmp_path: Path) -> None:
    folder = make_units(tmp_path / "run", control=False)
    for number, unit in enumerate(FinishedRun(folder).analyses):
        rows = [(0.1, number, 0.5, ""), (0.2, number + 1, 0.25, "as it is")]
        table = pd.DataFrame(rows, columns=["epsilon", "count", "null_low", "note"])
        table.to_parquet(unit.path / "intruders.parquet")
        about = unit.path / "about.json"
        about.write_text(json.dumps(json.loads(about.read_text()) | {"keys": {"intruders": ["epsilon"]}}))
    write_findings(folder)
    found = pd.read_parquet(folder / "findings" / "intruders.parquet")
    mean = np.mean(range(len(FinishedRun(folder).analyses)))
    assert list(found["epsilon"]) == [0.1, 0.2] and list(found["note"]) == ["", "as it is"]
    assert list(found["count"]) == [mean, mean + 1] and list(found["null_low"]) == [0.5, 0.25]
    assert (found["count_low"] < found["count"]).all() and "epsilon_low" not in found
