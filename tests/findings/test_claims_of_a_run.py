"""A sweep of the whole grid on a small backbone and made-up tones: measures leave what the statements read."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

import lorascope
from lorascope.experiment.grid import load_sweep
from lorascope.findings.claims.verdicts import UNTESTABLE

from ..tiny import CLASSES, tiny_whisper, write_tone

CONFIG = Path(__file__).parents[2] / "configs" / "claims-emodb.yaml"


def ten_speakers(folder: Path) -> Path:
    rows = []
    for speaker in range(10):
        for number, emotion in enumerate(CLASSES):
            for text in range(3):
                name = f"s{speaker}-{emotion}-{text}.wav"
                frequency = 150 * 2**number + 20 * speaker + 5 * text
                write_tone(folder / name, frequency, 0.4 + 0.1 * text, seed=100 * speaker + 10 * number + text)
                rows.append((name, f"s{speaker}", emotion, f"text {text}", "fm"[speaker % 2]))
    columns = ["path", "speaker", "emotion", "text", "gender"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.mark.slow
def test_every_statement_is_testable_in_the_grids_own_sweep(tmp_path: Path) -> None:
    manifest, backbone = ten_speakers(tmp_path), tmp_path / "small-whisper"
    # as wide as the highest rank
    tiny_whisper(width=64).save_pretrained(backbone)
    grid = yaml.safe_load(CONFIG.read_text())
    experiment = grid["experiment"]
    experiment |= {"corpus": {"reader": "csv", "root": str(manifest)}, "head": {"projection": 16}, "seeds": [1]}
    experiment["folds"] = {"protocol": "speaker_groups", "groups": 5}
    for method in experiment["methods"].values():
        if "epochs" in method:
            method |= {"epochs": 2, "learning_rate": 1.0e-2}
    experiment["analysis"] |= {"draws": 50}
    grid["grid"]["encoder"] = [{"name": "small", "set": {"backbone.name": str(backbone)}}]
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    summary = lorascope.run_sweep(load_sweep(tmp_path / "grid.yaml"), tmp_path / "sweep")
    assert not summary.errors and not summary.lacking
    found = lorascope.claims(tmp_path / "sweep", tmp_path / "claims")
    table = found.table
    untestable = table[(table["verdict"] == UNTESTABLE) & (table["variant"] == "corrected")]
    assert untestable.empty, untestable[["statement", "reason"]].to_string()
    # a flattened norm-matched baseline is never kept
    assert set(table.loc[table["verdict"] == UNTESTABLE, "statement"]) == {"i"}
    assert (table.loc[table["variant"] == "corrected", "folds"] == 5).all()
    assert table.loc[table["statement"] == "j", "value"].notna().all()
    assert (tmp_path / "claims" / "index.html").is_file()
